"""Validation of a training: measures, best checkpoint, early stopping, and the warning about a collapse."""

from __future__ import annotations

import json
import logging
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from audio_files import write_audio
from train_in_processes import Bare
from training_runs import SMALL, assert_same_checkpoint, history, losses, pretrain_on

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import ContrastiveDataset, Labels, check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import effective_rank
from ssc_toolkit.losses import CrossBatchMemory, NTXentLoss, SemiSupConLoss
from ssc_toolkit.options import SegmentOptions
from ssc_toolkit.options.validation import MEASURES
from ssc_toolkit.targets import SharedLabels
from ssc_toolkit.training import (
    BestCheckpoint,
    CollapseWarning,
    PretrainOptions,
    SemiSupConDataModule,
    SemiSupConModule,
    Validation,
    ValidationOptions,
    ValidationSet,
)
from ssc_toolkit.training.callbacks.saving import SaveCheckpoints
from ssc_toolkit.training.dataset_factory import make_training_dataset, select_training_rows
from ssc_toolkit.training.label_signals import encoded_columns
from ssc_toolkit.training.validation_factory import make_validation_set

RATE = 8000
AGREEMENT = "val_neighbor_agreement"


class Forgetful(Bare):
    """An encoder with dropout and batch statistics, whose training a validation could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(16)

    def encode_frames(self, signals):
        return torch.nn.functional.dropout(self.norm(super().encode_frames(signals)), 0.5, self.training)


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    """Tones of two pitches with noise, each exactly two views long, so that there is one position for the views."""
    folder = tmp_path_factory.mktemp("two views")
    random = np.random.default_rng(0)
    time = np.arange(RATE) / RATE
    rows = []
    for number in range(12):
        path = folder / f"{number}.wav"
        write_audio(
            path, 0.4 * np.sin(2 * np.pi * (220, 1500)[number % 2] * time) + 0.02 * random.normal(size=RATE), RATE
        )
        rows.append({"path": str(path), "seconds": 1.0, "pitch": ("low", "high")[number % 2]})
    return pd.DataFrame(rows)


def module_of(kind=Bare, **options) -> SemiSupConModule:
    torch.manual_seed(0)
    return SemiSupConModule(ContrastiveModel(kind()), **options)


def set_of(tracks, **options) -> ValidationSet:
    labels = encode_labels(tracks, "pitch")
    dataset = ContrastiveDataset(tracks, RATE, 0.5, labels=labels)
    return ValidationSet(dataset, labels, dataset, labels, **options)


def train(tracks, callbacks, module=None, steps=12, data=None, checkpoint=None) -> dict[str, torch.Tensor]:
    """Train, and return the weights."""
    module = module_of() if module is None else module
    dataset = ContrastiveDataset(tracks, RATE, 0.5, labels=encode_labels(tracks, "pitch"))
    saves = any(isinstance(callback, SaveCheckpoints) for callback in callbacks)
    quiet = {"logger": False, "enable_checkpointing": saves, "enable_progress_bar": False}
    trainer = pl.Trainer(max_steps=steps, accelerator="cpu", callbacks=callbacks, enable_model_summary=False, **quiet)
    batches = SemiSupConDataModule(dataset, batch_size=6) if data is None else data
    trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_measures_equal_their_definitions(tracks):
    module = module_of(loss=SemiSupConLoss(0.2))
    found = set_of(tracks).measure(module)
    batch = ContrastiveDataset(tracks, RATE, 0.5).batch(list(range(12)))
    with torch.no_grad():
        representations, projections = module.eval().model(batch["waveforms"])
    labels = encode_labels(tracks, "pitch")
    z = torch.nn.functional.normalize(projections, dim=-1)
    every = z.flatten(0, 1).double()
    pairs = torch.pdist(every).pow(2)
    singular = torch.linalg.svdvals(every)
    p = singular / singular.sum()
    unit = torch.nn.functional.normalize(representations.mean(1), dim=1)
    nearest = (unit @ unit.T).fill_diagonal_(-2).argmax(1)
    assert found["val_loss"] == pytest.approx(float(SemiSupConLoss(0.2)(projections, labels=labels.values)), rel=1e-5)
    assert found["val_alignment"] == pytest.approx(float((z[:, 0] - z[:, 1]).pow(2).sum(1).mean()), abs=1e-6)
    assert found["val_uniformity"] == pytest.approx(float((-2 * pairs).exp().mean().log()), rel=1e-4, abs=1e-6)
    assert found["val_effective_rank"] == pytest.approx(float((-p * p.log()).sum().exp()), rel=1e-2)
    assert found[AGREEMENT] == pytest.approx(float((labels.values[nearest] == labels.values).float().mean()))
    assert found["val_probe_score"] == 1.0  # two pitches are easily told apart
    assert set(found) == set(MEASURES)


def test_wrong_labels_lower_the_measures_of_labels(tracks):
    half = tracks.assign(pitch=["a", "a", "b", "b"] * 3)  # of both pitches each
    right, wrong = (set_of(table).measure(module_of()) for table in (tracks, half))
    assert wrong[AGREEMENT] < right[AGREEMENT]
    assert wrong["val_probe_score"] < right["val_probe_score"]
    assert right["val_alignment"] == wrong["val_alignment"]


def test_without_labels_the_other_measures_are_left(tracks):
    found = ValidationSet(ContrastiveDataset(tracks, RATE, 0.5)).measure(module_of())
    assert set(found) == {name for name, measure in MEASURES.items() if not measure.needs_labels}
    unknown = Labels(torch.zeros(12, dtype=torch.int64), torch.arange(12) < 1, ("a",))
    assert AGREEMENT not in ValidationSet(ContrastiveDataset(tracks, RATE, 0.5), unknown).measures


def test_tags_are_measured_by_average_precision(tracks):
    tagged = tracks.assign(pitch=[f"{name}|tone" for name in tracks["pitch"]])
    module = module_of(loss=SemiSupConLoss(target=SharedLabels(1)))
    assert set_of(tagged).measure(module)["val_probe_score"] == pytest.approx(1.0)


def test_a_measurement_is_repeatable_and_changes_nothing(tracks):
    module = module_of(Forgetful, augment=semisupcon_chain(RATE), loss=CrossBatchMemory(NTXentLoss(), 32))
    module.train()
    module.model.encoder.norm.eval()  # a part that the user has frozen
    modes = [part.training for part in module.modules()]
    weights = {name: value.clone() for name, value in module.model.state_dict().items()}
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    validation = set_of(tracks)
    first = validation.measure(module)
    assert [part.training for part in module.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert all(torch.equal(value, weights[name]) for name, value in module.model.state_dict().items())
    assert len(module.loss) == 0  # nothing enters the queue
    torch.rand(7)
    assert validation.measure(module) == first
    assert set_of(tracks).measure(module) == first
    assert set_of(tracks, seed=1).measure(module) != first


def test_at_most_the_wanted_number_of_tracks_is_read(tracks):
    few = set_of(tracks, max_tracks=4)
    read = []
    few.dataset._read, whole = lambda places: read.append(len(places.tracks)) or whole(places), few.dataset._read
    few.measure(module_of())
    assert read == [4, 4]  # validation, and training tracks for the probe


def test_effective_rank_of_known_matrices():
    random = np.random.default_rng(0)
    assert effective_rank(np.repeat(random.normal(size=(1, 8)), 50, axis=0)) == pytest.approx(1.0)
    assert effective_rank(np.linalg.qr(random.normal(size=(40, 8)))[0]) == pytest.approx(8.0)
    values = np.array([4.0, 2.0, 1.0, 1.0])
    turned = np.linalg.qr(random.normal(size=(9000, 4)))[0] * values @ np.linalg.qr(random.normal(size=(4, 4)))[0]
    p = values / values.sum()
    assert effective_rank(turned.astype(np.float32)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)


@pytest.mark.slow
def test_a_validated_training_has_the_same_weights(tracks, tmp_path):
    def weights(*callbacks):
        return train(tracks, list(callbacks), module_of(Forgetful, augment=semisupcon_chain(RATE)))

    validation = Validation(set_of(tracks), every=2)
    best = BestCheckpoint(tmp_path / "best.ckpt", validation, "val_loss")
    plain, validated = weights(), weights(validation, best)
    assert validation.step == 12
    assert best.step is not None
    assert all(torch.equal(value, validated[name]) for name, value in plain.items())


@pytest.mark.slow
def test_early_stopping_counts_validations(tracks, tmp_path):
    def fit(patience: int) -> tuple[int, BestCheckpoint]:
        validation = Validation(set_of(tracks), every=3)
        best = BestCheckpoint(tmp_path / "best.ckpt", validation, "val_loss", patience)
        train(tracks, [validation, best], module_of(learning_rate=1e-30), steps=30)  # nothing gets better
        return validation.step, best

    for patience, last in ((1, 6), (3, 12), (50, 30)):
        step, best = fit(patience)
        assert (step, best.step) == (last, 3)
        assert best.is_exhausted == (patience < 50)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == 3


@pytest.mark.slow
def test_a_better_checkpoint_of_a_killed_run_is_not_replaced(tracks, tmp_path):
    def fit(steps: int, every: int, values: list[float], checkpoint=None) -> BestCheckpoint:
        validation = Validation(set_of(tracks), every)
        validation.validation_set.measure = lambda _: {"val_loss": values.pop(0)}
        best = BestCheckpoint(tmp_path / "best.ckpt", validation, "val_loss")
        save = SaveCheckpoints(tmp_path / "last.ckpt", 1000, 4)
        train(tracks, [validation, best, save], steps=steps, checkpoint=checkpoint)
        return best

    assert fit(6, 2, [3.0, 2.9, 2.5]).saved == (2.5, 6)
    kept = tmp_path / "checkpoints" / "step-4.ckpt"  # the run is killed after step 6, and its last checkpoint is older
    found = fit(8, 3, [2.7, 2.6], checkpoint=kept)
    assert (found.value, found.step) == (2.6, 8)
    assert found.saved == (2.5, 6)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == 6
    assert fit(8, 3, [2.7, 2.4], checkpoint=kept).saved == (2.4, 8)
    assert fit(2, 2, [9.0]).saved == (9.0, 2)  # a training that is not resumed has its own best checkpoint


@pytest.mark.slow
def test_the_end_of_a_shorter_run_does_not_count_for_patience(tracks):
    def wait_after(steps: int) -> int:
        validation = Validation(set_of(tracks), every=4)
        validation.validation_set.measure = lambda _: {"val_loss": 1.0}
        best = BestCheckpoint(Path("unused"), validation, "val_loss", 10)
        best.value, best.step = 0.5, 1
        best.on_fit_start = lambda *_: None
        train(tracks, [validation, best], steps=steps)
        return best.wait

    assert (wait_after(8), wait_after(10)) == (2, 2)


def attract(embeddings: torch.Tensor) -> torch.Tensor:
    """A loss without negatives: the mean distance of two views."""
    return (torch.nn.functional.normalize(embeddings, dim=-1).diff(dim=1) ** 2).sum(-1).mean()


@pytest.mark.slow
def test_only_the_training_that_collapses_is_warned_about(tracks, caplog):
    for loss, collapses in ((attract, True), (NTXentLoss(0.1), False)):
        caplog.clear()
        warning, values = CollapseWarning(every=5), []
        warning.record = lambda found, values=values: values.append(found["effective_rank"])
        train(tracks, [warning], module_of(partial(MelCNN, RATE, channels=4), loss=loss, learning_rate=0.02), steps=100)
        assert warning.is_collapsed == collapses
        said = [record.getMessage() for record in caplog.records if "collapsed" in record.getMessage()]
        assert len(said) == collapses
        assert (values[-1] < 2) == collapses


@pytest.mark.slow
def test_a_run_stops_early_and_keeps_its_best_checkpoint(music, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    validation = ValidationOptions(every=1, monitor=AGREEMENT, patience=1)
    arguments = {"labels": "note", **SMALL, "steps": 40, "validation": validation}
    pretrain_on(music / "my.csv", tmp_path, **arguments)
    rows = history(tmp_path)
    values = [float(row[AGREEMENT]) for row in rows]
    assert 2 <= len(rows) <= 8  # six tracks have seven values, and the first that is not better ends the run
    best = int(np.argmax(values)) + 1
    assert best == len(rows) - 1
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"] == {"monitor": AGREEMENT, "value": pytest.approx(max(values)), "step": best}
    assert summary["ended"].startswith(f"stopped early: {AGREEMENT} has not improved for 1 validation, since step")
    assert summary["ended"] in caplog.text
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == best
    shutil.rmtree(tmp_path / "encoder")  # as if it was killed before the encoder was written
    pretrain_on(music / "my.csv", tmp_path, **arguments)
    assert history(tmp_path) == rows
    assert json.loads((tmp_path / "summary.json").read_text())["ended"] == summary["ended"]


@pytest.mark.slow
def test_validation_changes_no_weight_of_a_run(music, tmp_path):
    for name, validation in (
        ("off", ValidationOptions(every=0)),
        ("on", ValidationOptions(every=3, labels="range", monitor="val_loss")),
    ):
        pretrain_on(music / "my.csv", tmp_path / name, labels="note", memory=12, validation=validation, **SMALL)
    assert_same_checkpoint(tmp_path / "off" / "last.ckpt", tmp_path / "on" / "last.ckpt")
    assert losses(tmp_path / "off") == losses(tmp_path / "on")
    assert not (tmp_path / "off" / "best.ckpt").exists()
    rows = history(tmp_path / "on")
    assert [row["step"] for row in rows if row["val_loss"]] == ["3", "6", "8"]
    assert "val_loss" not in history(tmp_path / "off")[0]
    summary = json.loads((tmp_path / "on" / "summary.json").read_text())
    assert summary["ended"] == "all 8 steps are done"
    assert summary["validation"]["val_loss"] == float(rows[-1]["val_loss"])


@pytest.mark.slow
def test_checkpoints_of_a_run_without_last_checkpoint_are_removed(music, tmp_path):
    arguments = {**SMALL, "validation": ValidationOptions(every=2, monitor="val_loss"), "keep_checkpoints_every": 2}
    pretrain_on(music / "my.csv", tmp_path, **arguments)
    shutil.rmtree(tmp_path / "encoder")
    (tmp_path / "last.ckpt").unlink()  # as if it was killed before its first regular checkpoint
    for name in ("best.ckpt", "checkpoints/step-2.ckpt", "checkpoints/step-6.ckpt"):
        (tmp_path / name).write_bytes(b"of another training")
    pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 3, "temperature": 0.5})
    assert not (tmp_path / "best.ckpt").exists()
    assert not list((tmp_path / "checkpoints").glob("*.ckpt"))


@pytest.mark.slow
def test_a_lost_or_damaged_best_checkpoint(music, tmp_path, caplog):
    arguments = {**SMALL, "validation": ValidationOptions(every=2, monitor="val_loss")}
    pretrain_on(music / "my.csv", tmp_path, **arguments)
    shutil.rmtree(tmp_path / "encoder")
    whole = (tmp_path / "best.ckpt").read_bytes()
    (tmp_path / "best.ckpt").write_bytes(whole[:5000] + b"x" + whole[5001:])
    with pytest.raises(InputError, match=r"out: .*best\.ckpt is damaged .*delete it"):
        pretrain_on(music / "my.csv", tmp_path, **arguments)
    (tmp_path / "best.ckpt").unlink()
    pretrain_on(music / "my.csv", tmp_path, **arguments)
    assert "best.ckpt of step" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"monitor": "neighbour_agreement"}, "got 'neighbour_agreement'; did you mean val_neighbor_agreement"),
        ({"monitor": "val_los"}, "did you mean val_loss"),
        ({"monitor": "loss"}, "did you mean val_loss"),
        ({"monitor": "val_loss", "every": 0}, "validation.monitor: expected validation.every of at least 1"),
        ({"patience": 3}, "validation.patience: expected validation.monitor as well"),
        ({"monitor": "val_loss", "patience": 0}, "validation.patience: expected an integer of at least 1"),
        ({"labels": "val_loss"}, "validation.labels: expected a label column, got the measure val_loss"),
        ({"max_tracks": 1}, "validation.max_tracks: expected an integer of at least 2"),
        ({"every": -1}, "validation.every: expected an integer of at least 0"),
        ({"monitor": AGREEMENT}, "expected labels or validation.labels with val_neighbor_agreement, got neither"),
    ],
    ids=str,
)
def test_options_that_cannot_work_are_errors(music, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", **SMALL, validation=ValidationOptions(**options))
    assert not (tmp_path / "run").exists()


def test_alignment_needs_two_views(music, tmp_path):
    options = SMALL | {"views": 1, "labels": "note", "labeled_fraction": 1.0}
    with pytest.raises(InputError, match=r"validation\.monitor: expected another measure with views=1"):
        pretrain_on(music / "my.csv", tmp_path, **options, validation=ValidationOptions(monitor="val_alignment"))


@pytest.mark.parametrize(
    ("change", "monitor", "words"),
    [
        (lambda table: table.drop(columns="split"), "val_loss", "expected tracks with a column 'split'"),
        (lambda table: table.assign(split="train"), "val_loss", "at least 2 tracks with the split 'valid', got 0"),
        (
            lambda table: table.assign(note=table["note"].where(table["split"] != "valid")),
            AGREEMENT,
            "at least 2 tracks with the split 'valid' and a label in column 'note' with val_neighbor_agreement, got 0",
        ),
        (
            lambda table: table.assign(note=table["note"].where(table["split"] == "valid")),
            "val_probe_score",
            "expected tracks with the split 'train' and a label in column 'note' with val_probe_score, got none",
        ),
    ],
    ids=["no split", "no validation tracks", "no labels", "no labels for the probe"],
)
def test_tracks_without_what_the_measure_needs_are_errors(music, tmp_path, change, monitor, words):
    change(pd.read_csv(music / "my.csv")).to_csv(tmp_path / "my.csv", index=False)
    validation = ValidationOptions(labels="note", monitor=monitor)
    with pytest.raises(InputError, match=f"validation.monitor: {words}|validation.monitor: .*{words}"):
        pretrain_on(tmp_path / "my.csv", tmp_path / "run", root=str(music), **SMALL, validation=validation)
    assert not list((tmp_path / "run").glob("[!.]*"))


def test_a_single_validation_track_is_no_validation_set(music):
    table = check_audio(load_tracks(music / "my.csv"), progress=False)
    alone = table.select((table["split"] != "valid") | (table["path"] == table["path"].iloc[3]))
    training = make_training_dataset([select_training_rows(alone)], None, RATE, 0.5, 2, 0.1, SegmentOptions())
    data, options = SemiSupConDataModule(training, 6), PretrainOptions(tracks="x", out="x", view_seconds=0.5)
    assert make_validation_set(alone, encoded_columns(alone, (), None), options, data) is None
    assert make_validation_set(table, encoded_columns(table, (), None), options, data) is not None
