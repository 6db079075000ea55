"""What is found, named and mended when a store is damaged."""

import logging

import numpy as np
import pytest
from audio_files import RATE, write_noise
from folders import flip

from ssc_toolkit.data import AudioStore, load_tracks, prepare_store, read_audio, verify_store
from ssc_toolkit.errors import InputError


def test_damage_is_found_named_and_restored(store, music, tmp_path):
    folder = tmp_path / "store"
    shard = next((folder / "shards").glob("*.pcm"))
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    write_noise(music / "0.wav", 1.0, seed=123)
    (music / "5.flac").unlink()
    found = verify_store(folder, progress=False)
    assert found.damaged == [str(shard)]
    assert found.changed == [str(music / "0.wav")]
    assert found.gone == 1
    shard.write_bytes(content[:-4])  # shorter than it should be: seen without a verification
    cut_short = AudioStore(folder)
    with pytest.raises(InputError, match="instead of"):
        cut_short.read(range(10), [0] * 10, 100)
    write_noise(music / "5.flac", seed=4)
    prepare_store(load_tracks(music), folder, RATE, progress=False)
    mended = verify_store(folder, progress=False)
    assert (mended.damaged, mended.changed, mended.gone) == ([], [], 0)


def test_every_file_of_a_store_is_verified(store, music, tmp_path):
    folder = tmp_path / "store"
    table, index = next(folder.glob("tracks-*")), next(folder.glob("index-*"))
    for file in (table, index):
        whole = file.read_bytes()
        for content in (whole[: len(whole) // 2], None):
            file.unlink() if content is None else file.write_bytes(content)
            assert verify_store(folder, progress=False).damaged == [str(file)]
            with pytest.raises(InputError, match=f"{file.name} is damaged|there is no file .*{file.name}"):
                len(AudioStore(folder).tracks)
        prepare_store(load_tracks(music), folder, RATE, progress=False)
        assert not verify_store(folder, progress=False).damaged


def test_a_store_without_store_json_is_rebuilt_from_shards(store, music, tmp_path, caplog):
    folder = tmp_path / "store"
    for content in ("{", None):
        file = folder / "store.json"
        file.unlink() if content is None else file.write_text(content)
        with caplog.at_level(logging.INFO):
            caplog.clear()
            prepare_store(load_tracks(music), folder, RATE, progress=False)
        assert "0 of them were decoded now" in caplog.text
    file.unlink()
    prepare_store(load_tracks(music), folder, 2 * RATE, progress=False)  # shards at another rate are not taken
    found = AudioStore(folder, 2 * RATE)
    assert len(found[0]) == len(read_audio(found.tracks["path"][0], 2 * RATE))


def test_tracks_lost_by_damage_are_counted(store, music, tmp_path):
    for shard in (tmp_path / "store" / "shards").glob("*.pcm"):
        content = bytearray(shard.read_bytes())
        content[10] ^= 1
        shard.write_bytes(content)
    for name in ("0.wav", "4.wav", "8.wav"):
        (music / name).unlink()
    assert verify_store(tmp_path / "store", progress=False).lost == 3


def test_damaged_descriptions_are_named_and_restored(store, music, tmp_path, caplog):
    folder = tmp_path / "store"
    file = next((folder / "shards").glob("*.json"))
    flip(file, len(file.read_bytes()) // 3)
    found = verify_store(folder, progress=False)
    assert found.damaged == [str(file)]
    assert found.lost == 0
    prepare_store(load_tracks(music), folder, RATE, progress=False)
    assert f"{file} is damaged" in caplog.text
    assert not file.exists()
    caplog.clear()
    prepare_store(load_tracks(music), folder, RATE, progress=False)
    assert "is damaged" not in caplog.text
    assert verify_store(folder, progress=False).damaged == []


def test_damaged_descriptions_stay_while_a_source_is_gone(store, music, tmp_path):
    folder = tmp_path / "store"
    for file in (folder / "shards").glob("*.json"):
        flip(file, 100)
    tracks = load_tracks(music)
    (music / "5.flac").unlink()
    assert verify_store(folder, progress=False).lost == 1
    (folder / "marks.json").unlink()
    damaged = list((folder / "shards").glob("*.json"))
    prepare_store(tracks, folder, RATE, progress=False, max_unusable=0.5)
    assert len(AudioStore(folder)) == 9
    assert all(file.exists() for file in damaged)  # a copy of them may still be found
    write_noise(music / "5.flac", seed=4)
    prepare_store(tracks, folder, RATE, progress=False)
    assert not any(file.exists() for file in damaged)


@pytest.mark.slow
def test_every_flipped_byte_of_a_description_is_noticed(store, music, tmp_path):
    folder = tmp_path / "store"
    url = f"file://{folder}"
    for file in (folder / "shards").glob("*.json"):
        whole = file.read_bytes()
        for offset in np.linspace(0, len(whole) - 1, 100).astype(int):
            flip(file, offset)
            assert str(file) in verify_store(folder, progress=False).damaged
            (folder / "marks.json").unlink()
            file.write_bytes(whole)
        flip(file, len(whole) // 2)
        rows = range(10)
        with pytest.raises(InputError, match=f"{url}/shards/{file.name} is damaged"):
            AudioStore(url, cache=tmp_path / file.stem).read(rows, [0] * 10, 100)
        file.write_bytes(whole)


def test_verify_refuses_an_unfinished_store(music, tmp_path):
    (music / "0.wav").write_bytes(b"no audio")
    with pytest.raises(InputError, match="cannot be used"):
        prepare_store(load_tracks(music), tmp_path / "store", RATE, progress=False, strict=True)
    with pytest.raises(InputError, match="is not finished"):
        verify_store(tmp_path / "store", progress=False)


def test_damaged_marks_give_a_warning_and_are_restored(store, music, tmp_path, caplog):
    folder = tmp_path / "store"
    write_noise(music / "0.wav", 1.0, seed=123)
    verify_store(folder, progress=False)
    marks = folder / "marks.json"
    content = marks.read_bytes()
    flip(marks, content.index(b"0.wav"))
    assert verify_store(folder, progress=False).changed == [str(music / "0.wav")]
    assert f"{marks} is damaged" in caplog.text
    assert marks.read_bytes() == content


def test_the_only_copy_of_a_track_is_kept_until_its_file_returns(store, music, tmp_path, caplog):
    folder = tmp_path / "store"
    tracks = load_tracks(music)
    gone = music / "5.flac"
    content = gone.read_bytes()
    gone.unlink()
    (shard,) = [
        file for file in (folder / "shards").glob("*.pcm") if str(gone) in file.with_suffix(".json").read_text()
    ]
    with shard.open("r+b") as file:
        file.truncate(1000)
    verify_store(folder, progress=False)
    for _ in range(3):  # from the second call on, the index does not have the track
        caplog.clear()
        prepare_store(tracks, folder, RATE, max_unusable=1.0, progress=False)
        assert shard.exists()
        assert f"the damaged shard {shard.stem} is kept" in caplog.text
        assert str(gone) in caplog.text
        assert len(AudioStore(folder)) == len(tracks) - 1
    gone.write_bytes(content)
    prepare_store(tracks, folder, RATE, progress=False)
    assert not shard.exists()
    assert not (folder / "marks.json").exists()
    assert len(AudioStore(folder)) == len(tracks)
