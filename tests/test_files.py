"""Files: whole or absent, inside their folder, with checksums that notice every byte."""

import json
import multiprocessing
import os
import time

import numpy as np
import pandas as pd
import pytest
import torch
from folders import each_flip, flip

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import (
    DamagedFile,
    append_checksum,
    atomic_path,
    clear_leftovers,
    is_leftover,
    lock_file,
    lock_folder,
    path_inside,
    read_checked_json,
    reading,
    verify_checksum,
    verify_listed,
    write_checked_json,
    write_checksums,
    write_text,
)


def _write_torch(path):
    torch.save({"weights": torch.arange(300.0), "step": 3}, path)


def _write_npz(path):
    np.savez(path.open("wb"), rows=np.arange(300))


def _write_npy(path):
    np.save(path.open("wb"), np.arange(300))


def _write_parquet(path):
    pd.DataFrame({"row": np.arange(300), "name": ["a", "b", None] * 100}).to_parquet(path)


@pytest.mark.slow
@pytest.mark.parametrize("write", [_write_torch, _write_npz, _write_npy, _write_parquet])
def test_checksum_notices_a_flip_of_any_byte(tmp_path, write):
    path = tmp_path / "file"
    write(path)
    append_checksum(path)
    verify_checksum(path, "cache", "delete it")
    whole = path.read_bytes()
    for required in (True, False):
        for _ in each_flip(path, range(len(whole) - 70, len(whole)), bit=0x20):
            with pytest.raises(DamagedFile, match=r"cache: .*file is damaged"):
                verify_checksum(path, "cache", "delete it", required=required)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedFile):
            verify_checksum(path, "cache", "delete it", required=False)


def test_files_with_a_checksum_are_read_as_before(tmp_path):
    for write in (_write_torch, _write_npz, _write_npy, _write_parquet):
        path = tmp_path / write.__name__
        write(path)
        append_checksum(path)
    assert torch.load(tmp_path / "_write_torch", weights_only=True)["step"] == 3
    assert torch.load(tmp_path / "_write_torch", weights_only=True, mmap=True)["step"] == 3
    assert np.load(tmp_path / "_write_npz")["rows"][-1] == 299
    assert np.load(tmp_path / "_write_npy")[-1] == 299
    assert pd.read_parquet(tmp_path / "_write_parquet")["row"].tolist() == list(range(300))
    assert pd.read_parquet(tmp_path / "_write_parquet", filters=[("row", ">", 297)])["row"].tolist() == [298, 299]


def test_archive_without_checksum_passes_only_where_allowed(tmp_path):
    path = tmp_path / "old.ckpt"
    _write_torch(path)
    verify_checksum(path, "out", "delete it", required=False)
    with pytest.raises(DamagedFile, match="no checksum"):
        verify_checksum(path, "out", "delete it")


def test_checked_json_notices_a_flip_of_any_byte(tmp_path):
    path = tmp_path / "store.json"
    content = {"rate": 22050, "names": ["é", "b"], "empty": {}}
    write_checked_json(path, content)
    assert read_checked_json(path, "store", "prepare it") == content
    whole = path.read_bytes()
    for offset in range(len(whole)):
        path.write_bytes(whole)
        flip(path, offset)
        with pytest.raises(DamagedFile, match=r"store\.json"):
            read_checked_json(path, "store", "prepare it")


@pytest.mark.parametrize(
    "text", ["", "[]", "3", "{", '{"a": 1}', '{"checksum": 3}', "\ufeff{}", '{"a": NaN, "checksum": ""}']
)
def test_checked_json_refuses_foreign_content(tmp_path, text):
    path = tmp_path / "store.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"store: .*store\.json"):
        read_checked_json(path, "store", "prepare it")


@pytest.mark.parametrize(
    "error",
    [ValueError("bad\nlines"), KeyError("key"), RuntimeError(), MemoryError(), RecursionError("deep"), EOFError()],
)
def test_reading_names_the_file_in_one_line(error):
    with (
        pytest.raises(DamagedFile, match=r"^draws: a\.pt is damaged \(.*\); delete it$"),
        reading("draws", "a.pt", "delete it"),
    ):
        raise error


def test_reading_keeps_interruptions_and_input_errors():
    with pytest.raises(KeyboardInterrupt), reading("draws", "a.pt", "delete it"):
        raise KeyboardInterrupt
    with pytest.raises(InputError, match=r"^own$"), reading("draws", "a.pt", "delete it"):
        raise InputError("own")
    with pytest.raises(InputError, match="there is no file"), reading("draws", "a.pt", "delete it"):
        open("/no/such/file")  # noqa: PTH123, SIM115


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", "x\0", "a\nb", " x", "x ", "x" * 256, None, 3, ["x"]],
)
def test_only_plain_names_are_paths(tmp_path, name):
    with pytest.raises(InputError, match="index: expected a plain file name"):
        path_inside(tmp_path, name, "index")


