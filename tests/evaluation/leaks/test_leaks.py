"""Near-duplicates, same files and shared groups are found, and different pieces are not."""

from __future__ import annotations

import shutil
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from audio_files import write_audio, write_noise
from melodies import MELODY_RATE, melody, write_versions

from ssc_toolkit.audio import read_audio, resample
from ssc_toolkit.commands.leaks import print_leaks
from ssc_toolkit.data import AudioStore, TrackTable, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.leaks import (
    MIN_SIMILARITY,
    Fingerprints,
    Leaks,
    TrackRecord,
    find_leaks,
    find_matches,
    fingerprint,
    join_records,
    load_record,
    record_tracks,
    save_record,
)
from ssc_toolkit.evaluation.leaks import matching as matching_module
from ssc_toolkit.evaluation.leaks import record as record_module
from ssc_toolkit.reports.leak_section import leak_section

VERSIONS = ("mp3", "gain", "trimmed", "end", "resampled", "stereo", "inverted", "padded", "all")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """A record of twelve melodies of one instrument, and the folder of their files."""
    folder = tmp_path_factory.mktemp("originals")
    for number in range(12):
        write_audio(folder / f"{number:02d}.wav", melody(number), MELODY_RATE)
    return folder, record_tracks(folder, progress=False)


@pytest.fixture(scope="module")
def versions(tmp_path_factory):
    """Files of near-duplicates of melody 3, by name."""
    return write_versions(tmp_path_factory.mktemp("versions"), melody(3))


def record_of(paths, **columns) -> TrackRecord:
    table = pd.DataFrame({"path": [str(path) for path in paths], **columns})
    return record_tracks(TrackTable(table), progress=False)


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_of_a_recording_are_near_duplicates(originals, versions, version):
    _, record = originals
    matches = find_matches(record_of([versions[version]]).fingerprints, record.fingerprints)
    assert matches.items.tolist() == [3]
    assert matches.similarities[0] >= MIN_SIMILARITY


def test_different_pieces_of_one_instrument_are_not(originals):
    _, record = originals
    rows = np.arange(len(record))
    matches = find_matches(record.fingerprints, record.fingerprints, rows, rows)
    assert matches.queries.tolist() == []


def test_an_excerpt_of_a_long_recording_is_found(tmp_path):
    long = np.concatenate([melody(seed) for seed in range(20)])
    write_audio(tmp_path / "long.wav", long, MELODY_RATE)
    write_audio(tmp_path / "excerpt.flac", long[60 * MELODY_RATE + 999 : 85 * MELODY_RATE], MELODY_RATE)
    write_audio(tmp_path / "other.wav", np.concatenate([melody(seed) for seed in range(30, 33)]), MELODY_RATE)
    record = record_of(sorted(tmp_path.iterdir()))
    rows = np.arange(3)
    matches = find_matches(record.fingerprints, record.fingerprints, rows, rows)
    assert dict(zip(matches.queries.tolist(), matches.items.tolist(), strict=True)) == {0: 1, 1: 0}


def test_short_excerpts_of_long_tracks_are_found(tmp_path):
    takes = [melody(seed, 600.0) for seed in range(2)]
    takes[0][200 * MELODY_RATE : 260 * MELODY_RATE] *= 0.02  # a quiet passage
    whole = Fingerprints.joined([fingerprint(resample(take, MELODY_RATE, 8000)) for take in takes])

    def excerpt(begin: float) -> np.ndarray:
        return takes[0][round(begin * MELODY_RATE) : round((begin + 10) * MELODY_RATE)]

    paths = [
        write_audio(tmp_path / "0.wav", excerpt(3.01), MELODY_RATE),
        write_audio(tmp_path / "1.mp3", excerpt(415.37), MELODY_RATE),
        write_audio(tmp_path / "2.flac", resample(0.5 * excerpt(589.9), MELODY_RATE, 44100), 44100),
        write_audio(tmp_path / "3.wav", excerpt(233.3), MELODY_RATE),
        *(write_audio(tmp_path / f"{seed}.wav", melody(seed, 10.0), MELODY_RATE) for seed in (100, 101, 102)),
    ]
    matches = find_matches(record_of(paths).fingerprints, whole)
    assert dict(zip(matches.queries.tolist(), matches.items.tolist(), strict=True)) == dict.fromkeys(range(4), 0)
    assert len(find_matches(whole, whole, np.arange(2), np.arange(2)).queries) == 0


