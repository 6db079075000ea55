"""Linear probes on frames find beats and chord roots, in memory that does not grow with the tracks."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from annotated_music import write_annotated_music
from audio_files import write_audio

from ssc_toolkit.data import TrackTable
from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import Results, as_model, make_score_row
from ssc_toolkit.evaluation.frame_probing import (
    Beats,
    ChordRoots,
    FrameStatistics,
    fit_frame_probe,
    frame_probe,
    read_beats,
    read_chord_roots,
)

RATE = 16000


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MelCNN(n_mels=64)


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    return write_annotated_music(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def tracks(scene) -> TrackTable:
    return TrackTable(pd.read_csv(scene / "tracks.csv"))


def test_beats_are_found_from_the_spectrogram(scene, tracks, model):
    score = frame_probe(model, tracks, read_beats(scene / "beats.csv"), "log_mel", 2.0)
    assert score.metric == "beat F-measure"
    assert (score.tracks, score.groups) == (4, 3)
    assert score.headline.value > 0.8
    assert score.headline.low <= score.headline.value <= score.headline.high


def test_shifted_beats_score_lower(scene, tracks, model):
    beats = read_beats(scene / "beats.csv")
    probe = fit_frame_probe(model, tracks, beats, "log_mel", 2.0)
    shifted = {path: Beats(own.seconds + 0.15) for path, own in beats.items()}
    assert probe.score(model, tracks, shifted).headline.value < 0.3


def test_chord_roots_are_found_from_the_spectrogram(scene, tracks, model):
    annotations = read_chord_roots(scene / "chord_roots.csv")
    score = frame_probe(model, tracks, annotations, "log_mel", 2.0)
    assert score.metric == "chord root accuracy"
    assert score.headline.value > 0.25  # chance is 1 / 12
    frame = Results.of([make_score_row(score, model="m", task="chord_root")]).frame
    assert frame.loc[0, ["metric", "tracks"]].tolist() == ["chord root accuracy", 4]


def test_true_roots_have_accuracy_one_and_gaps_are_left_out():
    own = ChordRoots(np.array([[0.5, 1.0], [2.0, 3.0]]), np.array([0, 7]))
    times = np.arange(0.05, 4, 0.1)
    targets, inside = own.targets(times)
    assert inside.sum() == 15
    assert own.score(times, np.where(inside[:, None], targets, 0), 0.0) == pytest.approx(1.0)
    half = np.where(times[:, None] < 1.5, targets, np.eye(12)[6])
    assert own.score(times, half, 0.0) == pytest.approx(1 / 3)


def test_ridge_equals_the_closed_form_of_scikit_learn():
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(0)
    frames, targets = random.normal(3, 5, (400, 6)) + 1000, random.normal(size=(400, 2))
    statistics = FrameStatistics(6, 2)
    for part in np.array_split(np.arange(400), 7):
        statistics.add(frames[part], targets[part])
    expected = Ridge(0.1 * 400).fit(StandardScaler().fit_transform(frames), targets)
    outputs = expected.predict(StandardScaler().fit_transform(frames))
    np.testing.assert_allclose(statistics.solve(0.1)(frames), outputs, atol=1e-6)


def test_memory_does_not_grow_with_the_length_of_tracks(tmp_path, model):
    peaks = []
    for seconds in (20, 80):
        rows = []
        for split in ("train", "valid", "test"):
            path = write_audio(
                tmp_path / f"{split}{seconds}.wav", 0.1 * np.random.default_rng(0).normal(size=seconds * RATE), RATE
            )
            rows.append([str(path), float(seconds), split])
        table = TrackTable(pd.DataFrame(rows, columns=["path", "seconds", "split"]))
        annotations = {path: Beats(np.arange(0.5, seconds, 0.5)) for path, _, _ in rows}
        frame_probe(model, table, annotations, "log_mel", 1.0)  # imports and caches
        tracemalloc.start()
        frame_probe(model, table, annotations, "log_mel", 1.0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def test_bad_arguments_raise_errors(scene, tracks, model, tmp_path):
    beats = read_beats(scene / "beats.csv")
    with pytest.raises(InputError, match=r"layer: expected frames of at most 0\.07 s"):
        frame_probe(MelCNN(n_mels=64), tracks, beats, window_seconds=0.5)
    with pytest.raises(InputError, match="model: expected an Encoder"):
        frame_probe(as_model(lambda x: x[:, :8], RATE), tracks, beats)
    with pytest.raises(InputError, match="annotations: expected train tracks"):
        frame_probe(model, tracks, {path: own for path, own in beats.items() if path not in set(tracks["path"][:8])})
    with pytest.raises(InputError, match="annotations: there is no file"):
        read_beats(tmp_path / "none.csv")
    (tmp_path / "odd.csv").write_text("path,begin_seconds,end_seconds,root\na.wav,0,1,12\n")
    with pytest.raises(InputError, match="expected roots from 0 to 11"):
        read_chord_roots(tmp_path / "odd.csv")
    for text, read in (
        ("path,seconds\na.wav,1\na.wav,\n", read_beats),
        ("path,seconds\na.wav,1\na.wav,inf\n", read_beats),
        ("path,seconds\na.wav,1\na.wav,-1\n", read_beats),
        ("path,begin_seconds,end_seconds,root\na.wav,0,1,0\na.wav,,2,1\n", read_chord_roots),
    ):
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(InputError, match="row 2 has a number that is missing or below 0"):
            read(tmp_path / "odd.csv")


@pytest.mark.slow
def test_the_library_imports_without_mir_eval():
    modules = "ssc_toolkit.evaluation.frame_probing, ssc_toolkit.commands.probe"
    program = f"import sys; sys.modules['mir_eval'] = None; import {modules}"
    subprocess.run([sys.executable, "-c", program], check=True)