def test_links_out_of_a_folder_are_refused(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    (folder / "in").symlink_to(folder / "shard")
    with pytest.raises(InputError, match="leads out of"):
        path_inside(folder, "out", "index")
    assert path_inside(folder, "in", "index") == folder / "in"


def test_names_of_every_language_are_plain(tmp_path):
    for name in ("index-0.npy", "5 % of the labels", "été", "a..b", ".hidden"):
        assert path_inside(tmp_path, name, "runs") == tmp_path / name


def test_leftovers_are_cleared_and_nothing_else(tmp_path):
    ours = [".store.json.1234.tmp", f".index.npy.{'a' * 16}.tmp", f".{'0' * 32}.tmp"]
    others = ["song.tmp", ".hidden", ".lock", "store.json", ".my.backup.tmp"]
    for name in ours + others:
        (tmp_path / name).touch()
    assert all(is_leftover(tmp_path / name) for name in ours)
    clear_leftovers(tmp_path, min_age_seconds=3600)
    assert all((tmp_path / name).exists() for name in ours)
    clear_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    clear_leftovers(tmp_path / "none")


def test_writing_again_clears_what_was_left_a_day_ago(tmp_path):
    old, new = tmp_path / f".a.csv.{'1' * 16}.tmp", tmp_path / f".a.csv.{'2' * 16}.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 90_000,) * 2)
    write_text(tmp_path / "a.csv", "x")
    assert not old.exists()
    assert new.exists()


def test_temporary_names_do_not_collide(tmp_path):
    with atomic_path(tmp_path / "a") as one, atomic_path(tmp_path / "a") as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


def _hold(folder, ready, done):
    with lock_folder(folder, "out"):
        ready.set()
        done.wait(30)


@pytest.mark.slow
def test_lock_keeps_another_process_out_and_touches_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        (tmp_path / ".notes.2024.tmp").touch()
        with pytest.raises(InputError, match="another process"), lock_folder(tmp_path, "out"):
            pass
    finally:
        done.set()
        process.join()
    with lock_folder(tmp_path, "out"):
        assert (tmp_path / ".notes.2024.tmp").exists()


def test_a_lock_of_a_file_leaves_the_rest_of_its_folder_free(tmp_path):
    with lock_file(tmp_path / "a.npz", "out"):
        with lock_file(tmp_path / "b.npz", "out"), lock_folder(tmp_path, "out"):
            pass
        with pytest.raises(InputError, match=r"out: .*writing .*a\.npz"), lock_file(tmp_path / "a.npz", "out"):
            pass
    with lock_file(tmp_path / "a.npz", "out"):
        pass


def test_leftovers_of_some_names_are_cleared_alone(tmp_path):
    for name in (".history.csv.12.tmp", ".history.csv.bak.12.tmp", ".notes.2024.tmp"):
        (tmp_path / name).touch()
    clear_leftovers(tmp_path, names=["history.csv"])
    assert (tmp_path / ".notes.2024.tmp").exists()
    assert (tmp_path / ".history.csv.bak.12.tmp").exists()
    assert not (tmp_path / ".history.csv.12.tmp").exists()
    assert is_leftover(tmp_path / ".notes.2024.tmp", "notes")
    assert not is_leftover(tmp_path / ".notes.2024.tmp", "history.csv")


def test_listed_files_are_verified_and_missing_ones_told(tmp_path):
    (tmp_path / "audio").mkdir()
    for number in range(3):
        (tmp_path / f"audio/{number}.wav").write_bytes(bytes([number]) * 1000)
    assert verify_listed(tmp_path, "folder", "copy it again") == []  # nothing is listed yet
    write_checksums(tmp_path, [f"audio/{number}.wav" for number in range(3)])
    assert verify_listed(tmp_path, "folder", "copy it again") == []
    (tmp_path / "audio/1.wav").unlink()
    assert verify_listed(tmp_path, "folder", "copy it again") == ["audio/1.wav"]
    flip(tmp_path / "audio/2.wav", 77)
    with pytest.raises(DamagedFile, match=r"folder: .*2\.wav is damaged .*; copy it again"):
        verify_listed(tmp_path, "folder", "copy it again")
    assert verify_listed(tmp_path, "folder", "copy it again", ["audio/0.wav"]) == []
    write_checked_json(tmp_path / "checksums.json", {"../key": "0" * 32})
    with pytest.raises(DamagedFile, match=r"checksums\.json is damaged .*\.\./key"):
        verify_listed(tmp_path, "folder", "copy it again")


def test_lock_file_has_the_permissions_of_its_folder(tmp_path):
    tmp_path.chmod(0o775)
    with lock_folder(tmp_path, "out"):
        assert (tmp_path / ".lock").stat().st_mode & 0o777 == 0o664


def test_lock_of_another_user_is_one_clear_error(tmp_path, monkeypatch):
    import filelock

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(InputError, match=r"out: .*chmod g\+w"), lock_folder(tmp_path, "out"):
        pass


def test_json_holds_paths_that_are_no_text(tmp_path):
    content = {"path": "/music/\udcff.wav", "ü": ["日本"]}
    write_checked_json(tmp_path / "a.json", content)
    assert read_checked_json(tmp_path / "a.json", "out", "delete it") == content


def test_written_json_is_plain_json(tmp_path):
    write_checked_json(tmp_path / "a.json", {"x": 1})
    assert json.loads((tmp_path / "a.json").read_text())["x"] == 1
