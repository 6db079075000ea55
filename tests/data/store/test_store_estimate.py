"""Estimates before a store is made: they count what is missing, and stop where the disk is too small."""

from __future__ import annotations

from collections import namedtuple

import pytest
from audio_files import RATE, write_noise

from ssc_toolkit.cli import main
from ssc_toolkit.data import load_tracks, prepare_store
from ssc_toolkit.data.store.estimate import estimate_store
from ssc_toolkit.errors import InputError
from ssc_toolkit.preflight import Estimate, check_disk, check_memory, find_memory

Usage = namedtuple("Usage", "total used free")


def stored_bytes(folder):
    return sum(file.stat().st_size for file in folder.glob("shards/*.pcm"))


def test_the_bytes_of_a_store_are_estimated(music, tmp_path):
    tracks = load_tracks(music)
    estimate = estimate_store(tracks, tmp_path / "store", RATE)
    assert not (tmp_path / "store").exists()
    prepare_store(tracks, tmp_path / "store", RATE, progress=False)
    assert estimate.contents["audio"] == pytest.approx(stored_bytes(tmp_path / "store"), rel=0.05)
    assert "10 tracks, 21 s of audio to decode" in estimate.work
    assert estimate.seconds > 0
    assert estimate.memory_bytes > 10 * 2**20


def test_stored_tracks_count_as_decoded(music, tmp_path):
    prepare_store(load_tracks(music), tmp_path / "store", RATE, progress=False)
    assert "0 tracks" in estimate_store(load_tracks(music), tmp_path / "store", RATE).work
    write_noise(music / "new.wav", 100.0)
    write_noise(music / "3.mp3", 20.0)  # changed
    estimate = estimate_store(load_tracks(music), tmp_path / "store", RATE)
    assert "2 tracks, 2 min of audio to decode, 9 tracks are stored or missing" in estimate.work
    assert estimate.contents["audio"] == pytest.approx(120 * RATE * 2, rel=0.05)


def test_durations_of_many_files_follow_from_their_sizes(tmp_path, monkeypatch):
    monkeypatch.setattr("ssc_toolkit.data.store.estimate._MEASURED_FILES", 8)
    seconds = 0.0
    for number in range(30):
        seconds += 1 + number % 3 + 4
        write_noise(tmp_path / "music" / f"{number}.wav", 1 + number % 3, seed=number)
        write_noise(tmp_path / "music" / f"{number}.flac", 4.0, seed=number)
    estimate = estimate_store(load_tracks(tmp_path / "music"), tmp_path / "store", RATE)
    assert estimate.contents["audio"] == pytest.approx(seconds * RATE * 2, rel=0.05)


def test_files_that_cannot_be_read_do_not_stop_the_estimate(music, tmp_path):
    (music / "0.wav").write_bytes(b"broken")
    tracks = load_tracks(music)
    (music / "4.wav").unlink()
    assert "9 tracks" in estimate_store(tracks, tmp_path / "store", RATE).work


def test_a_dry_run_of_prepare_writes_nothing(music, tmp_path, capsys):
    out = tmp_path / "a" / "store"
    assert main(["prepare", f"--tracks={music}", f"--out={out}", f"--sample_rate={RATE}", "--dry_run"]) == 0
    assert not out.parent.exists()
    assert "estimate: 10 tracks, 21 s of audio to decode; about" in capsys.readouterr().out
    for other in ("--verify", "--describe"):
        assert main(["prepare", f"--tracks={music}", f"--out={out}", "--dry_run", other]) == 2


def test_a_full_disk_is_an_error_before_decoding(music, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ssc_toolkit.preflight.shutil.disk_usage", lambda _: Usage(10**9, 10**9, 100_000))
    out = tmp_path / "store"
    assert main(["prepare", f"--tracks={music}", f"--out={out}", f"--sample_rate={RATE}"]) == 2
    assert "error: out: expected 0.3 MB of free space in" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_bytes_of_folders_on_one_disk_are_added(tmp_path, monkeypatch):
    monkeypatch.setattr("ssc_toolkit.preflight.shutil.disk_usage", lambda _: Usage(10**9, 0, 100 * 2**20))
    check_disk({tmp_path / "a": 60 * 2**20}, "out")
    with pytest.raises(InputError, match=r"out: expected 120 MB of free space in .*b, got 100 MB"):
        check_disk({tmp_path / "a": 60 * 2**20, tmp_path / "b": 60 * 2**20}, "out")


def test_more_memory_than_there_is_is_an_error(caplog, monkeypatch, tmp_path):
    total, free = find_memory()
    assert total is not None
    assert free is not None
    assert 0 < free <= total * 1.1
    with pytest.raises(InputError, match="memory: expected"):
        Estimate("", 1.0, total + 1, {tmp_path: 0}).report()
    monkeypatch.setattr("ssc_toolkit.preflight.find_memory", lambda: (2**40, 2**30))
    check_memory(2**29)
    assert not caplog.text
    check_memory(2**31)
    assert "about 2.0 GB of memory are needed, but 1.0 GB are free" in caplog.text
    with pytest.raises(InputError, match=r"memory: expected 2.0 GB of GPU memory, got 1.0 GB; use a smaller batch"):
        check_memory(2**31, "use a smaller batch", gpu_bytes=2**30)
