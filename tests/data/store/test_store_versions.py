"""Which version of a source a store serves, which types its table keeps, and stores of format 1."""

import hashlib
import json
import logging
import os

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import RATE, write_noise

from ssc_toolkit.data import AudioStore, encode_labels, load_tracks, prepare_store, read_audio, verify_store
from ssc_toolkit.files import write_checked_json


def prepared(tmp_path):
    """A file beside another one, the folder of the store that was made of both, and their tracks."""
    music, folder = tmp_path / "music", tmp_path / "store"
    path = write_noise(music / "a.wav", 1.0, seed=1)
    write_noise(music / "b.wav", 1.0, seed=9)
    tracks = load_tracks(music)
    prepare_store(tracks, folder, RATE, progress=False)
    return path, folder, tracks


def test_the_last_prepared_version_of_a_gone_source_is_served(tmp_path):
    path, folder, tracks = prepared(tmp_path)
    write_noise(path, 1.5, seed=2)
    os.utime(path, (1_000_000, 1_000_000))  # older than the version before
    newest = read_audio(path, RATE)
    prepare_store(tracks, folder, RATE, progress=False)
    path.unlink()
    prepare_store(tracks, folder, RATE, progress=False)
    np.testing.assert_allclose(AudioStore(folder)[0], newest, atol=1e-4)


def test_an_older_version_put_back_is_served_again(tmp_path):
    path, folder, tracks = prepared(tmp_path)
    first, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    write_noise(path, 1.0, seed=2)
    prepare_store(tracks, folder, RATE, progress=False)
    path.write_bytes(first)
    os.utime(path, ns=times)
    prepare_store(tracks, folder, RATE, progress=False)
    np.testing.assert_allclose(AudioStore(folder)[0], read_audio(path, RATE), atol=1e-4)


def test_a_version_put_back_and_then_lost_is_served(tmp_path, caplog):
    path, folder, tracks = prepared(tmp_path)
    first, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    expected = AudioStore(folder)[0]
    write_noise(path, 1.5, seed=2)
    prepare_store(tracks, folder, RATE, progress=False)
    path.write_bytes(first)
    os.utime(path, ns=times)
    with caplog.at_level(logging.INFO):
        prepare_store(tracks, folder, RATE, progress=False)
    assert "0 of them were decoded now" in caplog.text
    path.unlink()
    for _ in range(2):
        prepare_store(tracks, folder, RATE, progress=False)
        assert torch.equal(AudioStore(folder)[0], expected)


def test_a_version_decoded_by_a_killed_prepare_is_newer(tmp_path, monkeypatch):
    path, folder, tracks = prepared(tmp_path)
    write_noise(path, 1.5, seed=2)
    newest = read_audio(path, RATE)
    with monkeypatch.context() as patch:
        patch.setattr("ssc_toolkit.data.store.prepare._commit", lambda *_: 1 / 0)  # the end, after the decoding
        with pytest.raises(ZeroDivisionError):
            prepare_store(tracks, folder, RATE, progress=False)
    path.unlink()
    prepare_store(tracks, folder, RATE, progress=False)
    np.testing.assert_allclose(AudioStore(folder)[0], newest, atol=1e-4)


def test_sources_that_verify_finds_changed_are_decoded_again(tmp_path, caplog):
    path, folder, tracks = prepared(tmp_path)
    status = path.stat()
    write_noise(path, 1.0, seed=2)  # as large
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # and as old
    assert verify_store(folder, progress=False).changed == [str(path)]
    with caplog.at_level(logging.INFO):
        prepare_store(tracks, folder, RATE, progress=False)
    assert "1 of them were decoded now" in caplog.text
    np.testing.assert_allclose(AudioStore(folder)[0], read_audio(path, RATE), atol=1e-4)
    assert not verify_store(folder, progress=False).changed
    caplog.clear()
    with caplog.at_level(logging.INFO):
        prepare_store(tracks, folder, RATE, progress=False)
    assert "0 of them were decoded now" in caplog.text
    np.testing.assert_allclose(AudioStore(folder)[0], read_audio(path, RATE), atol=1e-4)


@pytest.mark.parametrize("name", [".store.json.1234.tmp", f".store.json.{'a' * 16}.tmp", ".lock"])
def test_leftovers_of_a_first_write_do_not_stop_a_second(music, tmp_path, name):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / name).write_text("{")
    assert len(AudioStore.prepare(load_tracks(music), folder, RATE, progress=False)) == 10
    assert name == ".lock" or not (folder / name).exists()


CELLS = {
    "lists": [["jazz", "rock"], [], None],
    "numbers": [[1, 2], None, [3]],
    "flags": [True, None, False],
    "lines": ["a\rb", "c\r\nd\n", None],
    "text": ["001", "NA", ""],
    "quotes": ['a,"b"', "'", None],
    "ids": pd.array([9007199254740992, 9007199254740993, None], dtype="Int64"),
    "large": pd.array([2**63 - 1, -(2**63), 0]),
    "real": [0.1, None, float("inf")],
    "whole": [1.0, None, 3.0],
    "nothing": [None, None, None],
    "mixed": [1, "a", None],
    "beyond": [2**70, 1, None],
    "date": pd.to_datetime(["2020-01-02", None, "2021-03-04"]),
    "name": ["é", "日本", "\U0001f3b5"],
}


def plain(cell):
    if isinstance(cell, list):
        return cell
    return None if pd.isna(cell) else cell


