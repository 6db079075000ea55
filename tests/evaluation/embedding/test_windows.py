"""Embeddings over the windows of a track: their mean, batches, rates, corruption and damage."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from ssc_toolkit.augmentations import Gain
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import Task, embed_tracks, fit_probe, robustness

RATE = 8000


class Levels:
    """A model that anyone might bring: the mean level of a window."""

    sample_rate = RATE

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        return waveforms.mean(dim=(1, 2))[:, None]


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
        embeddings = embed_tracks(Levels(), tracks, 1.0, max_unusable=0.5, progress=False)
    assert np.isnan(embeddings[:, 0]).tolist() == [False, True, False]
    assert path in caplog.text
    with pytest.raises(InputError, match="1 of 3 could not be decoded"):
        embed_tracks(Levels(), tracks, 1.0, max_unusable=0.1, progress=False)
    with pytest.raises(InputError, match="shorter than a window"):
        embed_tracks(Levels(), tracks, 2.0, progress=False)


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