def test_short_pieces_with_the_notes_of_a_long_track_are_not_found():
    whole = fingerprint(resample(melody(0, 600.0), MELODY_RATE, 8000))
    others = [fingerprint(resample(melody(seed, 4.0), MELODY_RATE, 8000)) for seed in range(100, 120)]
    assert len(find_matches(Fingerprints.joined(others), whole).queries) <= 1  # without the comparison of distances 19
    own = [resample(melody(0, 600.0)[begin : begin + 4 * MELODY_RATE], MELODY_RATE, 8000) for begin in (99, 4000001)]
    assert len(find_matches(Fingerprints.joined([fingerprint(part) for part in own]), whole).queries) == 2


def test_landmarks_follow_the_duration():
    noise = np.random.default_rng(0).normal(size=60 * 8000).astype(np.float32)
    counts = [fingerprint(noise[: seconds * 8000]).counts.tolist() for seconds in (10, 30, 60)]
    assert counts == [[256], [480], [960]]


def test_frequent_landmarks_are_not_in_the_similarity(monkeypatch):
    def track(own: np.ndarray) -> Fingerprints:
        landmarks = np.r_[np.arange(100), own].astype(np.uint32)  # 100 of them in all tracks
        frames = np.random.default_rng(own[0]).integers(200, size=len(landmarks)).astype(np.uint16)
        return Fingerprints(landmarks, frames, np.array([len(landmarks)]), np.array([2**32 - 1], dtype=np.uint32))

    items = Fingerprints.joined([track(1000 * (number + 1) + np.arange(20)) for number in range(30)])
    monkeypatch.setattr(matching_module, "_MAX_OCCURRENCES", 10)
    matches = find_matches(items.select(np.array([7])), items)
    assert (matches.items.tolist(), matches.similarities.tolist()) == ([7], [1.0])


def test_fingerprints_of_earlier_versions_are_not_used(tmp_path, monkeypatch):
    path = write_noise(tmp_path / "a.wav", 30.0)
    table = TrackTable(pd.DataFrame({"path": [str(path)]}))
    monkeypatch.setattr(record_module, "RULE", "landmarks 1")
    monkeypatch.setattr("ssc_toolkit.evaluation.leaks.fingerprints.LANDMARKS_PER_SECOND", 0)
    old = record_tracks(table, tmp_path / "cache", progress=False)
    save_record(old, tmp_path / "old.npz")
    monkeypatch.undo()
    saved = load_record(tmp_path / "old.npz")
    assert saved is not None
    assert saved.fingerprints.counts.tolist() == [0]
    new = record_tracks(table, tmp_path / "cache", progress=False)
    assert (old.fingerprints.counts.tolist(), new.fingerprints.counts.tolist()) == ([256], [480])


def test_noise_and_silence_have_no_near_duplicates(tmp_path):
    for seed in range(4):
        write_noise(tmp_path / f"{seed}.wav", 3.0, seed=seed)
    write_audio(tmp_path / "silent.wav", np.zeros(16000))
    record, rows = record_tracks(tmp_path, progress=False), np.arange(5)
    assert len(find_matches(record.fingerprints, record.fingerprints, rows, rows).queries) == 0


def test_a_file_under_two_names_is_the_same_file(originals, tmp_path):
    folder, record = originals
    shutil.copy(folder / "05.wav", tmp_path / "renamed.wav")
    write_audio(tmp_path / "click.wav", np.r_[0.5, np.zeros(799)], MELODY_RATE)  # too short for landmarks
    shutil.copy(tmp_path / "click.wav", tmp_path / "clack.wav")
    tested = record_of([tmp_path / "renamed.wav", tmp_path / "click.wav"])
    leaks = find_leaks(tested, {"originals": record, "clicks": record_of([tmp_path / "clack.wav"])})
    found = [(leak.source, leak.kind, leak.tracks, leak.pairs) for leak in leaks.found]
    assert found == [
        ("originals", "same file", 1, (("renamed.wav", "05.wav", 1.0),)),
        ("clicks", "same file", 1, (("click.wav", "clack.wav", 1.0),)),
    ]


def test_what_is_too_long_to_search_is_said(originals, tmp_path, monkeypatch):
    folder, record = originals
    table = TrackTable(pd.DataFrame({"path": [str(folder / "00.wav")], "seconds": [6.0], "artist": ["Ann"]}))
    monkeypatch.setattr(record_module, "MAX_HOURS", 1 / 3600)
    long = record_tracks(table, tmp_path / "cache", progress=False)
    save_record(long, tmp_path / "long.npz")
    monkeypatch.undo()
    whole = record_tracks(table, tmp_path / "cache", progress=False)  # nothing empty was cached
    assert whole.fingerprints.counts.tolist() != [0]
    for tested, other in ((whole, load_record(tmp_path / "long.npz")), (long, record)):
        leaks = find_leaks(tested, {"other": other})
        assert leaks.unsearched == ("other",)
        assert "none found" not in leaks.describe()
        assert "only groups were compared with the other" in leaks.describe()


