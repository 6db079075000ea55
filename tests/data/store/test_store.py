"""What a store holds, and what it refuses."""

import functools
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from audio_files import RATE, write_noise
from hypothesis import given, settings
from hypothesis import strategies as st

from ssc_toolkit.data import (
    AudioStore,
    ContrastiveDataset,
    TrackTable,
    encode_labels,
    load_tracks,
    prepare_store,
    read_audio,
)
from ssc_toolkit.errors import InputError


def test_a_store_has_the_samples_of_its_files(store):
    assert len(store) == 10
    for row, path in enumerate(store.tracks["path"]):
        expected = read_audio(path, RATE)
        assert len(store[row]) == len(expected) == store.lengths[row]
        assert np.abs(store[row].numpy() - expected).max() <= 0.5 / 32768 + 1e-6
        assert store.tracks["seconds"][row] == pytest.approx(len(expected) / RATE)


def test_sixteen_bits_come_back_unchanged(tmp_path):
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    store = AudioStore.prepare(load_tracks(tmp_path), tmp_path / "store", RATE, progress=False)
    assert torch.equal(store[0] * 32768, torch.tensor(samples, dtype=torch.float32))


def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path, caplog):
    samples = np.full(4000, 0.5)
    samples[:7], samples[7:10] = 1.5, -1.5
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with caplog.at_level(logging.INFO):
        store = AudioStore.prepare(load_tracks(tmp_path), tmp_path / "store", RATE, progress=False)
    assert store.tracks["clipped"].tolist() == [10]
    assert "10 samples of 1 tracks were clipped" in caplog.text
    assert store[0][:7].tolist() == [32767 / 32768] * 7
    assert store[0][7:10].tolist() == [-1.0] * 3


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_segments_are_spans_of_tracks_and_zeros_beyond(tmp_path_factory, data):
    store = shared_store(tmp_path_factory.getbasetemp() / "shared")
    count = data.draw(st.integers(0, 6))
    length = data.draw(st.integers(1, 3 * RATE))
    rows = data.draw(st.lists(st.integers(0, len(store) - 1), min_size=count, max_size=count))
    starts = data.draw(st.lists(st.integers(0, 4 * RATE), min_size=count, max_size=count))
    segments = store.read(rows, starts, length)
    assert segments.shape == (count, length)
    for segment, row, start in zip(segments, rows, starts, strict=True):
        own = store[row][start : start + length]
        assert torch.equal(segment[: len(own)], own)
        assert (segment[len(own) :] == 0).all()


@functools.cache
def shared_store(folder: Path) -> AudioStore:
    for number in range(3):
        write_noise(folder / "music" / f"{number}.wav", 1.0 + number / 2, seed=number)
    return AudioStore.prepare(load_tracks(folder / "music"), folder / "store", RATE, progress=False)


def test_unreadable_files_are_errors(store):
    for rows, starts, length, kind in (
        ([99], [0], 10, IndexError),
        ([-1], [0], 10, IndexError),
        ([0], [-1], 10, ValueError),
        ([0], [0], 0, ValueError),
        ([0], [0], 2.5, ValueError),
        ([True], [0], 10, ValueError),
        ([0], [2**63], 10, ValueError),
    ):
        with pytest.raises(kind, match="expected"):
            store.read(rows, starts, length)
    with pytest.raises(ValueError, match="row: expected integers, got bool"):
        store[True]


def test_label_columns_are_kept_unchanged(music, tmp_path):
    frame = load_tracks(music).frame.assign(
        id=[f"00{row}" for row in range(10)],
        tags=["a|b", "|", None, *["b"] * 7],
        tempo=[99.5, *[None] * 9],
        name=["None", "NA", *["nan"] * 8],
    )
    dataset = {"name": "mine", "labels": {"tags": {"kind": "multi-hot", "names": ["b", "a", "c"]}}}
    tracks = TrackTable(frame, dataset=dataset)
    AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False)
    found = AudioStore(tmp_path / "store").tracks
    assert found["id"].tolist() == tracks["id"].tolist()
    assert found["name"].tolist() == tracks["name"].tolist()
    assert found["tempo"].tolist()[0] == 99.5
    assert found["tempo"].isna().sum() == 9
    labels = encode_labels(found, "tags")
    assert labels.names == ("b", "a", "c")
    assert labels.labeled.tolist() == [True, True, False, *[True] * 7]
    assert labels.values[:2].tolist() == [[1, 1, 0], [0, 0, 0]]


def test_a_store_of_another_rate_or_version_is_refused(store, music, tmp_path):
    folder = tmp_path / "store"
    with pytest.raises(InputError, match=r"expected 16000 Hz, got .* at 8000 Hz"):
        AudioStore(folder, sample_rate=16000)
    with pytest.raises(InputError, match=r"expected a store at 16000 Hz, got .* at 8000 Hz"):
        prepare_store(load_tracks(music), folder, 16000)
    with pytest.raises(InputError, match="expected 22050 Hz, got"):
        ContrastiveDataset(store.tracks, sample_rate=22050, view_seconds=0.5)
    write_noise(tmp_path / "other" / "x.wav")
    with pytest.raises(InputError, match=r"of other tracks.*such as .*x\.wav\. Tracks are compared by their paths"):
        prepare_store(load_tracks(tmp_path / "other"), folder, RATE, progress=False)
    with pytest.raises(InputError, match="expected a store or an empty folder"):
        prepare_store(load_tracks(music), tmp_path / "other", RATE)
    with pytest.raises(InputError, match="there is no store"):
        AudioStore(tmp_path / "nowhere")
    info = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(info | {"format": 99}))
    with pytest.raises(InputError, match="expected a format up to 2, got 99"):
        AudioStore(folder)
    (folder / "store.json").write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        AudioStore(folder)


def test_a_relative_store_path_survives_a_change_of_folder(store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = ContrastiveDataset(load_tracks("store"), RATE, 0.5)
    opened = AudioStore("store")
    monkeypatch.chdir("/")
    assert torch.equal(opened[0], store[0])
    assert dataset[0]["waveforms"].abs().max() > 0
    assert ContrastiveDataset(dataset.store.tracks, RATE, 0.5)[0]["waveforms"].abs().max() > 0
