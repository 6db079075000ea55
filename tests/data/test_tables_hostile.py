"""Tables, names and folders as other programs and other people leave them."""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from pathlib import Path

import markdown as markdown_renderer
import numpy as np
import pandas as pd
import pytest
import torch

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.data import Labels, add_splits, encode_labels, from_csv, from_folder, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.retrieval.ranking import retrieval
from ssc_toolkit.paths import missing_hint
from ssc_toolkit.reports.page import Section, render_markdown


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"title,path,genre\nx,a.wav,jazz,\n", "line 2: expected 3 cells as in the header, got 4 .a comma at the end"),
        (b'path,genre\n"a\nb.wav",jazz\n\nc.wav\n', "line 5: expected 2 cells as in the header, got 1"),
        (b"path,genre,genre\na.wav,x,y\n", "line 1: two columns are called 'genre'"),
        (b"path,genre \na.wav,x\n", "without blanks around it, got 'genre '"),
        (b"path,,genre\na.wav,x,y\n", "column 2 has no name"),
        (b"path;genre\na.wav;x;\n", "line 2: expected 2 cells as in the header, got 3 .a semicolon at the end"),
        (b"path,genre\na,x,\nb,x\nc\nd,,,\n", "line 2: expected 2 cells .*; also in line 4, 5$"),
        (b"title;genre\nx;y\n", "has no 'path' column .nor 'file', .* among 'title', 'genre'"),
        (b"Path,PATH\na.wav,b.wav\n", "expected one 'path' column, got 'Path' and 'PATH'"),
        ("path\na.wav\n".encode("utf-16")[:-1], "is not text in UTF-16"),
        ("path\na.wav\n".encode("utf-16-le"), "or text in UTF-16 without a byte order mark"),
        ("path\na\0.wav\n".encode("utf-16"), "got a zero character"),
        ("path\nfa\xe7ade.wav\n".encode("latin-1"), "line 2: is not text in UTF-8 .probably in Latin-1"),
        (b"path\na.wav\nb\x00.wav\n", "line 3: expected text in UTF-8, got a zero byte"),
        (b"path\na.wav\n\xff.wav\n", "line 3: is not text in UTF-8"),
        (b'path,genre\na.wav,"x"y\n', "line 2: is not a CSV file"),
        (b"\n\n", "is empty"),
    ],
)
def test_malformed_tables_give_a_one_line_error(tmp_path, content, words):
    (tmp_path / "my.csv").write_bytes(content)
    with pytest.raises(InputError, match=f"tracks: .*my.csv.*{words}") as caught:
        load_tracks(tmp_path / "my.csv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["path", "Path", "PATH", "File", "filename", '"Path"'])
def test_tables_of_spreadsheets_are_read(tmp_path, separator, encoding, name):
    rows = [["Title", name, "Genre", "Split"], ['"a, b;\tc"', "d\xe9j\xe0.wav", "", "train"], ["", '"b.wav"', '""', ""]]
    text = "".join(separator.join(row) + "\r\n" for row in rows)
    (tmp_path / "my.csv").write_bytes(text.encode(encoding))
    tracks = from_csv(tmp_path / "my.csv")
    assert list(tracks) == ["Title", "path", "Genre", "split"]
    assert tracks["path"].tolist() == [str(tmp_path / "d\xe9j\xe0.wav"), str(tmp_path / "b.wav")]
    assert tracks["Title"].tolist() == ["a, b;\tc", np.nan]
    assert tracks["Genre"].isna().all()
    assert tracks["split"].tolist() == ["train", np.nan]


@pytest.mark.parametrize("header", ["path,PATH,file", "PATH,path,file", "file,Path,note"])
def test_the_path_column_is_chosen_by_its_name(tmp_path, header):
    (tmp_path / "my.csv").write_text(f"{header}\n0,1,2\n")
    place = header.split(",").index("path" if "path" in header else "Path")
    assert from_csv(tmp_path / "my.csv")["path"].tolist() == [str(tmp_path / str(place))]


@pytest.mark.parametrize(
    ("separator", "cells", "expected"),
    [
        (";", ["120,5", "98", ""], [120.5, 98.0, None]),
        ("\t", ["-0,25", "1,5e3", "7"], [-0.25, 1500.0, 7.0]),
        (",", ['"120,5"', '"98,25"', "90"], [120.5, 98.25, 90.0]),
        (";", ["1,234", "2,500", ""], [1.234, 2.5, None]),
        (";", ["1,234", "2,5,1", ""], ["1,234", "2,5,1", None]),
        (";", ["1.234,5", "2,5", "1"], ["1.234,5", "2,5", "1"]),
        (";", ["rock,jazz", "2,5", "1"], ["rock,jazz", "2,5", "1"]),
    ],
)
def test_numbers_may_have_a_decimal_comma(tmp_path, separator, cells, expected):
    rows = ["path", "bpm"], *([f"{n}.wav", cell] for n, cell in enumerate(cells))
    (tmp_path / "my.csv").write_text("".join(separator.join(row) + "\n" for row in rows))
    found = from_csv(tmp_path / "my.csv")["bpm"]
    assert [None if pd.isna(cell) else cell for cell in found] == expected


def test_equal_numbers_with_decimal_commas_are_labels(tmp_path):
    (tmp_path / "my.csv").write_text("path;bpm\na;120,50\nb;120,5\nc;\n")
    labels = encode_labels(from_csv(tmp_path / "my.csv"), "bpm", kind="number")
    assert labels.values.flatten().tolist() == [120.5, 120.5, 0.0]
    assert labels.labeled.tolist() == [True, True, False]


def test_thousands_are_not_read_as_decimals(tmp_path, caplog):
    (tmp_path / "my.csv").write_text('path,plays\na,"1,234"\nb,"12,500"\nc,7\n')
    tracks = from_csv(tmp_path / "my.csv")
    assert tracks["plays"].tolist() == ["1,234", "12,500", "7"]
    assert "column 'plays'" in caplog.text
    assert "'1,234' may be a decimal or a thousand" in caplog.text
    with pytest.raises(InputError, match="expected numbers in column 'plays', got '1,234'"):
        encode_labels(tracks, "plays", kind="number")


def test_a_byte_order_mark_quotes_and_long_cells_are_read(tmp_path):
    long = "x" * 300_000
    (tmp_path / "my.csv").write_bytes(f'\ufeffpath, note\r\n"a ""b"".wav","two\nlines"\r\nc.wav, {long}\r\n'.encode())
    tracks = load_tracks(tmp_path / "my.csv")
    assert tracks["path"].tolist() == [str(tmp_path / 'a "b".wav'), str(tmp_path / "c.wav")]
    assert tracks["note"].tolist() == ["two\nlines", long]


def test_large_ids_next_to_an_empty_cell_stay_different(tmp_path):
    (tmp_path / "my.csv").write_text("path,group\na,9007199254740992\nb,9007199254740993\nc,\nd,9007199254740993\n")
    tracks = from_csv(tmp_path / "my.csv")
    labels = encode_labels(tracks, "group")
    assert labels.names == ("9007199254740992", "9007199254740993")
    assert labels.values.tolist() == [0, 1, 0, 1]
    assert labels.labeled.tolist() == [True, True, False, True]
    assert encode_labels(tracks, "group", kind="number").labeled.tolist() == labels.labeled.tolist()
    with pytest.raises(InputError, match="floats too large"):
        encode_labels(pd.DataFrame({"id": [2.0**53, np.nan]}), "id")


def test_a_group_is_the_same_as_integer_and_float():
    tracks = pd.DataFrame({"path": [f"{n}" for n in range(40)], "group": [n % 20 for n in range(40)]})
    mixed = tracks.assign(group=pd.Series([float(n % 20) if n > 19 else n % 20 for n in range(40)], dtype=object))
    assert add_splits(mixed)["split"].equals(add_splits(tracks)["split"])
    labels = Labels(torch.tensor([0, 0]), torch.ones(2, dtype=torch.bool), ("a",))
    found = {"database": np.eye(2), "database_labels": labels, "database_groups": np.array([1.0, np.nan])}
    score = retrieval(np.eye(2), labels, groups=np.array([1, 2]), other_groups_only=True, cutoffs=(1,), **found)
    assert score.headline.value == 1.0


@pytest.mark.parametrize("odd", ["--2", "\N{MINUS SIGN}2", "٣", "1_000", "²", "9" * 5000, "-", "02"])
def test_labels_that_look_like_numbers(odd):
    labels = encode_labels(pd.DataFrame({"x": [odd, "-1", "2"]}), "x")
    assert [labels.names[value] for value in labels.values] == [odd, "-1", "2"]


def test_cells_are_safe_in_spreadsheets_and_read_back(tmp_path):
    cells = ["=1+1", "+cmd", "-x", "@sum", "\tx", "\rx", "'=1", "''@a", "\uff1d1", " =1", "'tis", 'a"b', "a,b", "--2"]
    text = format_csv(["path", "label", "drop"], [[f"{n}", cell, -0.05 * (n + 1)] for n, cell in enumerate(cells)])
    (tmp_path / "my.csv").write_text(text, newline="")
    tracks = from_csv(tmp_path / "my.csv")
    assert tracks["label"].tolist() == cells
    assert tracks["drop"].tolist() == [-0.05 * (n + 1) for n in range(len(cells))]
    written = pd.read_csv(tmp_path / "my.csv", skipinitialspace=True)["label"]
    assert not written.str.match(r"\s*[=+\-@\t\r\uff1d]").any()


def test_folders_are_visited_once_without_hidden_files(tmp_path, caplog):
    for name in ("a/x.wav", "a/._x.wav", ".hidden/y.wav", "__MACOSX/z.wav", "b/cover.jpg", "b/t.xyz"):
        (tmp_path / "music" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "music" / name).touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "o.flac").touch()
    (tmp_path / "music" / "a" / "up").symlink_to(tmp_path / "music")
    (tmp_path / "music" / "0").symlink_to(tmp_path / "music" / "a")
    (tmp_path / "music" / "link").symlink_to(tmp_path / "other")
    with caplog.at_level(logging.WARNING):
        tracks = from_folder(tmp_path / "music")
    assert tracks["path"].tolist() == [str(tmp_path / "music" / name) for name in ("a/x.wav", "link/o.flac")]
    assert "2 files with other suffixes: 1 .jpg, 1 .xyz" in caplog.text


