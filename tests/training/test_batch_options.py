"""Batches of a training: balanced classes, and several unlabeled sources in proportions."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
import yaml
from training_runs import TINY, assert_same_checkpoint, losses, pretrain_on

from ssc_toolkit.cli import main
from ssc_toolkit.data import check_audio, encode_labels, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.leaks import TRAINING_TRACKS, load_record
from ssc_toolkit.options import PretrainOptions, TrackSource
from ssc_toolkit.options.run_settings import check_run_settings, default_settings, select_settings
from ssc_toolkit.training import BatchOptions, OptimizerOptions, SegmentOptions, SemiSupConDataModule, UnlabeledSource
from ssc_toolkit.training.dataset_factory import make_training_dataset, select_training_rows


@pytest.fixture(scope="module")
def table(music):
    return select_training_rows(check_audio(load_tracks(music / "my.csv"), 0.5))


def module_of(parts, labels, batch_size=12, **options):
    dataset = make_training_dataset(parts, labels, 16000, 0.5, 2, 0.1, SegmentOptions())
    return SemiSupConDataModule(dataset, batch_size, 0.5, **options)


def test_balanced_batches_have_equal_counts_of_classes(table):
    labels = encode_labels(table, "note")
    data = module_of([table], labels, items_per_class=2, seed=1)
    counts = []
    for number in range(10):
        batch = data.batch_sampler().batch(number)
        known = [int(index) for index in batch if index.labeled]
        assert (len(batch), len(known)) == (12, 6)
        assert bool(labels.labeled[known].all())
        counts.append(torch.bincount(labels.values[known].long(), minlength=3).tolist())
    assert counts == [[2, 2, 2]] * 10
    plain = [index for n in range(10) for index in module_of([table], labels, seed=1).batch_sampler().batch(n)]
    assert len([index for index in plain if index.labeled]) == 60


def test_balanced_batches_keep_the_label_budget(table):
    labels = encode_labels(table, "note")
    data, plain = (module_of([table], labels, 4, label_budget=0.7, items_per_class=items) for items in (1, None))
    allowed = set(plain.labeled_rows()[plain.budget()].tolist())
    assert set(data.labeled_rows()[data.budget()].tolist()) == allowed
    drawn = [index for number in range(20) for index in data.batch_sampler().batch(number)]
    assert {int(index) for index in drawn if index.labeled} == allowed
    assert not {int(index) for index in drawn if not index.labeled} & allowed


def test_sources_have_their_proportions_of_a_batch(table):
    data = module_of([table, table, table], encode_labels(table, "note"), proportions=(0.5, 0.25))
    own = [index for number in range(40) for index in data.batch_sampler().batch(number) if not index.labeled]
    counts = torch.bincount(torch.tensor([int(index) // len(table) for index in own]), minlength=3)
    assert counts.tolist() == pytest.approx([60, 120, 60], abs=2)


@pytest.mark.slow
def test_a_config_has_several_sources_and_resumes(music, tmp_path):
    plain = pd.read_csv(music / "my.csv")[["path"]]
    for name, rows in (("low", plain[:8]), ("high", plain[8:])):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    sources = [
        {"tracks": str(tmp_path / f"{name}.csv"), "root": str(music), "proportion": own}
        for name, own in (("low", 0.75), ("high", 0.25))
    ]
    config = tmp_path / "several.yaml"
    own = {"tracks": str(music / "my.csv"), "labels": "note", "batch_size": 12, "unlabeled": sources}
    own |= {
        "batches": {"sampler": "balanced"},
        "optimizer": {"schedule": "constant"},
        "view_seconds": 0.5,
        "steps": 2,
        "out": str(tmp_path / "run"),
    }
    config.write_text(yaml.safe_dump(own))
    assert main(["pretrain", f"--config={config}"]) == 0
    assert len(load_record(tmp_path / "run" / TRAINING_TRACKS)) == 18 + 24
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["unlabeled"]["tracks"] == sources
    assert main(["pretrain", f"--config={config}", "--steps=4"]) == 0
    options = own | {"steps": 4, "out": str(tmp_path / "whole"), "batches": BatchOptions(sampler="balanced")}
    options["optimizer"] = OptimizerOptions(schedule="constant")
    options["unlabeled"] = tuple(UnlabeledSource(**source) for source in sources)
    pretrain_on(options.pop("tracks"), options.pop("out"), **options)
    assert losses(tmp_path / "whole") == losses(tmp_path / "run")
    assert_same_checkpoint(tmp_path / "run" / "last.ckpt", tmp_path / "whole" / "last.ckpt")
    sources[0]["proportion"] = 0.5
    with pytest.raises(InputError, match=r"batches.proportions was \[0.75, 0.25\], is \[0.5, 0.25\]"):
        pretrain_on(music / "my.csv", tmp_path / "run", **TINY, unlabeled=sources)


def test_old_runs_have_the_default_batches(tmp_path, music):
    defaults = default_settings(PretrainOptions)
    for unlabeled in ("music", TrackSource(tracks="music"), ["music"], [{"tracks": "music"}]):
        own = select_settings(PretrainOptions(tracks="music", out="run", unlabeled=unlabeled))
        assert own["batches.proportions"] == defaults["batches.proportions"]
    check_run_settings(tmp_path, PretrainOptions(tracks="music", out="run"))


def test_the_command_line_accepts_a_list_of_sources(music, tmp_path, capsys):
    common = ["pretrain", str(music / "my.csv"), f"--out={tmp_path / 'run'}"]
    with pytest.raises(SystemExit):
        main([*common, "--unlabeled=[{tracks: a.csv, proportion: 0.5}, b.csv]", "--print_config"])
    assert yaml.safe_load(capsys.readouterr().out)["unlabeled"]["tracks"] == [
        {"tracks": "a.csv", "proportion": 0.5},
        "b.csv",
    ]
    assert main([*common, f"--unlabeled=[{{tracks: {music}}}, {{tracks: nowhere}}]"]) == 2
    assert "unlabeled[2]: there is no file or folder nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batches": BatchOptions(sampler="balanced")}, "batches.sampler: expected labels as well with balanced"),
        ({"batches": BatchOptions(items_per_class=3)}, "batches.items_per_class: expected batches.sampler=balanced"),
        ({"batches": BatchOptions(sampler="even")}, "batches.sampler: expected one of random, balanced"),
        (
            {"batches": BatchOptions(sampler="balanced"), "labels": "note"},
            "batches.items_per_class: expected a divisor .* labeled_fraction \\* batch_size = 3, got 2",
        ),
        (
            {"batches": BatchOptions(sampler="balanced", items_per_class=1), "labels": "note", "labeled_fraction": 0.0},
            "batches.items_per_class: expected a divisor .* = 0, got 1",
        ),
        ({"unlabeled": []}, "unlabeled: expected at least one source"),
        ({"unlabeled": [{"root": "."}]}, r"unlabeled\[1\]: expected tracks, or a dictionary with tracks"),
        ({"unlabeled": ["scores", {"tracks": "x", "part": 1}]}, r"unlabeled\[2\]: expected tracks, .* got 'part'"),
        ({"unlabeled": ["scores", {"tracks": "scores", "proportion": 1}]}, "expected a proportion for all 2 sources"),
        ({"unlabeled": [{"tracks": "scores", "proportion": 0.7}] * 2}, "proportions with a sum of at most 1, got 1.4"),
        ({"unlabeled": [{"tracks": "scores", "proportion": 0}]}, "unlabeled: proportion: expected a number above 0"),
        ({"unlabeled": [{"tracks": "scores", "proportion": "a"}]}, "unlabeled: proportion: expected a number"),
        ({"unlabeled": UnlabeledSource(tracks=["scores"], root="x")}, "unlabeled.root: expected it in each source"),
    ],
    ids=str,
)
def test_batches_that_cannot_work_stop_before_work(music, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", **TINY | options)
    assert not (tmp_path / "run").exists()


def test_a_rest_without_tracks_is_an_error(music, tmp_path):
    table = pd.read_csv(music / "my.csv").dropna(subset=["note"])
    table.to_csv(tmp_path / "known.csv", index=False)
    options = {"labels": "note", "root": str(music), "unlabeled": [{"tracks": str(music), "proportion": 0.5}]}
    with pytest.raises(InputError, match="proportions: expected a sum of 1, because no unlabeled items are outside"):
        pretrain_on(tmp_path / "known.csv", tmp_path / "run", **TINY | options)
