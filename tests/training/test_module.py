"""The module with any loss, and its schedules of the learning rate."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from ssc_toolkit.augmentations import Gain
from ssc_toolkit.data import ContrastiveDataset, check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.losses import CrossBatchMemory, NTXentLoss, RankNContrastLoss, SemiSupConLoss, SupConLoss
from ssc_toolkit.samplers import BalancedBatchSampler
from ssc_toolkit.training import SemiSupConModule
from ssc_toolkit.training.launching import restore_launcher_variables
from ssc_toolkit.training.module import warmup_constant, warmup_cosine


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


@pytest.mark.slow
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
        with restore_launcher_variables(), pytest.raises(ValueError, match=r"chunk_size: .*static_graph=True"):
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
    with pytest.raises(ValueError, match="items: OfMine requires it"):
        small_module(loss=OfMine()).contrast(batch, torch.Generator())


def test_the_learning_rate_rises_and_falls():
    factors = [warmup_cosine(step, 100, 10) for step in range(100)]
    assert factors[0] < 0.2
    assert max(factors) == pytest.approx(1, abs=0.02)
    assert factors[:10] == sorted(factors[:10])
    assert factors[11:] == sorted(factors[11:], reverse=True)
    assert factors[-1] < 0.01
    assert warmup_cosine(0, 1, 0.0) == 1
    assert [warmup_constant(step, 100, 10) for step in (0, 10, 99)] == [pytest.approx(1 / 11), 1, 1]
    assert warmup_constant(0, 100, 0.0) == 1


def test_logged_values_are_not_copied_to_the_device(monkeypatch):
    logged = {}
    module = small_module()
    module.trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.trainer.strategy.optimizers = [torch.optim.SGD(module.parameters(), lr=0.5)]
    monkeypatch.setattr(module, "log_dict", lambda values, batch_size: logged.update(values))
    module.training_step({"waveforms": torch.randn(3, 2, 1, 16000)}, 0)
    assert all(isinstance(value, torch.Tensor) for value in logged.values())
    assert (logged["learning_rate"].item(), logged["step"].item()) == (0.5, 1.0)
    assert {logged[name].device.type for name in ("learning_rate", "step")} == {"cpu"}
    assert logged["loss"].device.type == module.device.type