def test_home_and_file_urls_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m y").mkdir()
    (tmp_path / "m y" / "t.csv").write_text(f"path\n~/a.wav\nfile://{tmp_path}/b%20c.wav\n")
    expected = [str(tmp_path / "a.wav"), str(tmp_path / "b c.wav")]
    for source in ("~/m y/t.csv", f"file://{tmp_path}/m%20y/t.csv"):
        assert load_tracks(source, root="~/")["path"].tolist() == expected


def test_a_name_in_another_form_gives_a_hint(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / unicodedata.normalize("NFD", "über.wav")).touch()
    assert "Unicode form (NFD)" in missing_hint(tmp_path / "x" / "über.wav")
    (tmp_path / "x" / "a.wav").touch()
    assert "write / instead of \\" in missing_hint(f"{tmp_path}/x\\a.wav")
    assert missing_hint(tmp_path / "none.wav") == ""


HOSTILE = [
    "![t](http://e.x/a)",
    "[c](javascript:x)",
    "a|b",
    "x\n# y",
    "`code`",
    "<img src=x>",
    "http://e.x",
    "[a]: http://b",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_report_shows_hostile_text_as_text(text):
    page = render_markdown(
        text, text, [Section(text, [text], ["model", text], [[text, "0.5 [0.4, 0.6]"]])], {"v": text}
    )
    rendered = markdown_renderer.markdown(page, extensions=["tables"])
    assert not re.search(r"<(a|img|code|h3|em)\b", rendered)
    assert rendered.count("<h1>") == 1
    assert not re.search(r"[^\\]://", page)
    assert "0.5 [0.4, 0.6]" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}


