"""What can be asked of a pretraining: signals, sources, precision, memory, logs."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from training_runs import SMALL, assert_same_checkpoint, history, losses, make_tones, pretrain_on

from ssc_toolkit.data import AudioStore, ContrastiveDataset, JoinedDataset, check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, Readout, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.run_settings import read_settings
from ssc_toolkit.options.validation import MEASURES
from ssc_toolkit.samplers import SampledIndex
from ssc_toolkit.training import (
    LogOptions,
    LossOptions,
    OptimizerOptions,
    ProjectorOptions,
    ReadoutOptions,
    SegmentOptions,
    TrainerOptions,
    ValidationOptions,
)
from ssc_toolkit.training.callbacks.label_weight import LabelWeight, interpolate
from ssc_toolkit.training.checkpoint_model import load_checkpoint_model
from ssc_toolkit.training.validation import ValidationSet
from ssc_toolkit.training.view_samplers import make_view_sampler

SEPARATE = ProjectorOptions(heads="separate")


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> Path:
    """The tones with a column in which all labels are the same."""
    folder = make_tones(tmp_path_factory.mktemp("odd"))
    table = pd.read_csv(folder / "my.csv")
    table.assign(same=table["note"].where(table["note"].isna(), "tone")).to_csv(folder / "my.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def plain(music, tmp_path_factory) -> Path:
    """A run with one label column and no options."""
    folder = tmp_path_factory.mktemp("plain")
    pretrain_on(music / "my.csv", folder, labels="note", **SMALL)
    return folder


def run(music: Path, folder: Path, **options: object) -> list[float]:
    pretrain_on(music / "my.csv", folder, **{"labels": "note", **SMALL, **options})  # type: ignore[arg-type]
    found = losses(folder)
    assert len(found) == options.get("steps", SMALL["steps"])
    assert np.isfinite(found).all()
    return found


@pytest.mark.slow
def test_the_encoder_is_saved_with_the_chosen_readout(music, plain, tmp_path):
    assert load_encoder(plain / "encoder").readout == Readout("scaled_mean_std", "all")
    run(music, tmp_path, readout=ReadoutOptions(frame_pooling="mean", layers=("log_mel", "last")))
    assert history(tmp_path) == history(plain)
    chosen = load_encoder(tmp_path / "encoder")
    assert chosen.readout == Readout("mean", ["log_mel", "last"])
    content, _ = load_checkpoint_model(tmp_path / "last.ckpt", read_settings(tmp_path))
    assert content.encoder.readout == chosen.readout
    assert all(torch.equal(content.encoder.state_dict()[name], value) for name, value in chosen.state_dict().items())
    with pytest.raises(InputError, match="readout"):
        run(music, tmp_path)


@pytest.mark.parametrize(
    ("readout", "words"),
    [
        (ReadoutOptions(layers=("last", "last")), "readout.layers: expected last, all or a list of different names"),
        (ReadoutOptions(layers=("temporal.3",)), "layers: expected last, all or names of layers of MelCNN"),
    ],
)
def test_a_wrong_readout_is_an_error_before_the_training(music, tmp_path, readout, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", readout=readout, **SMALL)
    assert not (tmp_path / "run" / "last.ckpt").exists()


@pytest.mark.slow
def test_one_column_in_a_list_is_one_column(music, plain, tmp_path):
    run(music, tmp_path, labels=("note",))
    assert history(tmp_path) == history(plain)


@pytest.mark.slow
def test_two_columns_make_more_positives(music, plain, tmp_path):
    run(music, tmp_path, labels=("note", "range"), labeled_fraction=1.0)
    run(music, tmp_path / "one", labels="note", labeled_fraction=1.0)
    both, one = (
        np.mean([float(row["positives_per_anchor"]) for row in history(f)]) for f in (tmp_path, tmp_path / "one")
    )
    assert both > one
    with pytest.raises(InputError, match="labels: expected different columns"):
        run(music, tmp_path / "x", labels=("note", "note"))
    with pytest.raises(InputError, match="no column 'mood'"):
        run(music, tmp_path / "x", labels=("note", "mood"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"trainer": TrainerOptions(precision="bf16")},
        {"trainer": TrainerOptions(accumulate=2)},
        {"trainer": TrainerOptions(chunk_size=4)},
        {"memory": 24},
        {"loss": LossOptions(denominator="negatives")},
        {"loss": LossOptions(beta=1.0)},
        {"loss": LossOptions(tau_plus=0.1)},
        {"loss": LossOptions(sigma=0.5)},
        {"projector": ProjectorOptions(depth=0)},
        {"projector": ProjectorOptions(depth=3, hidden_dim=32, output_dim=16, bias=True, norm="batch")},
        {"segments": SegmentOptions(sampler="same")},
        {"segments": SegmentOptions(sampler="random", min_gap_seconds=0.0, max_gap_seconds=0.2)},
        {"optimizer": OptimizerOptions(name="AdamW", weight_decay=0.1, schedule="constant", warmup=0.0)},
    ],
    ids=lambda options: str(next(iter(options.values()))),
)
def test_an_option_changes_the_numbers_and_trains(music, plain, tmp_path, options):
    found = run(music, tmp_path, **options, steps=4)
    assert found[1:] != losses(plain)[1:4]
    assert (tmp_path / "encoder").is_dir()


@pytest.mark.slow
def test_label_weight_scales_the_pull_of_equal_labels(music, tmp_path):
    names = {"none": LossOptions(label_weight=0), "some": LossOptions(label_weight=0.2), "all": LossOptions()}
    found = {
        name: run(music, tmp_path / name, labels="note", labeled_fraction=1.0, loss=loss)
        for name, loss in names.items()
    }
    # The target still has the label pairs, but their weight is 0: the loss is that of the views alone.
    unlabeled = run(
        music, tmp_path / "unlabeled", labels="note", labeled_fraction=1.0, loss=LossOptions(label_weight=1e-9)
    )
    assert found["none"] == pytest.approx(unlabeled, rel=1e-5)
    assert found["none"][0] != found["some"][0] != found["all"][0]


@pytest.mark.slow
def test_the_weight_of_labels_changes_linearly(music, tmp_path, monkeypatch):
    measure, in_validation = ValidationSet.measure, []
    monkeypatch.setattr(
        ValidationSet, "measure", lambda self, own: in_validation.append(own.loss.label_weight) or measure(self, own)
    )
    options = {"labeled_fraction": 1.0, "logs": LogOptions(every=1), "validation": ValidationOptions(every=1)}
    found = {
        name: run(music, tmp_path / name, steps=3, loss=loss, **options)
        for name, loss in {
            "rising": LossOptions(label_weight=0.2, label_weight_end=1.0),
            "equal": LossOptions(label_weight=0.5, label_weight_end=0.5),
            "low": LossOptions(label_weight=0.2),
            "half": LossOptions(label_weight=0.5),
        }.items()
    }
    weights = [float(row["label_weight"]) for row in history(tmp_path / "rising")]
    assert weights == pytest.approx([0.2, 0.6, 1.0])
    assert found["rising"][0] == found["low"][0]  # only the first step has the weight at the start
    assert found["rising"][1] != found["low"][1]
    assert found["equal"] == found["half"]
    assert "label_weight" not in history(tmp_path / "half")[0]
    assert [weight for weight in in_validation if weight not in (0.2, 0.5)] == [1.0, 1.0, 1.0]


@pytest.mark.slow
def test_a_run_with_changing_label_weight_resumes_exactly(music, tmp_path, monkeypatch):
    options = {"loss": LossOptions(label_weight=1.0, label_weight_end=0.1), "labeled_fraction": 1.0, "memory": 12}
    whole = run(music, tmp_path / "whole", **options, steps=4)
    stop = LabelWeight.on_train_batch_start

    def killed(self, trainer, *args):
        if trainer.global_step == 2:
            raise SystemExit(1)
        stop(self, trainer, *args)

    monkeypatch.setattr(LabelWeight, "on_train_batch_start", killed)
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run(music, tmp_path / "parts", **options, steps=4)
    monkeypatch.undo()
    assert run(music, tmp_path / "parts", **options, steps=4) == whole
    assert_same_checkpoint(tmp_path / "parts" / "last.ckpt", tmp_path / "whole" / "last.ckpt")
    assert [row["label_weight"] for row in history(tmp_path / "parts")] == ["", "", "", ""]  # recorded every 10 steps


def test_the_weights_of_a_longer_run_are_those_of_its_length():
    assert [interpolate(1.0, 0.0, step, 3) for step in range(3)] == [1.0, 0.5, 0.0]
    assert [interpolate(1.0, 0.0, step, 5) for step in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert interpolate(0.3, 1.0, 0, 1) == 0.3


def test_segments_are_placed_as_the_options_say():
    def starts(**segments):
        sampler = make_view_sampler(SegmentOptions(**segments), 16000)
        return sampler(torch.full((50,), 320000), 8000, 2, torch.Generator().manual_seed(0))

    assert (starts(sampler="same").diff() == 0).all()
    assert (starts().diff() == 8000).all()
    gaps = starts(sampler="random", min_gap_seconds=1, max_gap_seconds=2).diff().abs() - 8000
    assert 16000 <= gaps.min() < gaps.max() <= 32000


@pytest.mark.slow
def test_the_compiled_model_trains_to_the_same_losses(music, plain, tmp_path, monkeypatch):
    # The default backend takes minutes; this one traces and differentiates the same graphs.
    monkeypatch.setattr(ContrastiveModel, "compile", lambda self: nn.Module.compile(self, backend="aot_eager"))
    found = run(music, tmp_path, trainer=TrainerOptions(compile=True))
    assert found[:4] == pytest.approx(losses(plain)[:4], rel=1e-4)
    assert found == pytest.approx(losses(plain), rel=1e-2)  # each step of the optimizer enlarges rounding errors


@pytest.mark.slow
def test_a_second_source_is_used_without_labels(music, plain, tmp_path):
    store = tmp_path / "store"
    AudioStore.prepare(load_tracks(music / "my.csv"), store, 16000, progress=False)
    found = run(music, tmp_path / "run", unlabeled=str(store))
    assert found != losses(plain)
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert settings["unlabeled_hash"] != settings["tracks_hash"]
    for options, words in (
        ({"unlabeled": "nowhere"}, "unlabeled: there is no file or folder nowhere"),
        ({"unlabeled": "fma"}, "unlabeled.root: expected the folder of the dataset fma"),
    ):
        with pytest.raises(InputError, match=words):
            run(music, tmp_path / "x", **options)


def test_joined_datasets_are_read_in_order_and_in_parts(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = {"note": encode_labels(tracks, "note")}
    joined = JoinedDataset([ContrastiveDataset(tracks, 16000, 0.5, labels=known) for known in (labels, None)])
    rows = [SampledIndex(row, row != 3) for row in (30, 1, 47, 3, 5)]
    whole = joined.batch(rows, torch.Generator().manual_seed(0))
    assert whole["item"].tolist() == [30, 1, 47, 3, 5]
    assert whole["labeled"]["note"].tolist() == [False, True, False, False, True]
    parts = [joined.batch(rows, torch.Generator().manual_seed(0), slice(rank, None, 2)) for rank in range(2)]
    for rank, part in enumerate(parts):
        assert part["places"].tolist() == list(range(rank, 5, 2))
        assert torch.equal(part["waveforms"], whole["waveforms"][rank::2])
        assert torch.equal(part["labels"]["note"], whole["labels"]["note"][rank::2])
    assert joined.describe_item(30) == tracks["path"][6]
    assert joined[30]["item"] == 30
    with pytest.raises(IndexError):
        joined.batch([48])
    with pytest.raises(ValueError, match="one sample rate"):
        JoinedDataset([ContrastiveDataset(tracks, rate, 0.5) for rate in (8000, 16000)])


@pytest.mark.slow
def test_numbers_and_pictures_reach_tensorboard_and_the_folder(music, tmp_path):
    run(
        music,
        tmp_path,
        logs=LogOptions(every=2, pictures_every=4),
        labels=("note", "tags"),
        validation=ValidationOptions(every=4),
    )
    events = EventAccumulator(str(tmp_path / "tensorboard"), size_guidance={"images": 0}).Reload()
    logged = {"loss", "learning_rate", "alignment", "uniformity", "positives_per_anchor", "clips_per_second"}
    assert logged | {"effective_rank", *MEASURES} <= set(events.Tags()["scalars"])
    by_step = {event.step: event.value for event in events.Scalars("loss")}
    assert by_step == pytest.approx({step: losses(tmp_path)[step - 1] for step in (2, 4, 6, 8)})
    assert [event.step for event in events.Images("matrices")] == [4, 8]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "matrices-000004.svg",
        "matrices-000008.svg",
    ]
    assert "<svg" in (tmp_path / "pictures" / "matrices-000004.svg").read_text()


@pytest.mark.slow
def test_logs_that_are_not_wanted_are_not_there(music, tmp_path):
    run(music, tmp_path, steps=1, logs=LogOptions(tensorboard=False, pictures_every=0))
    assert not {"tensorboard", "pictures"} & {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_weights_and_biases(music, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    logs = LogOptions(tensorboard=False, wandb="tones", pictures_every=2)
    if importlib.util.find_spec("wandb") is None:
        with pytest.raises(InputError, match=r"pip install wandb, or omit --logs\.wandb"):
            run(music, tmp_path / "run", logs=logs)
        assert not (tmp_path / "run").exists()
    else:
        run(music, tmp_path / "run", logs=logs)
        assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


@pytest.mark.slow
def test_what_a_run_was_made_with_is_saved(music, plain):
    config = yaml.safe_load((plain / "config.yaml").read_text())
    assert config["labels"] == "note"
    assert config["trainer"]["precision"] == "32"
    (made,) = json.loads((plain / "provenance.json").read_text())["starts"]
    assert made["environment"]["torch"] == torch.__version__.partition("+")[0]
    assert {"ssc_toolkit", "working_directory"} == made["git"].keys()


@pytest.mark.slow
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_on_a_gpu(music, tmp_path, precision):
    run(music, tmp_path, trainer=TrainerOptions(precision=precision), memory=24, logs=LogOptions(pictures_every=4))
    assert (tmp_path / "pictures" / "matrices-000008.svg").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"trainer": TrainerOptions(accumulate=0)}, "trainer.accumulate: expected an integer of at least 1"),
        ({"trainer": TrainerOptions(precision="8")}, "trainer.precision: expected one of 32, bf16, fp16"),
        ({"trainer": TrainerOptions(chunk_size=0)}, "trainer.chunk_size: expected an integer of at least 1"),
        ({"loss": LossOptions(label_weight=-1)}, "loss.label_weight: expected a number of at least 0"),
        ({"labels": None, "loss": LossOptions(label_weight=0.2)}, "loss.label_weight: expected labels as well"),
        ({"loss": LossOptions(label_weight_end=-1)}, "loss.label_weight_end: expected a number of at least 0"),
        ({"labels": None, "loss": LossOptions(label_weight_end=1)}, "loss.label_weight_end: expected labels as well"),
        ({"loss": LossOptions(tau_plus=1)}, "loss.tau_plus: expected a fraction below 1"),
        ({"loss": LossOptions(sigma=0)}, "loss.sigma: expected a positive number"),
        ({"loss": LossOptions(denominator="some")}, "loss.denominator: expected one of all, negatives"),
        ({"projector": ProjectorOptions(depth=-1)}, "projector.depth: expected an integer from 0 to 100"),
        ({"projector": ProjectorOptions(depth=1, norm="batch")}, "projector.norm: expected none, because"),
        ({"projector": ProjectorOptions(heads="two")}, "projector.heads: expected one of shared, separate"),
        ({"projector": ProjectorOptions(depth=0, heads="separate")}, "projector.heads: expected shared, because"),
        ({"projector": SEPARATE, "labels": None}, "labels: expected label columns with projector.heads=separate"),
        (
            {"projector": SEPARATE, "labeled_fraction": 0},
            "labeled_fraction: expected a fraction above 0 with projector",
        ),
        ({"projector": SEPARATE, "labeled_fraction": 1, "views": 1}, "views: expected at least 2 with projector.heads"),
        ({"projector": ProjectorOptions(depth=0, output_dim=64)}, "projector.output_dim: expected 128, because"),
        ({"segments": SegmentOptions(min_gap_seconds=1)}, "segments.min_gap_seconds: expected segments.sampler=random"),
        (
            {"segments": SegmentOptions(sampler="random", min_gap_seconds=2, max_gap_seconds=1)},
            "segments.max_gap_seconds: expected a number of at least 2",
        ),
        ({"optimizer": OptimizerOptions(name="Sgd")}, "optimizer.name: expected one of Adam, AdamW"),
        ({"optimizer": OptimizerOptions(warmup=2)}, "optimizer.warmup: expected a fraction"),
        ({"optimizer": OptimizerOptions(weight_decay=-1)}, "optimizer.weight_decay: expected a number of at least 0"),
        ({"logs": LogOptions(every=0)}, "logs.every: expected an integer of at least 1"),
        ({"memory": -1}, "memory: expected an integer of at least 0"),
        ({"steps": 2.5}, "steps: expected an integer of at least 1, got 2.5"),
        ({"view_seconds": math.inf}, "view_seconds: expected a positive number, got inf"),
        ({"learning_rate": math.inf}, "learning_rate: expected a positive number, got inf"),
        ({"learning_rate": 1e39}, "learning_rate: expected a positive number below 1e\\+36, got 1e\\+39"),
        ({"temperature": math.inf}, "temperature: expected a positive number, got inf"),
        ({"optimizer": OptimizerOptions(weight_decay=math.inf)}, "optimizer.weight_decay: expected"),
        ({"labels": None, "labeled_fraction": math.nan}, "labeled_fraction: expected a fraction"),
    ],
)
def test_options_out_of_range_are_refused_before_any_work(music, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        run(music, tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        (
            {"labels": None, "batch_size": 24},
            ["24 unlabeled tracks .* 18"],
        ),
        (
            {"batch_size": 20, "labeled_fraction": 0.4},
            ["8 labeled tracks .* 6"],
        ),
        (
            {"label_budget": 0.2},
            ["label_budget: 2 classes have no labeled track", "needs 3 labeled tracks and there are 1"],
        ),
        ({"labels": "same"}, ["labels: all labeled tracks .* in column 'same', so all pairs"]),
        ({"labels": ("note", "same")}, ["labels: all labeled tracks .* in column 'same'"]),
        ({"labels": "tags", "min_shared": 2}, []),
    ],
    ids=str,
)
def test_unusual_settings_give_a_warning(odd, tmp_path, caplog, options, words):
    run(odd, tmp_path, **options, steps=1)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == len(words)
    assert all(re.search(expected, line) for expected, line in zip(words, said, strict=True)), said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"labels": "same", "labeled_fraction": 1.0},
            "labels: .* column 'same', so there are no negatives with",
        ),
        ({"min_shared": 2}, "min_shared: expected 1 .*'note', got 2"),
        ({"labels": None, "min_shared": 2}, "min_shared: expected 1 .*no labels, got 2"),
    ],
)
def test_labels_without_negatives_are_refused(odd, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        run(odd, tmp_path, **options)
    assert not (tmp_path / "settings.json").exists()


def test_an_unknown_strategy_is_refused(music, tmp_path):
    with pytest.raises(InputError, match=r"trainer: .*'telepathy'"):
        run(music, tmp_path, trainer=TrainerOptions(strategy="telepathy"))
