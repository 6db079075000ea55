"""Tracks without fingerprints are counted, named, tried again, and not claimed as searched."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from audio_files import write_audio
from melodies import MELODY_RATE, melody

from ssc_toolkit.audio import UnreadableAudio
from ssc_toolkit.data import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.leaks import find_leaks, join_records, load_record, record_tracks, save_record
from ssc_toolkit.evaluation.leaks import record as record_module

READ = "ssc_toolkit.evaluation.leaks.record.read_audio"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("music")
    for number in range(3):
        write_audio(folder / f"{number}.wav", melody(number, 4.0), MELODY_RATE)
    return folder


def fail_once(monkeypatch, name: str, error: Exception) -> list[str]:
    """Let the next read of a file fail. Return the list of the files that are read from now on."""
    read, paths = record_module.read_audio, []

    def fail(path, *arguments):
        paths.append(str(path).rsplit("/", 1)[1])
        if str(path).endswith(name) and paths.count(name) == 1:
            raise error
        return read(path, *arguments)

    monkeypatch.setattr(READ, fail)
    return paths


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), InputError("a"), UnreadableAudio("a")])
def test_a_passing_read_error_is_not_cached(folder, tmp_path, monkeypatch, error):
    paths = fail_once(monkeypatch, "1.wav", error)
    first = record_tracks(folder, tmp_path, progress=False)
    assert (first.fingerprints.counts > 0).tolist() == [True, False, True]
    assert first.reasons.tolist() == ["", "undecoded", ""]
    paths[:] = ["1.wav"]
    second = record_tracks(folder, tmp_path, progress=False)
    assert paths == ["1.wav", "1.wav"]  # the others are in the cache
    whole = record_tracks(folder, progress=False)
    for part in ("landmarks", "frames", "counts", "limits"):
        np.testing.assert_array_equal(getattr(second.fingerprints, part), getattr(whole.fingerprints, part))
    assert second.is_complete
    paths.clear()
    assert record_tracks(folder, tmp_path, progress=False).is_complete
    assert paths == []


def test_undecoded_tracks_are_counted_and_named(folder, tmp_path, monkeypatch):
    tested = record_tracks(folder, progress=False).select(np.array([2]))
    fail_once(monkeypatch, "1.wav", OSError("later"))
    record = record_tracks(folder, progress=False).select(np.array([0, 1]))
    save_record(join_records([record, record.select(np.array([0]))]), tmp_path / "r.npz")
    leaks = find_leaks(tested, {"pretraining music": load_record(tmp_path / "r.npz")})
    text = "1 of 3 tracks in the pretraining music could not be decoded and were not compared by sound (1.wav)"
    assert text in leaks.describe()
    (group,) = leaks.to_config()["uncompared"]
    assert group == {
        "source": "pretraining music", "reason": "undecoded", "tracks": 1, "total": 3, "names": ["1.wav"],
    }  # fmt: skip


def test_undecoded_test_tracks_are_counted_once(folder, monkeypatch):
    fail_once(monkeypatch, "1.wav", OSError("later"))
    record = record_tracks(folder, progress=False)
    leaks = find_leaks(record, {"ranked tracks": record}, ranked=["ranked tracks"], name="queries")
    assert leaks.describe().count("could not be decoded") == 1
    assert "1 of 3 queries could not be decoded" in leaks.describe()


def test_a_set_without_decoded_tracks_is_not_clean(folder, tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    broken, good = record_tracks(tmp_path, progress=False), record_tracks(folder, progress=False)
    for tested, other in ((broken, good), (good, broken)):
        described = find_leaks(tested, {"training set": other}).describe()
        assert "could not be decoded" in described
        assert "none found" not in described


def test_the_length_that_is_read_is_in_the_key_of_the_cache(folder, tmp_path):
    def counts(seconds: float, cache=tmp_path) -> list[int]:
        table = TrackTable(pd.DataFrame({"path": [str(folder / "0.wav")], "seconds": [seconds]}))
        return record_tracks(table, cache, progress=False).fingerprints.counts.tolist()

    assert counts(0.5) == counts(0.5, None)
    assert counts(4.0) == counts(4.0, None) != counts(0.5)


@pytest.fixture
def earlier(folder, tmp_path, monkeypatch):
    """Path of a record of the tracks 0 and 1, with the artist Ann, of an earlier version of fingerprints."""
    table = TrackTable(pd.DataFrame({"path": [str(folder / f"{number}.wav") for number in (0, 1)], "artist": "Ann"}))
    monkeypatch.setattr(record_module, "RULE", "landmarks 1")
    save_record(record_tracks(table, progress=False), tmp_path / "training_tracks.npz")
    monkeypatch.undo()
    return tmp_path / "training_tracks.npz"


def test_an_earlier_record_still_finds_files_and_artists(folder, earlier, tmp_path):
    shutil.copy(folder / "0.wav", tmp_path / "copy.wav")
    write_audio(tmp_path / "near.wav", 0.3 * melody(1, 4.0), MELODY_RATE)
    paths = [str(tmp_path / "copy.wav"), str(tmp_path / "near.wav")]
    tested = record_tracks(TrackTable(pd.DataFrame({"path": paths, "artist": ["Bob", "Ann"]})), progress=False)
    leaks = find_leaks(tested, {"pretraining music": load_record(earlier)})
    assert [(leak.kind, leak.tracks) for leak in leaks.found] == [("same file", 1), ("same artist", 1)]
    assert leaks.unknown == ()
    assert (
        "near-duplicates of 2 of 2 tracks in the pretraining music were not searched for, because their fingerprints "
        "are of an earlier version (make the run longer"
    ) in leaks.describe()


def test_an_earlier_record_without_finds_is_not_clean(folder, earlier):
    tested = record_tracks(folder, progress=False).select(np.array([2]))
    described = find_leaks(tested, {"pretraining music": load_record(earlier)}).describe()
    assert "none found" not in described
    assert "no same files or shared groups found in the pretraining music" in described
    assert "earlier version" in described


def test_earlier_tracks_stay_earlier_in_a_joined_record(folder, earlier, tmp_path):
    record = load_record(earlier)
    assert record is not None
    save_record(join_records([record_tracks(folder, progress=False), record]), tmp_path / "joined.npz")
    joined = load_record(tmp_path / "joined.npz")
    assert joined is not None
    assert joined.reasons.tolist() == ["", "", "", "earlier version", "earlier version"]
    assert not joined.is_complete