@pytest.mark.parametrize(
    "written", ["path,note\n a.wav,x\na.wav,y\n", "note,path\nx, a.wav\ny,a.wav\n", 'note,path\n"x", a.wav\ny,a.wav\n']
)
def test_a_path_that_begins_with_a_blank_is_found(tmp_path, written):
    for name in (" a.wav", "a.wav"):
        (tmp_path / name).touch()
    (tmp_path / "my.csv").write_text(written)
    assert load_tracks(tmp_path / "my.csv")["path"].tolist() == [str(tmp_path / " a.wav"), str(tmp_path / "a.wav")]


def test_blanks_after_a_comma_are_dropped(tmp_path):
    (tmp_path / "a.wav").touch()
    (tmp_path / "my.csv").write_text('note, path\nx,  a.wav\ny, "  a.wav"\n z, http\n')
    tracks = load_tracks(tmp_path / "my.csv")
    assert [Path(path).name for path in tracks["path"]] == ["a.wav", "  a.wav", "http"]
    assert tracks["note"].tolist() == ["x", "y", "z"]


def test_pipes_with_the_name_of_audio_are_named(tmp_path, caplog):
    (tmp_path / "a.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    assert load_tracks(tmp_path)["path"].tolist() == [str(tmp_path / "a.wav")]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.endswith("pipes and devices (1): pipe.wav")


def test_links_that_lead_nowhere_are_named(tmp_path, caplog):
    (tmp_path / "a.wav").touch()
    (tmp_path / "deep").mkdir()
    for name, target in (("b.wav", "gone.wav"), ("albums", "/nowhere/albums"), ("deep/c.flac", "c.flac")):
        (tmp_path / name).symlink_to(target)
    assert load_tracks(tmp_path)["path"].tolist() == [str(tmp_path / "a.wav")]
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.endswith("links whose target does not exist (3): albums, b.wav, deep/c.flac")
    (tmp_path / "a.wav").unlink()
    with pytest.raises(
        InputError, match=r"no audio file below .*; found links whose target does not exist \(3\): albums"
    ):
        load_tracks(tmp_path)