def test_groups_of_many_tracks_take_no_quadratic_time():
    count = 200_000
    nothing = Fingerprints.of_nothing(count)
    names, empty = np.arange(count).astype(str), np.full(count, "")
    own = TrackRecord(names, empty, nothing, {"artist": np.full(count, "Ann")}, paths=np.full(count, "same group"))
    assert find_leaks(own, {"other groups": own}, ranked=["other groups"]).found == ()


def test_worst_pairs_come_first_with_counts(originals, versions):
    _, record = originals
    tested = record_of([versions["trimmed"], versions["gain"], versions["mp3"]])
    (leak,) = find_leaks(tested, {"training set": record}).found
    assert (leak.tracks, leak.tested) == (3, 3)
    similarities = [pair[2] for pair in leak.pairs]
    assert similarities == sorted(similarities, reverse=True)
    assert leak.pairs[0][:2] == ("quiet.wav", "03.wav")
    assert "3 of 3 are near-duplicates of tracks in the training set (quiet.wav and 03.wav" in leak.describe()


def test_shared_groups_are_counted_by_column(tmp_path):
    paths = [write_noise(tmp_path / f"{number}.wav", 1.0, seed=number) for number in range(4)]
    train = record_of(paths[:2], Artist=["Ann", "Bob"], album=["x", None], group=[1, 2])
    tested = record_of(paths[2:], Artist=["Ann", None], album=["y", None], group=[1, 1])
    found = {leak.kind: (leak.tracks, leak.pairs) for leak in find_leaks(tested, {"train": train}).found}
    assert found == {"same artist": (1, (("Ann", "0.wav", 1.0),)), "same group": (2, (("1", "0.wav", 2.0),))}


def test_numbered_groups_of_a_saved_record_need_a_dataset(tmp_path):
    paths = [write_noise(tmp_path / f"{number}.wav", 1.0, seed=number) for number in range(3)]
    tested = record_of(paths[:1], group=[7], artist=["Ann"])
    save_record(record_of(paths[1:], group=[7, 8], artist=["Ann", "Bob"]), tmp_path / "r.npz")
    saved = load_record(tmp_path / "r.npz")
    assert [leak.kind for leak in find_leaks(tested, {"pretraining": saved}).found] == ["same artist"]


def test_a_saved_record_finds_the_same_leaks(originals, versions, tmp_path):
    folder, record = originals
    joined = join_records([record, record_of([folder / "00.wav"], artist=["Ann"])])
    save_record(joined, tmp_path / "record.npz")
    saved = load_record(tmp_path / "record.npz")
    assert saved is not None
    tested = record_of([versions["mp3"], folder / "00.wav"], artist=["Bob", "Ann"])
    assert find_leaks(tested, {"a": saved}) == find_leaks(tested, {"a": joined})
    assert [leak.kind for leak in find_leaks(tested, {"a": saved}).found] == [
        "same file", "near-duplicate", "same artist",
    ]  # fmt: skip


def test_a_damaged_record_is_an_error_that_names_it(originals, tmp_path):
    _, record = originals
    path = tmp_path / "record.npz"
    assert load_record(path) is None
    save_record(record, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"encoder: .*record\.npz.*delete it"):
        load_record(path)


def test_tracks_of_a_store_match_their_files(originals, versions, tmp_path):
    folder, record = originals
    store = AudioStore.prepare(load_tracks(folder), tmp_path / "store", 22050, progress=False)
    stored = record_tracks(store.tracks, progress=False)
    assert [leak.kind for leak in find_leaks(stored, {"files": record}).found] == ["same file"]
    matches = find_matches(record_of([versions["mp3"]]).fingerprints, stored.fingerprints)
    assert matches.items.tolist() == [3]


def test_fingerprints_are_read_from_the_cache(originals, tmp_path, monkeypatch):
    folder, record = originals
    record_tracks(folder, tmp_path, progress=False)

    def fail(*_, **__):
        raise AssertionError("audio was read")

    monkeypatch.setattr("ssc_toolkit.evaluation.leaks.record.read_audio", fail)
    again = record_tracks(folder, tmp_path, progress=False)
    np.testing.assert_array_equal(again.fingerprints.landmarks, record.fingerprints.landmarks)


def test_unreadable_files_have_no_fingerprint(originals, tmp_path):
    folder, _ = originals
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    record = record_of([folder / "00.wav", tmp_path / "broken.wav", tmp_path / "missing.wav"])
    assert record.fingerprints.counts.tolist()[1:] == [0, 0]
    assert record.hashes[2] == ""


