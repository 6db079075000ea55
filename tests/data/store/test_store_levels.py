"""Levels of stored tracks, and views that avoid silent stretches by them."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import RATE, tone, write_audio, write_noise
from folders import each_flip
from torch.utils.data import DataLoader

from ssc_toolkit.data import AudioStore, ContrastiveDataset, load_tracks, prepare_store, verify_store
from ssc_toolkit.data.store.levels import measure_levels
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json, write_checked_json
from ssc_toolkit.samplers import AdjacentSegments, RandomSegments
from ssc_toolkit.training.data import NumberedBatches, SemiSupConDataModule


@pytest.fixture
def quiet(tmp_path):
    """A store of two tracks of twenty seconds, each with sound in four of them, and of one that is hardly audible."""
    folder = tmp_path / "quiet"
    for number, begin in enumerate((3, 14)):
        samples = np.zeros(20 * RATE)
        samples[begin * RATE : (begin + 4) * RATE] = tone(440.0, 4.0)
        write_audio(folder / f"{number}.wav", samples)
    write_audio(folder / "2.wav", np.random.default_rng(0).integers(-1, 2, 20 * RATE) / 32768)
    prepare_store(load_tracks(folder), tmp_path / "store", RATE, progress=False, threads=1)
    return tmp_path / "store"


def to_earlier(folder):
    """Rewrite a store as versions without levels had it."""
    content = read_checked_json(folder / "store.json", "store", "")
    write_checked_json(folder / "store.json", {key: content[key] for key in content if not key.startswith("level")})
    for file in folder.glob("levels-*"):
        file.unlink()


def test_levels_are_those_of_half_seconds(quiet):
    levels = pd.read_parquet(next(quiet.glob("levels-*")))["level_db"].to_numpy().reshape(3, 40)
    loud = 20 * np.log10(0.3 / np.sqrt(2))
    np.testing.assert_allclose(levels[0, 6:14], loud, atol=0.05)
    np.testing.assert_allclose(levels[1, 28:36], loud, atol=0.05)
    assert (levels[:2] == -120).sum() == 64
    np.testing.assert_allclose(levels[2], 20 * np.log10(np.sqrt(2 / 3) / 32768), atol=0.5)


@pytest.mark.parametrize("samples", [1, 7, 8, 9, 8 * 512, 8 * 513 + 3])
def test_levels_of_a_loop(samples):
    signal = np.random.default_rng(samples).integers(-32768, 32768, samples).astype(np.int16)
    expected = [
        10 * np.log10(np.mean((signal[first : first + 8].astype(float) / 32768) ** 2)) for first in range(0, samples, 8)
    ]
    np.testing.assert_allclose(measure_levels(signal, 8), expected, atol=1e-4)


@pytest.mark.parametrize("make", [AdjacentSegments, RandomSegments])
def test_views_of_a_mostly_silent_store_have_sound(quiet, make):
    store = AudioStore(quiet)
    rows = torch.tensor([1, 0])
    tracks = store.tracks.select(rows)
    audible = store.audible_blocks(-40, rows)
    for sampler, is_audible in ((make(audible=audible), True), (make(), False)):
        dataset = ContrastiveDataset(tracks, RATE, 1.0, 2, view_sampler=sampler)
        batch = dataset.batch([0, 1] * 200, torch.Generator().manual_seed(0))
        loud = batch["waveforms"].square().mean(dim=(2, 3)).sqrt()
        assert bool((loud > 0.2 / np.sqrt(2)).all()) == is_audible
    assert store.audible_blocks(-40).is_silent.tolist() == [False, False, True]


@pytest.mark.slow
def test_views_are_equal_for_any_number_of_workers(quiet):
    store = AudioStore(quiet)
    sampler = RandomSegments(overlap=0.0, audible=store.audible_blocks())
    dataset = ContrastiveDataset(store.tracks, RATE, 1.0, 2, view_sampler=sampler)
    module = SemiSupConDataModule(dataset, batch_size=3)
    found = []
    for workers in (0, 1, 2):
        batches = NumberedBatches(dataset, module.batch_sampler(), 0)
        loader = DataLoader(batches, batch_size=None, sampler=range(6), num_workers=workers)
        found.append(torch.stack([batch["waveforms"] for batch in loader]))
    resumed = DataLoader(NumberedBatches(dataset, module.batch_sampler(), 0), batch_size=None, sampler=range(3, 6))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[0][3:], torch.stack([batch["waveforms"] for batch in resumed]))


def test_prepare_adds_levels_without_decoding(quiet, tmp_path, caplog):
    before = next(quiet.glob("levels-*")).read_bytes()
    to_earlier(quiet)
    store = AudioStore(quiet)
    assert store.read([0], [0], 10).shape == (1, 10)
    with pytest.raises(InputError, match=r"has no levels.*rerun the same `ssc-toolkit prepare`"):
        store.audible_blocks()
    for file in (tmp_path / "quiet").iterdir():
        file.unlink()  # a store keeps the audio of files that are gone
    with caplog.at_level(logging.INFO):
        prepare_store(store.tracks, quiet, RATE, progress=False, threads=1)
    assert "0 of them were decoded now" in caplog.text
    assert next(quiet.glob("levels-*")).read_bytes() == before
    assert AudioStore(quiet).audible_blocks().is_silent.tolist() == [False, False, True]


def test_an_update_measures_new_tracks_only(quiet, tmp_path, monkeypatch):
    measured = []

    def counted(samples, block):
        measured.append(len(samples))
        return measure_levels(samples, block)

    monkeypatch.setattr("ssc_toolkit.data.store.levels.measure_levels", counted)
    write_noise(tmp_path / "quiet" / "1b.wav", 3.0)
    prepare_store(load_tracks(tmp_path / "quiet"), quiet, RATE, progress=False, threads=1)
    assert measured == [3 * RATE]
    assert len(list(quiet.glob("levels-*"))) == 1
    levels = pd.read_parquet(next(quiet.glob("levels-*")))["level_db"].to_numpy()
    np.testing.assert_allclose(levels[86:94], levels[86], atol=0.1)  # the sound of the track after the new one
    assert AudioStore(quiet).audible_blocks().is_silent.tolist() == [False, False, False, True]


def test_damaged_levels_are_found_and_restored(quiet):
    file = next(quiet.glob("levels-*"))
    intact = file.read_bytes()
    for _ in each_flip(file):
        with pytest.raises(InputError, match=r"levels-\w+\.parquet is damaged"):
            AudioStore(quiet).audible_blocks()
    file.write_bytes(intact[:-1])
    assert verify_store(quiet, progress=False).damaged == [str(file)]
    prepare_store(AudioStore(quiet).tracks, quiet, RATE, progress=False, threads=1)
    assert file.read_bytes() == intact
    file.unlink()
    assert verify_store(quiet, progress=False).damaged == [str(file)]
    assert len(AudioStore(quiet)) == 3
    with pytest.raises(InputError, match="there is no file"):
        AudioStore(quiet).audible_blocks()


def test_levels_of_other_tracks_are_an_error(quiet, tmp_path):
    write_noise(tmp_path / "other" / "a.wav", 5.0)
    prepare_store(load_tracks(tmp_path / "other"), tmp_path / "two", RATE, progress=False)
    theirs = read_checked_json(tmp_path / "two" / "store.json", "store", "")
    file = next((tmp_path / "two").glob("levels-*"))
    (quiet / file.name).write_bytes(file.read_bytes())
    content = read_checked_json(quiet / "store.json", "store", "")
    write_checked_json(quiet / "store.json", content | {key: theirs[key] for key in theirs if key.startswith("levels")})
    with pytest.raises(InputError, match="expected 120 levels"):
        AudioStore(quiet).audible_blocks()


def test_levels_of_a_store_at_a_url(quiet, tmp_path):
    store = AudioStore(f"file://{quiet}", cache=tmp_path / "cache")
    assert store.audible_blocks().is_silent.tolist() == [False, False, True]
