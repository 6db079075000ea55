"""Pretraining on a user's own files, and the module and data module that it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from training_runs import SMALL, history, losses, make_tones, pretrain_on

from ssc_toolkit.augmentations import Gain
from ssc_toolkit.data import ContrastiveDataset, check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.losses import CrossBatchMemory, NTXentLoss, RankNContrastLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.samplers import BalancedBatchSampler
from ssc_toolkit.training import SemiSupConDataModule, SemiSupConModule
from ssc_toolkit.training.dataset_factory import part_to_train_on
from ssc_toolkit.training.module import warmup_constant, warmup_cosine


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    return make_tones(tmp_path_factory.mktemp("music"))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"labels": "note"},
        {"labels": "note", "labeled_fraction": 1.0},
        {"labels": "tags", "label_budget": 0.5, "minimum_shared": 2},
        {"monitor": "note", "views": 3, "omit": ("pitch_shift",), "severity": 0.5},
    ],
    ids=["self-supervised", "semi-supervised", "supervised", "tags", "three views"],
)
def test_pretraining_on_own_files(music, tmp_path, arguments):
    encoder_folder = pretrain_on(music / "my.csv", tmp_path / "run", **SMALL, **arguments)
    rows = history(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    if "labels" in arguments or "monitor" in arguments:
        assert 0 <= float(rows[-1]["neighbor_agreement"]) <= 1
    encoder = load_encoder(encoder_folder)
    assert encoder(torch.zeros(1, 16000)).shape == (1, 256)
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["batch_size"] == 6


def test_training_lowers_the_loss(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, labels="note", view_seconds=0.5, batch_size=12, steps=80)
    found = losses(tmp_path)
    assert np.mean(found[-10:]) < np.mean(found[:10]) - 0.3


def test_a_minimum_above_all_label_counts_is_refused(music, tmp_path):
    with pytest.raises(InputError, match="minimum_shared: expected at most"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL, labels="tags", minimum_shared=50)


def small_module(**options) -> SemiSupConModule:
    torch.manual_seed(0)
    return SemiSupConModule(ContrastiveModel(MelCNN()), **options)


def test_the_module_takes_any_loss_and_augmentation(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    batch = torch.utils.data.default_collate(ContrastiveDataset(tracks, 16000, 0.5).__getitems__([0, 1, 2]))
    module = small_module(loss=lambda z, labels, labeled: NTXentLoss()(z), augment=Gain((-6, 0)))
    one, two, other = (module.contrast(batch, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert one == two != other
    with pytest.raises(ValueError, match="learning_rate"):
        small_module(learning_rate=0)
    with pytest.raises(ValueError, match="learning_rate"):
        small_module(learning_rate=float("inf"))
    with pytest.raises(ValueError, match="warmup"):
        small_module(warmup=2)


class OfMine(torch.nn.Module):
    """A loss with arguments of its own choice, which notes what it got."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))
        self.got: dict = {}

    def forward(self, embeddings, items, labels=None, **others):
        self.got = {"items": items, "labels": labels, **others}
        return self.scale * NTXentLoss()(embeddings)


def scaled_by_two(z, *, labels):
    return 2 * SupConLoss()(z, labels)


class Doubled(SemiSupConLoss):
    def forward(self, *args, **kwargs):
        return 2 * super().forward(*args, **kwargs)


LOSSES = {
    "SemiSupConLoss": SemiSupConLoss,
    "SupConLoss": SupConLoss,
    "NTXentLoss": NTXentLoss,
    "RankNContrastLoss": RankNContrastLoss,
    "own module": OfMine,
    "own function": lambda: scaled_by_two,
    "subclass": Doubled,
    "memory, SemiSupConLoss": lambda: CrossBatchMemory(SemiSupConLoss(), 32),
    "memory, SupConLoss": lambda: CrossBatchMemory(SupConLoss(), 32),
    "memory, NTXentLoss": lambda: CrossBatchMemory(NTXentLoss(), 32),
    "memory, subclass": lambda: CrossBatchMemory(Doubled(), 32),
}


