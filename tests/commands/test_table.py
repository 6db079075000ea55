"""Tables of tagged files and playlists, as other programs write them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import mutagen
import numpy as np
import pandas as pd
import pytest
import soundfile
from audio_files import tone, write_audio, write_tones
from command_calls import Result, call
from mutagen import id3
from test_audio_codecs import encode

from ssc_toolkit.data import encode_labels, from_csv
from ssc_toolkit.data.playlists import find_playlists
from ssc_toolkit.data.tags import read_tags

TAGS = {
    "title": "So What",
    "artist": "Miles Davis",
    "album": "Kind of Blue",
    "albumartist": "Miles Davis Sextet",
    "genre": ["Jazz", "Modal; Cool"],
    "date": "1959-08-17",
    "bpm": "136",
}
FRAMES = [
    id3.TIT2(text="So What"),
    id3.TPE1(text="Miles Davis"),
    id3.TALB(text="Kind of Blue"),
    id3.TPE2(text="Miles Davis Sextet"),
    id3.TCON(text=["Jazz", "Modal; Cool"]),
    id3.TDRC(text="1959-08-17"),
    id3.TBPM(text="136"),
    id3.TKEY(text="Dm"),
]
EXPECTED = {
    "title": "So What",
    "artist": "Miles Davis",
    "album": "Kind of Blue",
    "album_artist": "Miles Davis Sextet",
    "genre": "Jazz|Modal|Cool",
    "year": "1959",
    "tempo": "136",
    "key": "D minor",
}


def write_file(path: Path) -> Path:
    if path.suffix in (".m4a", ".wma"):
        encode(path, *{".m4a": ("aac", "ipod"), ".wma": ("wmav2", "asf")}[path.suffix], tone(220, 1.0, 44100))
        return path
    kind = {"format": "OGG", "subtype": "OPUS"} if path.suffix == ".opus" else {}
    return write_audio(path, tone(220, 1.0, 16000), 16000, **kind)


def write_tags(path: Path, frames: list[id3.Frame]) -> None:
    file = mutagen.File(path)
    if file.tags is None:
        file.add_tags()
    for frame in frames:
        file.tags.add(frame)
    file.save()


def read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".aiff", ".flac", ".ogg", ".opus", ".m4a", ".wma"])
def test_tags_of_every_container_are_read(tmp_path, suffix):
    path = write_file(tmp_path / f"a{suffix}")
    if suffix in (".mp3", ".wav", ".aiff"):
        write_tags(path, FRAMES)
    else:
        file = mutagen.File(path, easy=True)
        if suffix == ".wma":
            names = ("Title", "Author", "WM/AlbumTitle", "WM/AlbumArtist", "WM/Genre", "WM/Year", "WM/BeatsPerMinute")
            file.tags.update(dict(zip(names, TAGS.values(), strict=True)))
            file.tags["WM/InitialKey"] = "Dm"
        else:
            file.update(TAGS)
        if suffix in (".flac", ".ogg", ".opus"):
            file["initialkey"] = "Dm"
        file.save()
        if suffix == ".m4a":
            file = mutagen.File(path)
            file["----:com.apple.iTunes:initialkey"] = [b"Dm"]
            file.save()
    assert read_tags(path) == EXPECTED


def test_old_tags_of_mp3_and_wav_are_read(tmp_path):
    path = write_file(tmp_path / "a.mp3")
    tags = id3.ID3()
    for frame in FRAMES:
        tags.add(frame)
    tags.add(id3.TCON(text="17"))
    tags.save(path, v1=2, v2_version=3)
    assert read_tags(path)["genre"] == "Rock"
    assert read_tags(path)["year"] == "1959"
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\xff\xfb") :] if b"\xff\xfb" in content else content)
    id3.ID3(path).delete(path, delete_v1=False, delete_v2=True)
    assert read_tags(path) == {
        "title": "So What", "artist": "Miles Davis", "album": "Kind of Blue", "genre": "Rock", "year": "1959",
    }  # fmt: skip
    with soundfile.SoundFile(tmp_path / "b.wav", "w", 8000, 1) as file:
        file.title, file.artist, file.genre, file.date = "Blue", "Ann", "Folk", "2001-02-03"
        file.write(tone(220))
    assert read_tags(tmp_path / "b.wav") == {"title": "Blue", "artist": "Ann", "genre": "Folk", "year": "2001"}


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (id3.TBPM(text="120,5"), {"tempo": "120.5"}),
        (id3.TBPM(text="128 BPM"), {"tempo": "128"}),
        (id3.TBPM(text="0"), {}),
        (id3.TBPM(text="fast"), {}),
        (id3.TKEY(text="8A"), {"key": "A minor"}),
        (id3.TKEY(text="12B"), {"key": "E major"}),
        (id3.TKEY(text="1a"), {"key": "Ab minor"}),
        (id3.TKEY(text="o"), {}),
        (id3.TDRC(text="0000"), {}),
        (id3.TCON(text=["Drum|Bass", "", " Drum "]), {"genre": "Drum|Bass"}),
        (id3.TIT2(text="a\nb\x07|c\u2028d"), {"title": "a b /c d"}),
        (id3.TPE1(text=["Ann", "Bob", "Ann"]), {"artist": "Ann|Bob"}),
    ],
)
def test_odd_values_of_tags(tmp_path, frame, expected):
    path = write_file(tmp_path / "a.mp3")
    write_tags(path, [frame])
    assert read_tags(path) == expected


@pytest.fixture
def folder(tmp_path) -> Path:
    """Twelve tones in two subfolders with tags of five artists, two playlists, and files that are no audio."""
    folder = tmp_path / "music"
    for name in ("rock", "jazz/live"):
        write_tones(folder / name, np.linspace(200, 400, 6).tolist())
    for number, path in enumerate(sorted(folder.rglob("*.wav"))):
        artist = ("Ann", "Bob", "Cy", "Di", "Ed", "ann")[number % 6]
        write_tags(
            path, [id3.TPE1(text=artist), id3.TIT2(text=f"=1+{number}"), id3.TCON(text=["A", "B"][: number % 3])]
        )
    (folder / "calm.m3u8").write_text("\ufeff#EXTM3U\n#EXTINF:1,x\nrock/00.wav\njazz\\live\\01.wav\ngone.wav\n")
    (folder / "jazz" / "loud.pls").write_text(
        f"[playlist]\nFile1=live/01.wav\nFile2=file://{folder}/rock/02.wav\nFile3=http://a.org/x.mp3\nTitle1=x\n"
    )
    (folder / "cover.jpg").touch()
    (folder / "broken.wav").write_text("no audio")
    return folder


def make_table(folder: Path, *options: str) -> Result:
    result = call("table", folder, f"--out={folder.parent / 'my.csv'}", *options)
    assert result.returncode == 0, result.stderr
    return result


def test_a_table_of_a_folder_is_written_and_described(folder, caplog):
    printed = make_table(folder).stdout
    table = read_table(folder.parent / "my.csv")
    assert list(table) == ["path", "title", "artist", "genre", "folder", "playlist", "seconds"]
    assert len(table) == 12
    assert table["path"][0] == "jazz/live/00.wav"
    assert table["folder"].tolist() == ["jazz"] * 6 + ["rock"] * 6
    assert table["seconds"].tolist() == ["1.0"] * 12
    assert dict(zip(table["path"], table["playlist"], strict=True)) == {
        **dict.fromkeys(table["path"], ""),
        "rock/00.wav": "calm", "rock/02.wav": "loud", "jazz/live/01.wav": "calm|loud",
    }  # fmt: skip
    assert table["title"][0] == "'=1+0"
    rows = {line.split("|")[1].strip(): line for line in printed.splitlines() if line.startswith("| ")}
    assert [cell.strip() for cell in rows["genre"].split("|")[2:5]] == ["8", "2", "A 8, B 4"]
    assert [cell.strip() for cell in rows["folder"].split("|")[2:5]] == ["12", "2", "jazz 6, rock 6"]
    assert "12 tracks (0.00 h)" in printed
    assert "left out: 1 of 13 audio files" in printed
    for words in ("1 file with other suffixes: 1 .jpg", "broken.wav: ", "calm.m3u8: 1 of 3, such as gone.wav",
                  "loud.pls: 1 of 3, such as http://a.org/x.mp3"):  # fmt: skip
        assert words in caplog.text


def test_the_table_is_read_with_a_root_and_after_a_move(folder):
    make_table(folder)
    moved = folder.parent / "moved"
    folder.rename(moved)
    tracks = from_csv(folder.parent / "my.csv", root=moved)
    assert all(Path(path).is_file() for path in tracks["path"])
    assert tracks["title"][0] == "=1+0"
    assert encode_labels(tracks, "genre").names == ("A", "B")
    shutil.move(folder.parent / "my.csv", moved / "my.csv")
    assert all(Path(path).is_file() for path in from_csv(moved / "my.csv")["path"])


def test_a_table_is_replaced_only_with_overwrite(folder):
    out = folder.parent / "my.csv"
    out.write_text("mine")
    result = call("table", folder, f"--out={out}")
    assert result.returncode == 2
    assert "exists; choose another file, or pass --overwrite" in result.stderr
    assert out.read_text() == "mine"
    make_table(folder, "--overwrite")
    assert out.read_text().startswith("path,title")
    assert not list(out.parent.glob(".*.tmp"))


def test_a_split_keeps_artists_together(folder, caplog):
    make_table(folder, "--split")
    table = read_table(folder.parent / "my.csv")
    assert set(table["split"]) == {"train", "valid", "test"}
    assert table.assign(artist=table["artist"].str.lower()).groupby("artist")["split"].nunique().eq(1).all()
    make_table(folder, "--split", "--group_by=none", "--overwrite")
    assert read_table(folder.parent / "my.csv")["split"].value_counts().to_dict() == {"train": 8, "valid": 2, "test": 2}
    make_table(folder, "--split", "--seed=1", "--overwrite")
    assert not read_table(folder.parent / "my.csv")["split"].equals(table["split"])
    out = folder.parent / "new.csv"
    result = call("table", folder, f"--out={out}", "--split", "--group_by=album")
    assert "group_by: expected a column with values, got album, which no track has" in result.stderr
    assert not out.exists()
    make_table(folder, "--split", "--group_by=folder", "--overwrite")
    assert "no track is in the split valid or test: there are too few groups" in caplog.text


def test_damaged_tags_leave_the_track_in_the_table(folder, caplog):
    for number, tag in enumerate((b"ID3\x09\0\0\0\0\0\x05abcde", b"ID3\x03\0\x40\0\0\0\x05abcde")):
        path = write_file(folder / f"tags{number}.mp3")
        path.write_bytes(tag + path.read_bytes())
    path = write_file(folder / "both.flac")
    file = mutagen.File(path)
    file["artist"] = "Dee"
    file.save()
    content = path.read_bytes()
    place = content.index(b"artist=") - 4
    path.write_bytes(content[:place] + b"\xff\xff\xff\x7f" + content[place + 4 :])
    printed = make_table(folder).stdout
    table = read_table(folder.parent / "my.csv").set_index("path")
    assert table["artist"]["tags0.mp3"] == table["artist"]["tags1.mp3"] == ""
    assert table["seconds"]["tags0.mp3"] == "1.0"
    assert "both.flac" not in table.index
    assert "files whose tags cannot be read, so that they have no values: 2 (" in caplog.text
    assert "tags0.mp3 is damaged" in caplog.text
    assert "2 of 16 audio files cannot be used" in caplog.text
    assert "left out: 2 of 16 audio files" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="these names are not allowed elsewhere")
def test_odd_names_of_files_are_read_back(tmp_path, caplog):
    names = [
        "~/a.wav",
        "=1.wav",
        "'=2.wav",
        " b.wav",
        "c, d;\te.wav",
        "file:/f.wav",
        'g"h.wav',
        "new\nline.wav",
        "#.wav",
    ]
    for name in names:
        write_audio(tmp_path / "music" / name, tone(220))
    write_audio(tmp_path / "music" / "x.wav", tone(220)).rename(tmp_path / "music" / os.fsdecode(b"latin\xe9.wav"))
    tones = ["latin\\xe9.mp3", "folder\\xff/y.mp3"]
    for number, name in enumerate((b"latin\xe9.mp3", b"folder\xff/y.mp3")):
        path = tmp_path / "music" / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        write_audio(tmp_path / "music" / f"{number}.mp3", tone(220)).rename(path)
    printed = make_table(tmp_path / "music").stdout
    tracks = from_csv(tmp_path / "my.csv", root=tmp_path / "music")
    assert sorted(os.path.normpath(path) for path in tracks["path"]) == sorted(
        str(tmp_path / "music" / name) for name in names
    )
    assert all(Path(path).is_file() for path in tracks["path"])
    assert "left out: 3 of 12 audio files" in printed
    assert "files left out, because their names are not valid UTF-8; rename them: 3 (" in caplog.text
    assert all(name in caplog.text for name in tones)


def test_a_folder_without_valid_names_is_an_error(tmp_path):
    write_audio(tmp_path / "music" / "x.mp3", tone(220)).rename(tmp_path / "music" / os.fsdecode(b"\xe9.mp3"))
    result = call("table", tmp_path / "music", f"--out={tmp_path / 'my.csv'}")
    assert result.returncode == 2
    assert "tracks: expected files whose names are valid UTF-8" in result.stderr
    assert not (tmp_path / "my.csv").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["nowhere", "--out=a.csv"], "tracks: expected a folder of audio files, got nowhere"),
        (["my.csv", "--out=a.csv"], "tracks: expected a folder of audio files, got my.csv (a file)"),
        ([".", "--out=a.xlsx"], "out: expected a file name ending in .csv, got a.xlsx"),
        ([".", "--out=a.csv", "--group_by=artist"], "group_by: expected --split to use it with, got none"),
        ([".", "--out=a.csv"], "tracks: there is no audio file below ."),
    ],
)
def test_options_that_cannot_work_are_errors(tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    Path("my.csv").write_text("path\n")
    result = call("table", *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert not Path("a.csv").exists()


def test_without_mutagen_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "mutagen", None)
    result = call("table", folder, f"--out={folder.parent / 'my.csv'}")
    assert result.returncode == 2
    assert "pip install 'ssc-toolkit[tags]'" in result.stderr


def test_playlists_of_old_players_are_read(folder, caplog):
    (folder / "\xfcber.wav").write_bytes((folder / "rock" / "00.wav").read_bytes())
    (folder / "old.m3u").write_bytes("\xfcber.wav\r\nrock%2F01.wav\r\nRock/02.wav\r\n".encode("cp1252"))
    (folder / "jazz" / "old.m3u").write_text("../rock/00.wav\n")
    (folder / "jazz" / "wide.m3u").write_text("live/00.wav\n", encoding="utf-16")
    make_table(folder)
    table = read_table(folder.parent / "my.csv").set_index("path")["playlist"]
    assert table["\xfcber.wav"] == "music/old.m3u"
    assert table["rock/01.wav"] == "music/old.m3u"
    assert table["rock/00.wav"] == "calm|jazz/old.m3u"
    assert table["jazz/live/00.wav"] == "wide"
    assert "old.m3u: 1 of 3, such as Rock/02.wav" in caplog.text


@pytest.mark.parametrize(
    "names",
    [
        ("a/mix/calm.m3u", "b/mix/calm.m3u"),
        ("a/mix/calm.m3u", "b/mix/calm.m3u", "calm.m3u", "mix/calm.m3u"),
        ("calm.m3u", "calm.pls"),
        ("a|b.m3u", "a/b.m3u", "b.m3u"),
        ("a|b.m3u", "a/b.m3u8"),
        ("x|calm.m3u", "x/calm.m3u", "y/calm.m3u"),
        ("x/a|b.m3u", "x|a/b.m3u", "x/a/b.m3u"),
        ("calm.m3u", " calm.m3u"),
    ],
)
def test_different_playlists_have_different_names(names):
    tracks = [Path(f"/m/{number}.wav") for number in range(len(names))]
    for order in (1, -1):
        playlists = {Path("/m") / name: [str(track)] for name, track in list(zip(names, tracks, strict=True))[::order]}
        found, unknown = find_playlists(tracks, playlists)
        assert len(set(found)) == len(names)
        assert not any("|" in name for name in found)
        assert not any(unknown.values())


def test_the_shortest_unique_name_of_a_playlist_is_used():
    tracks = [Path(f"/m/{name}.wav") for name in "abc"]
    playlists = {
        Path("/m/a/mix/calm.m3u"): ["/m/a.wav"],
        Path("/m/b/mix/calm.m3u"): ["/m/b.wav"],
        Path("/m/b/loud.m3u"): ["/m/c.wav"],
    }
    assert find_playlists(tracks, playlists)[0] == ["a/mix/calm.m3u", "b/mix/calm.m3u", "loud"]
