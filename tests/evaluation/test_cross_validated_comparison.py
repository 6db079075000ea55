"""Comparisons whose probes are cross-validated, on real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import write_tones

from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.evaluation import Task, as_model, compare_models, conditions_for

RATE = 8000


@pytest.fixture(scope="module")
def tracks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tones")
    hertz = np.tile([220.0, 440.0], 20) * np.random.default_rng(0).uniform(0.7, 1.4, 40)
    table = pd.DataFrame({"path": write_tones(folder, hertz.tolist(), RATE), "pitch": ["low", "high"] * 20})
    table["artist"] = [f"artist {row // 2 % 8}" for row in range(40)]
    table.to_csv(folder / "my.csv", index=False)
    return check_audio(load_tracks(folder / "my.csv"), progress=False)


class Counted:
    """A spectrum that counts the waveforms that it is computed of."""

    sample_rate, window_seconds, identity = RATE, 0.5, "spectrum"

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, waveforms):
        self.count += len(waveforms)
        return torch.fft.rfft(waveforms[:, 0]).abs()[:, :400]


def compare(tracks, model=None, cache: Path | None = None, **options):
    models = {
        "spectrum": model or Counted(),
        "level": as_model(lambda x: x.abs().mean(dim=1, keepdim=True), RATE, identity="level"),
    }
    return compare_models(
        models, tracks, [Task("pitch", "pitch")], cache=cache, window_seconds=0.5, progress=False, **options
    )


def test_embeddings_are_computed_once_for_all_folds(tracks):
    fixed, crossed = Counted(), Counted()
    split = tracks.assign(split=np.repeat(["train", "valid", "test"], [20, 10, 10]))
    compare(split, fixed)
    frame = compare(tracks, crossed, folds=4, group_by="artist", seeds=(0, 1, 2)).results.frame
    assert crossed.count == fixed.count
    assert set(frame["folds"]) == {4}
    assert set(frame["groups"]) == {8}
    assert set(frame["tracks"]) == {40}
    assert frame["seed"].isna().all()  # means over three seeds, each with its own folds


def test_models_are_paired_on_the_same_folds(tracks, caplog):
    comparison = compare(tracks, folds=4, group_by="artist", seeds=(0, 1))
    first, second = (comparison.results.score(model=name) for name in ("spectrum", "level"))
    for one, other in zip(first.predictions, second.predictions, strict=True):
        assert np.array_equal(one.folds, other.folds)
        assert np.array_equal(one.groups, other.groups)
    (difference,) = comparison.results.differences([("spectrum", "level")]).to_dict("records")
    assert difference["value"] == pytest.approx(first.headline.value - second.headline.value)
    assert 0 < difference["detectable"] < 1
    assert "pitch: Caution: the intervals are from 8 groups" in caplog.text


def test_a_stored_comparison_is_the_same(tracks, tmp_path):
    options = {"folds": 4, "group_by": "artist", "cache": tmp_path}
    one, other = compare(tracks, **options), compare(tracks, again := Counted(), **options)
    assert again.count == 0
    pd.testing.assert_frame_equal(one.results.frame, other.results.frame)
    pair = [("spectrum", "level")]
    pd.testing.assert_frame_equal(one.results.differences(pair), other.results.differences(pair))
    for change in ({"folds": 5}, {"group_by": None}):
        new = compare(tracks, **(options | change))
        assert new.results.score(model="level").folds == (options | change)["folds"]
        assert len(set(new.results.score(model="level").predictions[0].groups)) == (8 if "folds" in change else 40)


def test_every_track_is_scored_clean_and_corrupted(tracks):
    options = {"folds": 4, "group_by": "artist", "methods": ["linear", "retrieval"]}
    comparison = compare(tracks, conditions=conditions_for(["colored_noise"], [2], RATE), **options)
    assert set(comparison.results.frame["tracks"]) == {40}
    assert set(comparison.results.frame["groups"]) == {8}
    drop = comparison.results.relative_drops().set_index("model")["value"]
    assert drop["spectrum"] > 0


def test_fewer_labels_are_chosen_in_the_training_groups(tracks):
    frame = compare(tracks, folds=4, label_fractions=(0.2, 1.0)).results.headlines
    found = frame.set_index(["model", "label_fraction"])["value"]
    assert found["spectrum", 0.2] < found["spectrum", 1.0]


def test_confusions_are_a_table_whose_counts_are_the_tracks(tracks):
    found = compare(tracks, folds=4).results.confusions()
    assert set(found.columns) >= {"model", "task", "method", "true", "predicted", "tracks"}
    assert found.groupby("model")["tracks"].sum().tolist() == [40, 40]
    right = found[found["true"] == found["predicted"]].groupby("model")["tracks"].sum() / 40
    frame = compare(tracks, folds=4).results.headlines.set_index("model")["value"]
    assert right.to_dict() == pytest.approx(frame.to_dict())