def random_prints(tracks: int, seed: int) -> Fingerprints:
    """Fingerprints of random landmarks, a tenth of which are frequent."""
    random = np.random.default_rng(seed)
    parts = []
    for _ in range(tracks):
        own = np.unique(np.r_[random.integers(2**32, size=100), random.integers(5000, size=10)].astype(np.uint32))
        frames = random.integers(200, size=len(own)).astype(np.uint16)
        parts.append(Fingerprints(own, frames, np.array([len(own)]), np.array([2**32 - 1], dtype=np.uint32)))
    return Fingerprints.joined(parts)


def test_matches_do_not_depend_on_the_blocks(monkeypatch):
    queries, items = random_prints(40, 0), random_prints(300, 1)
    items = Fingerprints.joined([items, queries])
    whole = find_matches(queries, items)
    assert whole.items.tolist() == list(range(300, 340))
    for name, size in (("_BLOCK", 50), ("_LOOKED_UP", 700), ("_INDEXED", 5000)):
        monkeypatch.setattr(matching_module, name, size)
    in_blocks = find_matches(queries, items)
    np.testing.assert_array_equal(in_blocks.items, whole.items)
    np.testing.assert_array_equal(in_blocks.similarities, whole.similarities)


def test_memory_grows_with_the_tracks_and_not_their_pairs():
    peaks = []
    for tracks in (1000, 4000):
        prints = random_prints(tracks, 0)
        rows = np.arange(tracks)
        tracemalloc.start()
        matches = find_matches(prints, prints, rows, rows)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(matches.queries) == 0
    assert peaks[1] < 5 * peaks[0]


@pytest.mark.slow
def test_rendered_clips_of_one_corpus_are_told_apart(small_corpus):
    table = load_tracks(small_corpus / "tracks.csv")
    record, rows = record_tracks(table, progress=False), np.arange(len(table))
    groups = table["group"].to_numpy()
    matches = find_matches(record.fingerprints, record.fingerprints, groups, groups)
    assert len(matches.queries) == 0  # many pairs have the same instrument
    samples = [read_audio(path, MELODY_RATE) for path in table["path"][:20]]
    for change in (lambda own: own[MELODY_RATE:], lambda own: own[5921:], lambda own: 0.1 * own[: 4 * MELODY_RATE]):
        changed = [fingerprint(resample(change(own), MELODY_RATE, 8000)) for own in samples]
        found = find_matches(Fingerprints.joined(changed), record.fingerprints)
        assert np.isin(rows[:20], found.queries).all()
        assert (groups[found.items] == groups[found.queries]).all()


def same_files(count: int) -> Leaks:
    """Leaks of so many tracks whose files are also in the training set, and of one artist."""
    names, hashes = np.array([f"{row}.wav" for row in range(count)]), np.arange(count).astype(str)
    artists = {"artist": np.array(["Ann", *[""] * (count - 1)])}
    record = TrackRecord(names, hashes, Fingerprints.of_nothing(count), artists)
    return find_leaks(record, {"training set": record.select(np.arange(count)[::-1])})


def test_all_pairs_are_in_the_result_and_few_on_the_page(capsys):
    leaks = same_files(18)
    files, artist = leaks.to_config()["found"]
    assert [pair[0] for pair in files["pairs"]] == [f"{row}.wav" for row in range(18)]
    assert (files["omitted_pairs"], artist["omitted_pairs"]) == (0, 0)
    section = leak_section(leaks)
    assert [row[1] for row in section.rows] == ["same file"] * 3 + ["same artist"]
    assert section.rows[-1][-1] == "1 track in the group"
    assert "same file, training set: 3 of 18 shown; all are in report.json." in section.text
    print_leaks(leaks, has_report=True)
    printed = capsys.readouterr().out
    assert "0.wav is 0.wav; 1.wav is 1.wav; 2.wav is 2.wav (3 of 18 shown; all are in report.json)" in printed
    assert "18 of 18 are also in the training set (0.wav is 0.wav); 1 of 18 have the same artist" in printed
    assert "(Ann, 1 track)" in printed
    print_leaks(leaks, has_report=False)
    assert "all are in report.json, which --out writes" in capsys.readouterr().out


def test_pairs_are_bounded_and_the_rest_is_counted():
    files = same_files(10_002).found[0]
    assert (files.tracks, len(files.pairs), files.omitted_pairs) == (10_002, 10_000, 2)
    assert files.describe_shown() == "3 of 10002 shown; the first 10000 are in report.json"
    assert same_files(3).found[0].describe_shown() == ""
