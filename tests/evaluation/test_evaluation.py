"""Embeddings, probes, intervals and reports, on real files and on data with a known answer."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from points import labelled_points

from ssc_toolkit.augmentations import Gain
from ssc_toolkit.data import check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import (
    LogMelStatistics,
    Task,
    bootstrap_mean,
    embed_tracks,
    fit_probe,
    neighbor_agreement,
    probe,
    robustness,
)
from ssc_toolkit.reports.page import Section, markdown, write_report

RATE = 8000


class Levels:
    """A model that anyone might bring: the mean level of a window."""

    sample_rate = RATE

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        return waveforms.mean(dim=(1, 2))[:, None]


@pytest.fixture
def tracks(tmp_path):
    """Tracks of 1, 2 and 2.5 seconds whose level grows by .1 each second."""
    for number, seconds in enumerate((1.0, 2.0, 2.5)):
        samples = 0.1 * (1 + np.floor(np.arange(round(seconds * RATE)) / RATE))
        soundfile.write(tmp_path / f"{number}.wav", samples, RATE)
    return check_audio(load_tracks(tmp_path), progress=False)


def test_the_mean_over_whole_windows(tracks):
    embeddings = embed_tracks(Levels(), tracks, window_seconds=1.0, progress=False)
    np.testing.assert_allclose(embeddings[:, 0], [0.1, 0.15, 0.15], atol=1e-4)


def test_at_most_64_windows_of_a_long_track(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.repeat([0.1, 0.9], [64 * 800, 400 * 800]), RATE)
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    assert embed_tracks(Levels(), tracks, 0.1, progress=False)[0, 0] == pytest.approx(0.1, abs=1e-4)


def test_the_batch_size_changes_nothing(tracks):
    encoder = MelCNN(sample_rate=RATE)
    encoder.train()
    one = embed_tracks(encoder, tracks, 0.5, batch_size=1, progress=False)
    np.testing.assert_allclose(embed_tracks(encoder, tracks, 0.5, batch_size=8, progress=False), one, atol=1e-5)
    assert encoder.training


def test_files_at_another_rate_are_resampled(tracks):
    model = Levels()
    model.sample_rate = 11025
    np.testing.assert_allclose(embed_tracks(model, tracks, 1.0, progress=False)[0, 0], 0.1, atol=1e-3)


def test_corruption_is_the_same_for_every_model_and_batch_size(tracks):
    def run(**options):
        return embed_tracks(Levels(), tracks, 0.5, corruption=Gain((-20, 0)), progress=False, **options)

    assert np.array_equal(run(seed=1), run(seed=1, batch_size=1))
    assert not np.allclose(run(seed=1), run(seed=2))
    assert (run(seed=1) < embed_tracks(Levels(), tracks, 0.5, progress=False)).all()


def test_a_track_that_breaks_is_named_and_gets_nan(tracks, caplog):
    path = tracks["path"][1]
    Path(path).write_bytes(b"broken")
    with caplog.at_level(logging.WARNING):
        embeddings = embed_tracks(Levels(), tracks, 1.0, most_unreadable=0.5, progress=False)
    assert np.isnan(embeddings[:, 0]).tolist() == [False, True, False]
    assert path in caplog.text
    with pytest.raises(InputError, match="1 of 3 could not be decoded"):
        embed_tracks(Levels(), tracks, 1.0, most_unreadable=0.1, progress=False)
    with pytest.raises(InputError, match="shorter than a window"):
        embed_tracks(Levels(), tracks, 2.0, progress=False)


def test_a_probe_scores_high_only_on_informative_embeddings():
    embeddings, tracks = labelled_points()
    assert probe(embeddings, tracks, "label").headline.value > 0.95
    shuffled = tracks.assign(label=tracks["label"].sample(frac=1, random_state=0).to_numpy())
    assert probe(embeddings, shuffled, "label").headline.value < 0.6


def test_a_probe_does_not_see_the_test_split_or_unknown_labels():
    embeddings, tracks = labelled_points()
    fitted = fit_probe(embeddings, tracks, "label")
    other = embeddings.copy()
    other[tracks["split"] == "test"] *= -5
    assert np.array_equal(
        fit_probe(other, tracks, "label").head.predict(embeddings),
        fitted.head.predict(embeddings),
    )
    some = tracks.assign(label=tracks["label"].where(np.arange(300) % 2 == 0, None))
    assert probe(embeddings, some, "label").tracks == 30


def test_nan_embeddings_are_left_out():
    embeddings, tracks = labelled_points()
    embeddings[[0, 299]] = np.nan
    assert probe(embeddings, tracks, "label").tracks == 59


def test_a_subset_of_the_test_tracks():
    embeddings, tracks = labelled_points()
    fitted = fit_probe(embeddings, tracks, "label")
    subset = np.arange(300) >= 280
    score = fitted.score(embeddings, tracks, subset)
    assert score.rows.tolist() == list(range(280, 300))
    with pytest.raises(InputError, match="labels: expected test tracks"):
        fitted.score(embeddings, tracks, np.zeros(300, dtype=bool))


def test_several_labels_a_track():
    embeddings, tracks = labelled_points()
    number = tracks["label"].str[-1].astype(int)
    tags = [f"a{n}|{'even' if n % 2 == 0 else 'odd'}" for n in number]
    tags[-1] = "a0|never in training"
    score = probe(embeddings, tracks.assign(tags=tags), "tags")
    assert score.metric == "average precision"
    assert score.headline.value > 0.75
    assert score.others["roc_auc"] > 0.9
    everything = probe(embeddings, tracks.assign(tags=[f"{tag}|music" for tag in tags[:-1]] + ["a0|music"]), "tags")
    assert everything.undefined_classes == 1  # every track is music


def test_keys_get_the_weighted_score():
    embeddings, tracks = labelled_points(classes=3)
    names = {"class 0": "C major", "class 1": "G major", "class 2": "A minor"}
    score = probe(embeddings, tracks.assign(key=tracks["label"].map(names)), "key")
    assert score.headline.value <= score.others["weighted_key_score"] <= 1
    # A model that always answers C major: 1 for C, .5 or less for the others.
    constant = probe(np.zeros_like(embeddings), tracks.assign(key=tracks["label"].map(names)), "key")
    assert constant.others["weighted_key_score"] < 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(label=t["label"].where(t["split"] != "valid", None)), "labels: expected valid tracks"),
        (
            lambda t: t.assign(label=t["label"].where(t["split"] != "train", "one")),
            "labels: expected at least two classes",
        ),
        (lambda t: t.drop(columns="label"), "no column 'label'"),
    ],
)
def test_unusable_labels_are_refused(change, words):
    embeddings, tracks = labelled_points()
    with pytest.raises(InputError, match=words):
        fit_probe(embeddings, change(tracks), "label")


def test_intervals_have_their_nominal_coverage():
    random = np.random.default_rng(0)
    hits = 0
    for repeat in range(200):
        effect = random.normal(size=60).repeat(3)  # groups of three that share most of their value
        values = effect + 0.1 * random.normal(size=180)
        interval = bootstrap_mean(values, np.arange(60).repeat(3), seed=repeat)
        hits += interval.low <= 0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


def test_groups_widen_an_interval():
    values = np.random.default_rng(0).normal(size=60).repeat(5)
    grouped = bootstrap_mean(values, np.arange(60).repeat(5))
    single = bootstrap_mean(values, np.arange(300))
    assert grouped.high - grouped.low > 1.5 * (single.high - single.low)
    assert grouped.value == single.value


def test_neighbors_agree_by_class_and_by_shared_label():
    embeddings = np.array([[1.0, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 1]])
    tracks = pd.DataFrame({"one": ["a", "a", "b", "a", None], "many": ["x|y", "y", "x", "z", None]})
    assert neighbor_agreement(embeddings, encode_labels(tracks, "one")) == 0.5
    assert neighbor_agreement(embeddings, encode_labels(tracks, "many")) == 0.5
    nobody = encode_labels(pd.DataFrame({"one": ["a", None, None, None, None]}), "one")
    assert np.isnan(neighbor_agreement(embeddings, nobody))


def test_robustness_falls_when_the_probed_feature_is_corrupted(tmp_path):
    rows = []
    for number in range(60):
        loud = number % 2 == 0
        soundfile.write(tmp_path / f"{number:02d}.wav", np.full(RATE, 0.8 if loud else 0.4), RATE)
        rows.append((f"{number:02d}.wav", "loud" if loud else "soft", ("train", "valid", "test")[number // 20]))
    pd.DataFrame(rows, columns=["path", "level", "split"]).to_csv(tmp_path / "t.csv", index=False)
    tracks = check_audio(load_tracks(tmp_path / "t.csv"), progress=False)
    model = Levels()
    probes = {"level": fit_probe(embed_tracks(model, tracks, 1.0, progress=False), tracks, "level")}
    scores = robustness(
        model, probes, [Task("level", "level")], tracks, 1.0, lambda severity: Gain(-10 * severity), progress=False
    )["level"]
    assert scores[0.0].headline.value == 1
    assert scores[1.0].headline.value == scores[2.0].headline.value == 0.5


def test_log_mel_statistics_do_not_depend_on_training():
    statistics = LogMelStatistics(sample_rate=RATE)
    waveforms = torch.randn(2, 1, RATE)
    assert torch.equal(statistics(waveforms), LogMelStatistics(sample_rate=RATE)(waveforms))
    assert not list(statistics.parameters())


def test_a_report_is_whole_in_three_formats(tmp_path):
    section = Section(
        "Scores <b>", ["A & B"], ["model", "key"], [["mine", "0.5"], ["other", "0.25"]], {"Plot.": "<svg></svg>"}
    )
    write_report(tmp_path, "Title", "Lead", [section], {"scores": {"key": 0.5}})
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["scores"] == {"key": 0.5}
    assert content["environment"]["torch"] == torch.__version__.split("+")[0]
    text = (tmp_path / "report.md").read_text()
    assert "| mine  | 0.5  |" in text
    page = (tmp_path / "report.html").read_text()
    assert "Scores &lt;b&gt;" in page
    assert "<svg></svg>" in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert markdown("Title", "Lead", [], {}).startswith("# Title\n\nLead\n")