@pytest.fixture(scope="module")
def labeled_tones(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    return ContrastiveDataset(tracks, 16000, 0.25, labels=encode_labels(tracks, "note"))


@pytest.mark.parametrize("chunk_size", [None, 4])
@pytest.mark.parametrize("name", LOSSES)
def test_a_step_with_any_loss_changes_the_weights(labeled_tones, name, chunk_size):
    module = small_module(loss=LOSSES[name](), chunk_size=chunk_size)
    before = [weight.detach().clone() for weight in module.model.parameters()]
    trainer = pl.Trainer(
        max_steps=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    labels = labeled_tones.labels
    sampler = BalancedBatchSampler(labels.values, 3, 3, labeled=labels.labeled)
    trainer.fit(module, torch.utils.data.DataLoader(labeled_tones, batch_sampler=sampler))
    assert any(not torch.equal(old, new) for old, new in zip(before, module.model.parameters(), strict=True))
    if name == "own module":
        assert set(module.loss.got) == {"items", "labels", "labeled"}
        assert module.loss.scale != 1
    if name.startswith("memory"):
        assert len(module.loss) == 32


def test_caching_refuses_a_static_graph(labeled_tones):
    trainer = pl.Trainer(
        max_steps=1,
        accelerator="cpu",
        strategy=pl.strategies.DDPStrategy(static_graph=True),
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(labeled_tones, batch_size=4)
    try:
        with pytest.raises(ValueError, match=r"chunk_size: .*static_graph=True"):
            trainer.fit(small_module(chunk_size=2), loader)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def batch_of(dataset, count=6, labeled=True):
    batch = torch.utils.data.default_collate([dataset[i] for i in range(count)])
    return batch | {"labeled": torch.full((count,), labeled)}


def test_each_loss_gets_what_it_takes_of_a_batch(labeled_tones):
    batch = batch_of(labeled_tones)
    for criterion, arguments in (
        (SemiSupConLoss(), {"labels": batch["labels"], "labeled": batch["labeled"]}),
        (SupConLoss(), {"labels": batch["labels"], "labeled": batch["labeled"]}),
        (NTXentLoss(), {}),
    ):
        module = small_module(loss=criterion)
        projection = module.model(batch["waveforms"]).projection
        got = module.contrast(batch, torch.Generator())
        torch.testing.assert_close(got, criterion(projection, **arguments))


def test_items_that_come_twice_are_views_of_one(labeled_tones):
    batch = batch_of(labeled_tones)
    batch["item"] = torch.tensor([0, 0, 1, 2, 3, 4])
    module = small_module(loss=NTXentLoss())
    projection = module.model(batch["waveforms"]).projection
    expected = NTXentLoss()(projection, items=batch["item"])
    torch.testing.assert_close(module.contrast(batch, torch.Generator()), expected)


def test_a_loss_without_a_mask_refuses_hidden_labels(labeled_tones):
    batch = batch_of(labeled_tones, labeled=False)
    for criterion in (scaled_by_two, lambda z, labels=None: SupConLoss()(z, labels)):
        with pytest.raises(ValueError, match="labeled: some labels are unknown"):
            small_module(loss=criterion).contrast(batch, torch.Generator())
    assert small_module(loss=NTXentLoss()).contrast(batch, torch.Generator()).isfinite()


def test_statistics_of_a_loss_without_labels_are_by_views(labeled_tones):
    batch = batch_of(labeled_tones)
    batch["labels"] = torch.ones(6, 3)  # tags, of which NT-Xent reads nothing
    for criterion in (NTXentLoss(), CrossBatchMemory(NTXentLoss(), 8)):
        module = small_module(loss=criterion)
        found = module.statistics(module.model(batch["waveforms"]).projection, batch)
        assert found["positives_per_anchor"] == 1


def test_what_a_module_cannot_call_is_refused_at_once(labeled_tones):
    for loss in (lambda: 0, lambda labels: 0, torch.nn.CrossEntropyLoss(), SemiSupConLoss, lambda z, y: 0):
        with pytest.raises(TypeError, match="loss: expected"):
            small_module(loss=loss)
    batch = batch_of(labeled_tones)
    del batch["item"]
    with pytest.raises(ValueError, match="items: OfMine needs it"):
        small_module(loss=OfMine()).contrast(batch, torch.Generator())


def test_the_data_module_uses_no_more_labels_than_the_budget(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = encode_labels(tracks, "note")
    data = SemiSupConDataModule(
        ContrastiveDataset(tracks, 16000, 0.5, labels=labels), batch_size=8, label_budget=0.25, seed=1
    )
    loader = iter(data.train_dataloader())
    seen = {}
    for _ in range(20):
        batch = next(loader)
        seen |= dict(
            zip(batch["item"][batch["labeled"]].tolist(), batch["labels"][batch["labeled"]].tolist(), strict=True)
        )
    assert len(seen) == 3
    assert set(seen.values()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": -1}, "workers: expected an integer of at least 0, got -1"),
        ({"workers": 1.5}, "workers: expected an integer of at least [01], got 1.5"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1"),
        ({"batch_size": "8"}, "batch_size: expected an integer of at least [01], got '8'"),
        ({"labeled_fraction": 2}, "labeled_fraction: expected a fraction from 0 to 1"),
        ({"label_budget": 0}, "label_budget: expected a fraction above 0"),
        ({"label_budget": float("nan")}, "label_budget: expected a fraction above 0"),
        ({"seed": -1}, "seed: expected an integer of at least 0"),
    ],
)
def test_a_data_module_checks_its_arguments_at_construction(music, options, words):
    dataset = ContrastiveDataset(load_tracks(music / "my.csv").assign(seconds=1.5), 16000, 0.5)
    with pytest.raises(InputError, match=words):
        SemiSupConDataModule(dataset, **options)


def test_a_track_without_a_split_is_trained_on():
    table = pd.DataFrame({"path": list("abcd"), "split": ["train", "test", None, "valid"]})
    assert part_to_train_on(table)["path"].tolist() == ["a", "c"]
    with pytest.raises(InputError, match="tracks: expected rows with the split 'train'"):
        part_to_train_on(table[table["split"] == "test"])


def test_the_learning_rate_rises_and_falls():
    factors = [warmup_cosine(step, 100, 0.1) for step in range(100)]
    assert factors[0] < 0.2
    assert max(factors) == pytest.approx(1, abs=0.02)
    assert factors[:10] == sorted(factors[:10])
    assert factors[11:] == sorted(factors[11:], reverse=True)
    assert factors[-1] < 0.01
    assert warmup_cosine(0, 1, 0.0) == 1
    assert [warmup_constant(step, 100, 0.1) for step in (0, 10, 99)] == [pytest.approx(1 / 11), 1, 1]
    assert warmup_constant(0, 100, 0.0) == 1


def test_several_signals_share_one_budget(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = {column: encode_labels(tracks, column) for column in ("note", "range")}
    dataset = ContrastiveDataset(tracks, 16000, 0.5, labels=labels)
    data = SemiSupConDataModule(dataset, batch_size=8, label_budget=0.4, seed=1)
    inside = set(data.labeled_rows()[data.budget()].tolist())
    either = labels["note"].labeled | labels["range"].labeled
    assert len(inside) == round(0.4 * int(either.sum()))
    for signal in labels.values():  # every class of every signal
        rows = torch.tensor([row for row in inside if signal.labeled[row]])
        assert set(signal.values[rows].tolist()) == set(range(len(signal.names)))
    loader = iter(data.train_dataloader())
    for _ in range(10):
        batch = next(loader)
        for place, row in enumerate(batch["item"].tolist()):
            for name, signal in labels.items():
                shown = bool(batch["labeled"][name][place])
                assert shown <= (row in inside and bool(signal.labeled[row]))
                assert not shown or batch["labels"][name][place] == signal.values[row]
            # All that an item has is shown, or nothing.
            masks = {bool(batch["labeled"][name][place]) for name in labels if labels[name].labeled[row]}
            assert len(masks) <= 1


def test_another_batch_sampler(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = encode_labels(tracks, "note")
    sampler = BalancedBatchSampler(labels.values, 3, 2, labeled=labels.labeled)
    data = SemiSupConDataModule(ContrastiveDataset(tracks, 16000, 0.5, labels=labels), batch_sampler=sampler)
    batch = next(iter(data.train_dataloader()))
    assert batch["labels"].sort().values.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(data.budget()) == 12


class Forgetful(MelCNN):
    """An encoder with dropout, whose random numbers are torch's own."""

    def encode_frames(self, signals):
        return torch.nn.functional.dropout(super().encode_frames(signals), 0.5, self.training)


def trained(music: Path, folder: Path, steps: int, stop_at: int | None = None) -> list[float]:
    """Losses of a training, perhaps interrupted and resumed with another state of torch's random numbers."""
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    found: list[float] = []

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            found.append(float(outputs["loss"]))
            if trainer.global_step == stop_at:
                trainer.save_checkpoint(folder / "stopped.ckpt")
                raise KeyboardInterrupt

    def fit(checkpoint: Path | None) -> None:
        torch.manual_seed(0 if checkpoint is None else 99)
        module = SemiSupConModule(ContrastiveModel(Forgetful()))
        data = SemiSupConDataModule(ContrastiveDataset(tracks, 16000, 0.5), batch_size=4)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(max_steps=steps, accelerator="cpu", callbacks=[Record()], **quiet)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)

    if stop_at is not None:
        with pytest.raises(SystemExit):
            fit(None)
        stop_at = None
        fit(folder / "stopped.ckpt")
    else:
        fit(None)
    return found


def test_dropout_resumes_from_the_checkpoint(music, tmp_path):
    assert trained(music, tmp_path, 6, stop_at=3) == trained(music, tmp_path, 6)
