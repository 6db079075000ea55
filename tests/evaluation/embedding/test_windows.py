"""Embeddings over the windows of a track: their mean, batches, rates, corruption and damage."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from ssc_toolkit.augmentations import ColoredNoise, Gain
from ssc_toolkit.data import AudioStore, check_audio, load_tracks
from ssc_toolkit.encoders import MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import Task, embed_models, embed_tracks, embed_windows, fit_probe, robustness
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import compute_embeddings

RATE = 8000


class Levels:
    """A model that anyone might bring: the mean level of a window."""

    sample_rate = RATE

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        return waveforms.mean(dim=(1, 2))[:, None]


def test_the_mean_over_whole_windows(tracks):
    embeddings = embed_tracks(Levels(), tracks, window_seconds=1.0, progress=False)
    np.testing.assert_allclose(embeddings[:, 0], [0.1, 0.15, 0.15], atol=1e-4)


@pytest.mark.parametrize("corruption", [None, Gain(0.0)])
@pytest.mark.parametrize("windows", [200, 464])
def test_at_most_64_windows_of_a_long_track_are_pooled(tmp_path, windows, corruption):
    """The level of a track rises from 0 to 1. The windows are a few of many, read as a whole or one by one."""
    soundfile.write(tmp_path / "long.wav", np.linspace(0, 1, windows * 800), RATE, subtype="FLOAT")
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    model = Counted()
    mean = embed_tracks(model, tracks, 0.1, corruption=corruption, progress=False)
    assert mean[0, 0] == pytest.approx(0.5, abs=1e-3)
    assert sum(model.calls) == 64


@pytest.mark.parametrize("stored", [False, True])
def test_all_windows_of_long_and_short_tracks_are_returned(tmp_path, stored):
    """The level of a track rises from 0 to 0.9. Windows that are silent are between two others."""
    counts = {"a": 130, "b": 2, "c": 64, "d": 65, "e": 128, "f": 128}
    levels = {name: np.linspace(0, 0.9, count * 800) for name, count in counts.items()}
    levels["e"][70 * 800 : 72 * 800] = 0
    (tmp_path / "music").mkdir()
    for name, level in levels.items():
        end = np.zeros(799)  # a partial window
        soundfile.write(tmp_path / "music" / f"{name}.wav", np.append(level, end), RATE, subtype="FLOAT")
    tracks = check_audio(load_tracks(tmp_path / "music"), progress=False)
    if stored:
        tracks = AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False).tracks
    found = embed_windows(Levels(), tracks, 0.1, progress=False)
    assert found.rows.tolist() == np.repeat(range(6), list(counts.values())).tolist()
    for row, (name, count) in enumerate(counts.items()):
        own = found.rows == row
        np.testing.assert_allclose(found.seconds[own], np.arange(count) * 0.1, atol=1e-9)
        expected = levels[name].reshape(count, 800).mean(axis=1)
        np.testing.assert_allclose(found.embeddings[own, 0], expected, atol=1e-4)


def test_a_long_track_with_a_damaged_end_has_no_windows(tmp_path, caplog):
    """The first windows can be decoded, and the samples of the later ones cannot."""
    soundfile.write(tmp_path / "a.wav", np.linspace(0, 1, 200 * 800), RATE)
    soundfile.write(tmp_path / "b.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 200 * 800), RATE)
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    path = tmp_path / "b.flac"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    with caplog.at_level(logging.WARNING):
        found = embed_windows(Levels(), tracks, 0.1, max_unusable=0.5, progress=False)
    assert found.rows.tolist() == [0] * 200
    assert "not embedded" in caplog.text


def test_a_store_and_models_of_other_rates_spread_their_windows(tmp_path):
    soundfile.write(tmp_path / "long.wav", np.linspace(0, 1, 300 * 800), RATE, subtype="FLOAT")
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    store = AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False).tracks
    assert embed_tracks(Levels(), store, 0.1, progress=False)[0, 0] == pytest.approx(0.5, abs=1e-3)
    half = Levels()
    half.sample_rate = RATE // 2
    found = embed_models({"own": Levels(), "half": half}, tracks, 0.1, progress=False)
    assert found["half"][0, 0] == pytest.approx(found["own"][0, 0], abs=1e-3)


def test_tracks_shorter_than_a_window_are_padded_and_counted(tracks, caplog):
    with caplog.at_level(logging.WARNING):
        embeddings = embed_tracks(Levels(), tracks, 2.0, progress=False)
    np.testing.assert_allclose(embeddings[:, 0], [0.05, 0.15, 0.15], atol=1e-4)
    assert "1 of 3 tracks are shorter than a window of 2.00 s and are padded with zeros" in caplog.text
    corrupted = embed_tracks(Levels(), tracks, 2.0, corruption=Gain(-6.0206), progress=False)
    np.testing.assert_allclose(corrupted, embeddings / 2, atol=1e-4)
    caplog.clear()
    embed_tracks(Levels(), tracks, 1.0, progress=False)
    assert "padded" not in caplog.text


@pytest.mark.parametrize(("window_pooling", "expected"), [("mean", [0.3]), ("max", [0.4]), ("mean_std", [0.3, 0.1])])
def test_silent_windows_are_left_out_of_the_pooling(tmp_path, window_pooling, expected):
    random = np.random.default_rng(0)
    levels = np.repeat([0, 0.2, 0, 0.4, 0], RATE) + random.integers(-1, 2, 5 * RATE) / 32768  # dither
    soundfile.write(tmp_path / "a.wav", levels, RATE)
    soundfile.write(tmp_path / "b.wav", np.repeat([0.3, 0.3, 0.3, 0.3, 0.3], RATE), RATE)
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    found = embed_tracks(Levels(), tracks, 1.0, window_pooling=window_pooling, progress=False)
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    assert found[1, 0] == pytest.approx(0.3, abs=1e-4)
    assert (
        len(embed_windows(Levels(), tracks, 1.0, progress=False).rows) == 10
    )  # one row for each window, silent or not


class Counted(Levels):
    """Levels, and the number of windows of each call."""

    def __init__(self, rate: int = RATE) -> None:
        self.sample_rate = rate
        self.calls: list[int] = []

    def __call__(self, waveforms: torch.Tensor) -> torch.Tensor:
        self.calls.append(len(waveforms))
        return super().__call__(waveforms)


@pytest.mark.parametrize("corruption", [Gain(-20.0), ColoredNoise((10.0, 10.0), p=1.0, sample_rate=RATE)])
@pytest.mark.parametrize("rates", [(RATE,), (RATE, RATE // 2)])
def test_a_corruption_does_not_change_the_choice_of_windows(tmp_path, corruption, rates):
    """One window is silent, and one so quiet that it is silent after the gain; noise makes the silent one audible."""
    soundfile.write(tmp_path / "a.wav", np.repeat([0.2, 0, 2e-4, 0.4], RATE), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", np.repeat([2e-4, 2e-4, 0.3, 0.3], RATE), RATE, subtype="FLOAT")
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    models = {str(rate): Counted(rate) for rate in rates}
    fixed = FixedCorruption.draw(corruption, RATE, tracks)
    clean = embed_models(models, tracks, 1.0, progress=False)
    used = {name: sum(model.calls) for name, model in models.items()}
    assert used[str(RATE)] == 3 + 4
    corrupted = embed_models(models, tracks, 1.0, corruption=fixed, progress=False)
    assert {name: sum(model.calls) for name, model in models.items()} == {
        name: 2 * count for name, count in used.items()
    }
    if isinstance(corruption, Gain):
        for name, found in corrupted.items():
            np.testing.assert_allclose(found, clean[name] / 10, atol=1e-4)


def test_windows_read_one_by_one_are_chosen_from_clean_audio(tmp_path):
    levels = np.tile([0.2, 0.0, 2e-4, 0.4], 100)
    soundfile.write(tmp_path / "long.wav", np.repeat(levels, 800), RATE, subtype="FLOAT")
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    chosen = levels[np.linspace(0, 399, 64).round().astype(int)]
    model = Counted()
    for corruption in (None, Gain(-20.0)):
        model.calls.clear()
        embed_tracks(model, tracks, 0.1, corruption=corruption, progress=False)
        assert sum(model.calls) == (chosen > 0).sum()


@pytest.mark.parametrize(("seconds", "largest"), [(1.0, 524), (64.0, 8), (700.0, 1)])
def test_a_model_gets_a_limited_number_of_windows_at_once(seconds, largest):
    """A window of 8 000 samples a second; at most 2²² samples at once."""
    model = Counted()
    windows = torch.linspace(0, 1, 9 if seconds > 1 else 600)[:, None, None].expand(-1, 1, round(seconds * RATE))
    found = compute_embeddings(model, windows)
    assert max(model.calls) == largest
    assert sum(model.calls) == len(windows)
    torch.testing.assert_close(found[:, 0], windows[:, 0, 0])


def test_tracks_of_many_windows_are_embedded_in_small_calls(tmp_path):
    for number in range(12):
        soundfile.write(tmp_path / f"{number:02}.wav", np.full(64 * RATE, 0.01 * (1 + number)), RATE, subtype="FLOAT")
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    model = Counted()
    found = embed_tracks(model, tracks, 1.0, progress=False)
    assert max(model.calls) <= 2**22 // RATE
    np.testing.assert_allclose(found[:, 0], 0.01 * np.arange(1, 13), rtol=1e-4)


def test_all_windows_of_a_silent_track_are_used(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(2 * RATE, 2e-5), RATE, subtype="FLOAT")
    tracks = check_audio(load_tracks(tmp_path), progress=False)
    assert embed_tracks(Levels(), tracks, 1.0, progress=False)[0, 0] == pytest.approx(2e-5, rel=1e-3)


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