@pytest.mark.parametrize("column", CELLS)
def test_columns_keep_their_types(tmp_path, column):
    for number in range(3):
        write_noise(tmp_path / "music" / f"{number}.wav", 0.2, seed=number)
    tracks = load_tracks(tmp_path / "music")
    cells = pd.Series(CELLS[column], dtype=object if isinstance(CELLS[column], list) else None)
    tracks = tracks.assign(**{column: cells})
    store = AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False)
    found = list(map(plain, store.tracks[column]))
    expected = list(map(plain, tracks[column]))
    if column in ("mixed", "beyond"):  # no common type: text, as labels are
        expected = [None if cell is None else str(cell) for cell in expected]
    assert found == expected
    assert all(cell is None or isinstance(cell, bool) for cell in found) or column != "flags"
    again = AudioStore.prepare(store.tracks, tmp_path / "store", RATE, progress=False)
    assert list(map(plain, again.tracks[column])) == expected
    assert not verify_store(tmp_path / "store", progress=False).damaged


def test_lists_are_labels_before_and_after_the_store(tmp_path):
    for number in range(3):
        write_noise(tmp_path / "music" / f"{number}.wav", 0.2, seed=number)
    tracks = load_tracks(tmp_path / "music").assign(tags=[["jazz", "rock"], [], ["rock"]])
    before = encode_labels(tracks, "tags")
    store = AudioStore.prepare(tracks, tmp_path / "store", RATE, progress=False)
    after = encode_labels(store.tracks, "tags")
    assert torch.equal(before.values, after.values)
    assert torch.equal(before.labeled, after.labeled)
    assert before.names == after.names


def test_the_same_table_has_the_same_names_on_disk(music, tmp_path):
    names = []
    for folder in ("one", "other"):
        prepare_store(load_tracks(music), tmp_path / folder, RATE, threads=1, progress=False)
        names.append(sorted(path.name for path in (tmp_path / folder).glob("*.parquet")))
    assert names[0] == names[1]
    assert len(names[0]) == 2


def to_format_1(folder):
    """Rewrite a store as the first format had it."""
    info = json.loads((folder / "store.json").read_text())
    names = {}
    for shard in info["shards"]:
        content = json.loads((folder / "shards" / f"{shard}.json").read_text())
        digest = hashlib.blake2b((folder / "shards" / f"{shard}.pcm").read_bytes(), digest_size=16)
        for track in content["tracks"]:
            digest.update(track["path"].encode() + b"\0")
        names[shard] = digest.hexdigest()
        (folder / "shards" / f"{shard}.pcm").rename(folder / "shards" / f"{names[shard]}.pcm")
        (folder / "shards" / f"{shard}.json").unlink()
        del content["generation"], content["channel"], content["checksum"]
        (folder / "shards" / f"{names[shard]}.json").write_text(json.dumps(content))
    index = pd.read_parquet(next(folder.glob("index-*")))
    tracks = pd.read_parquet(next(folder.glob("tracks-*")))
    for file in folder.glob("*.parquet"):
        file.unlink()
    kinds = [("shard", "<i4"), ("offset", "<i8"), ("length", "<i8")]
    np.save(folder / "index.npy", index.to_records(index=False).astype(kinds))
    tracks.to_csv(folder / "tracks.csv", index=False)
    for name in ("index.npy", "tracks.csv"):
        digest = hashlib.blake2b((folder / name).read_bytes(), digest_size=8).hexdigest()
        info[name[:5].replace("track", "table")] = name.replace(".", f"-{digest}.")
        (folder / name).rename(folder / name.replace(".", f"-{digest}."))
    text = [name for name in tracks if not pd.api.types.is_numeric_dtype(tracks[name])]
    info |= {"shards": [names[shard] for shard in info["shards"]], "text_columns": text, "format": 1}
    for key in ("checksum", "index_checksum", "table_checksum"):
        del info[key]
    (folder / "store.json").write_text(json.dumps(info, indent=2))


def test_stores_of_format_1_are_read_and_upgraded(music, tmp_path, caplog):
    folder = tmp_path / "store"
    tracks = load_tracks(music).assign(genre=["a", "b"] * 5, code=[f"00{row}" for row in range(10)])
    new = AudioStore.prepare(tracks, folder, RATE, progress=False)
    right, table = [new[row] for row in range(10)], new.tracks.frame
    to_format_1(folder)
    old = AudioStore(folder)
    assert all(torch.equal(old[row], right[row]) for row in range(10))
    assert old.tracks["code"].tolist() == tracks["code"].tolist()
    assert not verify_store(folder, progress=False).damaged
    url = f"file://{folder}"
    assert torch.equal(AudioStore(url, cache=tmp_path / "cache")[3], right[3])
    with caplog.at_level(logging.INFO):
        prepare_store(tracks, folder, RATE, progress=False)
    assert "0 of them were decoded now" in caplog.text
    assert json.loads((folder / "store.json").read_text())["format"] == 2
    assert not list(folder.glob("*.csv"))
    assert not list(folder.glob("*.npy"))
    assert AudioStore(folder).tracks.frame.equals(table)
    assert not verify_store(folder, progress=False).damaged


def test_a_newer_format_says_what_to_do(store, tmp_path):
    content = json.loads((tmp_path / "store" / "store.json").read_text())
    del content["checksum"]
    write_checked_json(tmp_path / "store" / "store.json", content | {"format": 3})
    with pytest.raises(ValueError, match="format up to 2, got 3; update"):
        AudioStore(tmp_path / "store")
