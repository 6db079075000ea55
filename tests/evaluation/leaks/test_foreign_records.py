"""Records of other people are checked before they are used."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ssc_toolkit.caches import read_entry
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.files import read_metadata
from ssc_toolkit.evaluation.leaks import Fingerprints, TrackRecord, fingerprint, load_record, save_record
from ssc_toolkit.evaluation.leaks import record as record_module
from ssc_toolkit.files import append_checksum
from ssc_toolkit.npz_files import read_arrays

HUGE = 2**63 - 1


def valid() -> dict[str, np.ndarray]:
    """Content of a record of three tracks."""
    landmarks = np.array([3, 5, 5, 1, 9], dtype=np.uint32)
    return {
        "rule": np.array(record_module.RULE),
        "names": np.array(["a", "b", "c"]),
        "hashes": np.array(["1", "2", "3"]),
        "landmarks": landmarks,
        "frames": np.arange(5, dtype=np.uint16),
        "counts": np.array([3, 0, 2]),
        "limits": np.array([5, 0, 9], dtype=np.uint32),
        "dataset": np.array(""),
        "is_searchable": np.array(True),
    }


def written(path: Path, **changes: np.ndarray) -> Path:
    np.savez_compressed(path, **valid() | changes)
    append_checksum(path)
    return path


def test_a_valid_record_is_read(tmp_path):
    record = load_record(written(tmp_path / "r.npz"))
    assert record is not None
    assert record.fingerprints.rows.tolist() == [0, 0, 0, 2, 2]


NOTHING = {"landmarks": np.zeros(0, np.uint32), "frames": np.zeros(0, np.uint16)}
INVALID = {
    "sum that wraps to zero": {**NOTHING, "counts": np.array([HUGE, HUGE, 2])},
    "sum that wraps to five": {"counts": np.array([HUGE, HUGE, 7])},
    "negative count": {"counts": np.array([6, -1, 0])},
    "count above the landmarks": {"counts": np.array([6, 0, 0])},
    "too few landmarks": {"counts": np.array([3, 0, 1])},
    "counts that are no integers": {"counts": np.array([3.0, 0.0, 2.0])},
    "descending landmarks": {"landmarks": np.array([5, 3, 5, 1, 9], dtype=np.uint32)},
    "landmark above the limit": {"limits": np.array([4, 0, 9], dtype=np.uint32)},
    "limits of another number of tracks": {"limits": np.array([5, 9], dtype=np.uint32)},
    "negative limit": {"limits": np.array([5, -1, 9])},
    "names of another number of tracks": {"names": np.array(["a", "b"])},
    "names that are objects": {"names": np.array(["a", "b", None])},
    "more landmarks than ten minutes have": {
        "landmarks": np.zeros(10_000, np.uint32),
        "frames": np.zeros(10_000, np.uint16),
        "counts": np.array([10_000, 0, 0]),
    },
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_record_is_an_error(tmp_path, name):
    path = written(tmp_path / "r.npz", **INVALID[name])
    with pytest.raises(InputError, match=r"encoder: .*r\.npz is damaged"):
        load_record(path)


@pytest.mark.slow
def test_counts_whose_sum_wraps_crash_no_process(tmp_path):
    path = written(tmp_path / "r.npz", **INVALID["sum that wraps to zero"])
    code = (
        "import sys, pathlib; from ssc_toolkit.evaluation.leaks import find_matches, load_record\n"
        "prints = load_record(pathlib.Path(sys.argv[1])).fingerprints; find_matches(prints, prints)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is damaged" in done.stderr


def test_fingerprints_of_audio_pass_the_checks(tmp_path):
    noise = np.random.default_rng(0).normal(size=601 * 8000).astype(np.float32)  # more than is read
    prints = Fingerprints.joined([fingerprint(noise), Fingerprints.of_nothing(1), fingerprint(noise[:9000])])
    text = np.array(["a", "b", "c"])
    save_record(TrackRecord(text, text, prints), tmp_path / "r.npz")
    record = load_record(tmp_path / "r.npz")
    assert record is not None
    np.testing.assert_array_equal(record.fingerprints.landmarks, prints.landmarks)


def test_a_small_file_of_large_arrays_is_refused(tmp_path, monkeypatch):
    path = written(tmp_path / "r.npz", landmarks=np.zeros(3_000_000, np.uint32))
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(record_module, "MAX_RECORD_BYTES", 10_000_000)

    def fail(*_, **__):
        raise AssertionError("an array was decompressed")

    monkeypatch.setattr("numpy.lib.format.read_array", fail)
    with pytest.raises(InputError, match=r"is damaged \(its arrays have 1\d+ bytes, expected at most 10000000\)"):
        load_record(path)


def test_a_header_larger_than_its_array_is_refused(tmp_path):
    path = tmp_path / "r.npz"
    np.savez(path, **valid())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["counts.npy"] = members["counts.npy"].replace(b"(3,), }        ", b"(300000000,), }")
    assert b"300000000" in members["counts.npy"]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    append_checksum(path)
    with pytest.raises(InputError, match=r"counts\.npy has another size than its header"):
        load_record(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_expand_without_limit_are_refused(tmp_path, method):
    path = tmp_path / "r.npz"
    np.savez(path, **valid())
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    append_checksum(path)
    with pytest.raises(InputError, match="unknown compression"):
        load_record(path)


def test_a_compressed_cache_entry_is_no_bomb(tmp_path):
    entry = tmp_path / f"{'0' * 32}.npz"
    np.savez_compressed(entry, outputs=np.zeros(1_000_000), rows=np.zeros(1))
    append_checksum(entry)
    assert read_entry(entry, read_arrays) is None


def test_large_metadata_of_embeddings_is_refused(tmp_path):
    path = tmp_path / "e.npz"
    np.savez_compressed(path, embeddings=np.zeros((2, 3)), ssc_toolkit=np.array(" " * 1_000_000 + "{}"))
    append_checksum(path)
    with pytest.raises(InputError, match=r"e\.npz is damaged \(its arrays have"):
        read_metadata(path)


def test_elements_of_no_size_are_refused(tmp_path):
    path = written(tmp_path / "r.npz")
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = members["names.npy"][:128].replace(b"<U1", b"<U0")
    members["names.npy"] = header.replace(b"(3,), }         ", b"(4000000000,), }")
    assert len(members["names.npy"]) == 128
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    append_checksum(path)
    with pytest.raises(InputError, match=r"names\.npy has elements of no size"):
        load_record(path)
