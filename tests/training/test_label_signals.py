"""Label signals of a training: their labels, their targets, and the effect of both on a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from training_runs import TINY, history, losses, make_tones, pretrain_on

from ssc_toolkit.data import load_tracks
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.run_settings import read_settings
from ssc_toolkit.training import LogOptions, SignalOptions, TargetOptions, ValidationOptions
from ssc_toolkit.training.label_signals import encode_signal, encoded_columns, make_target, read_matrix

GAUSS = TargetOptions(name="GaussianKernel", bandwidth=0.5)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    """The tones with keys, tempi, two numbers, probabilities and a mask."""
    folder = make_tones(tmp_path_factory.mktemp("signals"))
    tracks = pd.read_csv(folder / "my.csv")
    random = np.random.default_rng(0)
    tracks["key"] = ["C major", "Am", "7", None] * 6
    tracks["tempo"] = [60.0, 120.5, None] * 8
    tracks["valence"], tracks["arousal"] = random.random((2, 24))
    tracks["rock"], tracks["jazz"] = random.random((2, 24))
    tracks["sure"] = [True, False, True] * 8
    tracks.to_csv(folder / "my.csv", index=False)
    return folder / "my.csv"


def weights(table: Path, *signals: SignalOptions, rows: slice = slice(4)) -> torch.Tensor:
    """Target weights of all pairs of some tracks."""
    labels = encoded_columns(load_tracks(table), signals, None)
    target = make_target(labels, signals, 1)
    values = {name: own.values[rows] for name, own in labels.items()}
    known = {name: own.labeled[rows] for name, own in labels.items()}
    if len(signals) == 1:
        values, known = next(iter(values.values())), next(iter(known.values()))
    target.check(values, known)
    return target.weights(values, values, known, known)


def test_keys_are_read_by_name_and_by_number(table):
    found = weights(table, SignalOptions(column="key", target="KeySimilarity"))
    expected = [[1, 0.3, 0.5, 0], [0.3, 1, 0, 0], [0.5, 0, 1, 0], [0, 0, 0, 0]]
    assert found.numpy() == pytest.approx(np.array(expected))


def test_tempi_are_compared_in_octaves(table):
    blind = TargetOptions(name="TempoKernel", bandwidth_octaves=0.06, octave_blind=True)
    found = weights(table, SignalOptions(column="tempo", target=blind))
    near = np.exp(-((np.log2(120.5 / 120) / 0.06) ** 2) / 2)
    assert found[:3, :3].numpy() == pytest.approx(np.array([[1, near, 0], [near, 1, 0], [0, 0, 0]]), rel=1e-4)
    assert weights(table, SignalOptions(column="tempo", target="TempoKernel"))[0, 1] < 1e-6


def test_several_columns_of_numbers_are_one_vector(table):
    tracks = pd.read_csv(table)
    points = tracks[["valence", "arousal"]].to_numpy()[:4]
    expected = np.exp(-(((points[:, None] - points) ** 2).sum(-1)) / (2 * 0.5**2))
    signal = SignalOptions(column=("valence", "arousal"), target=GAUSS)
    assert weights(table, signal).numpy() == pytest.approx(expected, rel=1e-5)


def test_probabilities_of_a_teacher_are_compared(table):
    p = pd.read_csv(table)[["rock", "jazz"]].to_numpy()[:4]
    one, other = p[:, None], p[None]
    hot = p >= 0.4
    norms = np.linalg.norm(p, axis=1)
    for target, expected in (
        (
            TargetOptions(name="LabelOverlap", measure="jaccard"),
            np.minimum(one, other).sum(2) / np.maximum(one, other).sum(2),
        ),
        (TargetOptions(name="TaggramCosine"), p @ p.T / norms / norms[:, None]),
        (TargetOptions(name="SharedLabels", threshold=0.4), (hot[:, None] & hot).any(2)),
        (TargetOptions(name="SharedLabels", minimum=2, threshold=0.4), (hot[:, None] & hot).all(2)),
        (
            TargetOptions(name="LabelOverlap", measure="dice", threshold=0.4),
            2 * (hot[:, None] & hot).sum(2) / np.maximum(hot.sum(1)[:, None] + hot.sum(1), 1),
        ),
    ):
        found = weights(table, SignalOptions(column=("rock", "jazz"), target=target))
        assert found.numpy() == pytest.approx(expected.astype(float), rel=1e-5), target


def test_a_threshold_reads_one_column_of_probabilities(table):
    hot = pd.read_csv(table)["rock"].to_numpy()[:4] >= 0.4
    signal = SignalOptions(column="rock", target=TargetOptions(name="SharedLabels", threshold=0.4))
    assert np.array_equal(weights(table, signal).numpy(), hot[:, None] & hot)


def test_columns_of_tags_are_zeros_and_ones(table, tmp_path):
    tracks = pd.read_csv(table)
    tags = tracks[["rock", "jazz"]].to_numpy() >= 0.4
    tracks["rock"], tracks["jazz"] = tags.T.astype(int)
    tracks.loc[1, "jazz"] = None
    tracks.to_csv(tmp_path / "tags.csv", index=False)
    expected = (tags[:4, None] & tags[:4]).any(2)
    expected[1] = expected[:, 1] = False  # unknown
    found = weights(tmp_path / "tags.csv", SignalOptions(column=("rock", "jazz"), target="SharedLabels"))
    assert np.array_equal(found.numpy(), expected)


def test_signals_are_combined_by_maximum_or_weighted_sum(table):
    key, tempo = (
        SignalOptions(column="key", target="KeySimilarity"),
        SignalOptions(column="tempo", target="TempoKernel", mask="sure"),
    )
    one, two = weights(table, key), weights(table, tempo)
    assert two[1].sum() == 0  # the mask is false there
    assert torch.equal(weights(table, key, tempo), torch.maximum(one, two))
    weighted = [
        SignalOptions(column="key", target="KeySimilarity", weight=0.7),
        SignalOptions(column="tempo", target="TempoKernel", mask="sure", weight=0.2),
    ]
    torch.testing.assert_close(weights(table, *weighted), 0.7 * one + 0.2 * two)
    torch.testing.assert_close(weights(table, weighted[0]), 0.7 * one)


@pytest.mark.parametrize("suffix", [".csv", ".npy"])
def test_a_matrix_of_similarities_is_read(tmp_path, suffix):
    matrix, path = np.array([[1.0, 0.25], [0.5, 1.0]]), tmp_path / f"similar{suffix}"
    if suffix == ".csv":
        path.write_text("name,jazz,rock\njazz,1,0.25\nrock,0.5,1\n")
    else:
        np.save(path, matrix)
    names, found = read_matrix(TargetOptions(name="SimilarityMatrix", matrix=str(path)))
    assert names == (["jazz", "rock"] if suffix == ".csv" else ["0", "1"])
    assert found.numpy() == pytest.approx(matrix)
    table = pd.DataFrame({"path": list("abc"), "genre": [names[1], names[0], None]})
    signal = SignalOptions(column="genre", target=TargetOptions(name="SimilarityMatrix", matrix=str(path)))
    labels = encode_signal(as_track_table(table), signal)
    assert (labels.values[:2].tolist(), labels.labeled.tolist()) == ([1, 0], [True, True, False])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "name,jazz,rock\njazz,1,0\n", "the names in the first row and in the first column differ"),
        ("a.csv", "name,jazz\njazz,2\n", "matrix: expected weights from 0 to 1"),
        ("a.csv", "name,jazz\njazz,high\n", "could not convert string to float"),
        ("a.npy", "not numpy", "is damaged"),
    ],
)
def test_a_wrong_matrix_is_an_error_that_names_it(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(
        InputError, match=rf"target\.matrix: .*{name} is damaged.*{words}" if words != "is damaged" else words
    ):
        read_matrix(TargetOptions(name="SimilarityMatrix", matrix=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"labels": "valence"}, "column 'valence' contains real numbers, .*choose a target of numbers"),
        ({"labels": "note", "target": "TempoKernel"}, "labels: expected numbers in column 'note', got 'A3'"),
        ({"labels": "note", "target": "KeySimilarity"}, "labels: expected musical keys, .*'note'.* got 'A3'"),
        (
            {"signals": (SignalOptions(column=("rock", "tempo"), target="TaggramCosine"),)},
            "signals: expected probabilities from 0 to 1 in column 'tempo' with TaggramCosine, got 60",
        ),
        (
            {"signals": (SignalOptions(column=("rock", "jazz"), target="SharedLabels"),)},
            "signals: expected 0 or 1 in column 'rock' with SharedLabels, got .*pass target.threshold",
        ),
        (
            {"labels": "rock", "target": "LabelOverlap"},
            "labels: column 'rock' contains real numbers, .*for probabilities, pass target.threshold, or several col",
        ),
        (
            {"labels": "rock", "target": TargetOptions(name="SharedLabels", threshold=1.0)},
            r"target.threshold: expected at most 0\.\d+, the highest probability, got 1",
        ),
        (
            {"labels": "rock", "target": TargetOptions(name="SharedLabels", threshold=0.4, minimum=2)},
            "target.minimum: expected at most 1, the highest number of labels of a track, got 2",
        ),
        (
            {"labels": "tags", "target": TargetOptions(name="SharedLabels", minimum=3)},
            "target.minimum: expected at most 2",
        ),
        ({"signals": (SignalOptions(column="key", mask="none"),)}, "signals 'key': mask: there is no column 'none'"),
        ({"signals": (SignalOptions(column="key", mask="note"),)}, "mask: expected true or false in column 'note'"),
        (
            {
                "labels": "tempo",
                "target": "TempoKernel",
                "validation": ValidationOptions(monitor="val_neighbor_agreement"),
            },
            "validation.monitor: expected val_probe_score .* the numbers in column 'tempo'",
        ),
    ],
)
def test_labels_that_do_not_fit_their_target_are_errors(table, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(table, tmp_path / "run", **TINY, **options)
    assert not (tmp_path / "run" / "settings.json").exists()


def test_a_list_of_labels_does_not_fit_a_target_of_classes(table):
    tracks = as_track_table(pd.read_csv(table).assign(tags=[["a", "b"]] * 24))
    with pytest.raises(InputError, match="expected one class in each cell of column 'tags'"):
        encode_signal(tracks, SignalOptions(column="tags", target="SameClass"))


@pytest.mark.slow
def test_the_target_changes_the_loss_of_a_run(table, tmp_path):
    quiet = {"validation": ValidationOptions(every=1), "logs": LogOptions(pictures_every=1), "labeled_fraction": 1.0}
    for name, bandwidth in (("narrow", 0.01), ("wide", 10.0)):
        target = TargetOptions(name="TempoKernel", bandwidth_octaves=bandwidth)
        pretrain_on(table, tmp_path / name, labels="tempo", target=target, **TINY | {"steps": 1}, **quiet)
    narrow, wide = (float(history(tmp_path / name)[0]["positives_per_anchor"]) for name in ("narrow", "wide"))
    assert losses(tmp_path / "narrow") != losses(tmp_path / "wide")
    assert wide == pytest.approx(11, rel=0.01)  # all twelve views of the batch but the anchor
    assert narrow < wide
    row = history(tmp_path / "wide")[0]
    assert "val_neighbor_agreement" not in row
    assert np.isfinite(float(row["val_probe_score"]))  # R² of the tempi
    assert read_settings(tmp_path / "wide")["target"] == {"name": "TempoKernel", "bandwidth_octaves": 10.0}


@pytest.mark.slow
def test_a_changed_matrix_is_another_run(table, tmp_path):
    path = tmp_path / "similar.csv"
    path.write_text("name,A3,E4,A4\nA3,1,0.5,0\nE4,0.5,1,0\nA4,0,0,1\n")
    options = {"labels": "note", "target": TargetOptions(name="SimilarityMatrix", matrix=str(path)), **TINY, "steps": 1}
    pretrain_on(table, tmp_path / "run", **options)
    pretrain_on(table, tmp_path / "run", **options)  # complete
    path.write_text(path.read_text().replace("0.5", "0.6"))
    with pytest.raises(InputError, match=r"matrix\.note was "):
        pretrain_on(table, tmp_path / "run", **options)
