"""MagnaTagATune and MTG-Jamendo."""

from __future__ import annotations

import logging

import pytest
from recipe_fixtures import audio, built, cells, check_malformed, magnatagatune, mtg_jamendo

from ssc_toolkit.data import load_tracks
from ssc_toolkit.data.recipes import dataset_tracks
from ssc_toolkit.errors import InputError

BROKEN = {"35644", "55753", "57881"}


def test_magnatagatune_splits_by_folder(tmp_path):
    tracks = built("magnatagatune", tmp_path)
    splits = {"2": "train", "6": "train", "12": "train", "29": "valid", "31": "valid", "44": "test", "45": "test"}
    assert cells(tracks, "split") == splits
    assert tracks["group"].iloc[0] == "b-name"


def test_magnatagatune_tags_of_a_variant(tmp_path):
    top = cells(built("magnatagatune", tmp_path, "top50-pons2017"), "tags")
    assert (top["2"], top["6"], top["12"], top["29"]) == ("guitar|slow", "|", "|", "guitar|rock")
    every = cells(dataset_tracks("magnatagatune", tmp_path, "all-pons2017"), "tags")
    assert (every["2"], every["6"], every["12"]) == ("airy|guitar|slow", "clapping", "|")


@pytest.mark.parametrize("tags", ["top50", "all"])
def test_magnatagatune_versions_hold_the_documented_clips(tags, tmp_path, caplog):
    magnatagatune(tmp_path)
    with caplog.at_level(logging.INFO):
        ids = {
            version: set(dataset_tracks("magnatagatune", tmp_path, f"{tags}-{version}")["track_id"])
            for version in ("full", "pons2017", "clean")
        }
    assert ids["full"] - ids["pons2017"] == BROKEN
    assert ids["pons2017"] - ids["clean"] == {"6", "12", "31"}
    assert ids["clean"] < ids["pons2017"]
    assert "left out 3 clips that cannot be decoded: 6/norine" in caplog.text


def test_magnatagatune_wav_clips_in_another_folder(tmp_path):
    magnatagatune(tmp_path)
    (tmp_path / "c/c-name-01-piece-0-29.mp3").unlink()
    audio(tmp_path / "c/c-name-01-piece-0-29.wav")
    (tmp_path / "mp3").mkdir()
    (tmp_path / "d").rename(tmp_path / "mp3/d")
    paths = cells(dataset_tracks("magnatagatune", tmp_path), "path")
    assert paths["29"] == str(tmp_path / "c/c-name-01-piece-0-29.wav")
    assert paths["44"] == str(tmp_path / "mp3/d/d-name-01-piece-0-29.mp3")


def test_magnatagatune_counts_existing_files(tmp_path, caplog):
    magnatagatune(tmp_path)
    (tmp_path / "0/a-name-01-piece-0-29.mp3").unlink()
    with caplog.at_level(logging.WARNING):
        dataset_tracks("magnatagatune", tmp_path)
    (told,) = [record.getMessage() for record in caplog.records if "missing" in record.getMessage()]
    for words in (
        "train 2 of 18706",
        "valid 2 of 1825",
        "test 2 of 5329",
        " 1 audio file",
        "0/a-name-01-piece-0-29.mp3",
    ):
        assert words in told


def test_magnatagatune_without_clip_info(tmp_path):
    magnatagatune(tmp_path)
    (tmp_path / "clip_info_final.csv").unlink()
    assert "group" not in dataset_tracks("magnatagatune", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"guitar"', '"gitar"', "line 1: expected a column 'guitar' in the header"),
        ('"2"\t"0"', '"2"\t"2"', "line 2: expected 0 or 1 in column '.+', got '2'"),
        ('\t"0/a-name-01-piece-0-29.mp3"', "", "line 2: expected at least 190 cells"),
        ('"0/a-name', '"x/a-name', "line 2: expected an mp3_path that begins with 0/ to f/, got 'x/a-name"),
        ('"6"\t"0"', '"2"\t"0"', "magnatagatune: the annotations list '2' more than once"),
    ],
)
def test_magnatagatune_malformed(old, new, words, tmp_path):
    check_malformed("magnatagatune", tmp_path, "annotations_final.csv", old, new, words)


def test_text_in_another_encoding_is_an_input_error(tmp_path):
    magnatagatune(tmp_path)
    (tmp_path / "annotations_final.csv").write_bytes(b"clip_id\t\xff\xfe")
    with pytest.raises(InputError, match=r"annotations_final\.csv: expected text in UTF-8"):
        dataset_tracks("magnatagatune", tmp_path)


def test_mtg_jamendo_reads_ragged_rows(tmp_path):
    tracks = built("mtg_jamendo", tmp_path)
    assert tracks["split"].tolist() == ["train", "valid", "test"]
    assert tracks["track_id"].tolist() == ["track_0000241", "track_0000948", "track_1012000"]
    assert tracks["group"].tolist() == ["artist_000005", "artist_000087", "artist_000093"]
    assert tracks["tags"].iloc[0] == "genre---rock|instrument---piano|mood/theme---happy"
    assert tracks["tags"].iloc[1].count("|") == 4


def test_mtg_jamendo_variants_read_their_own_files(tmp_path):
    mtg_jamendo(tmp_path)
    tags = {
        variant: dataset_tracks("mtg_jamendo", tmp_path, variant)["tags"].iloc[0]
        for variant in ("genre", "instrument", "mood")
    }
    assert tags == {
        "genre": "genre---60s|genre---rock",
        "instrument": "instrument---cello|instrument---voice",
        "mood": "mood/theme---epic",
    }


def test_mtg_jamendo_takes_low_bitrate_copies(tmp_path):
    paths = built("mtg_jamendo", tmp_path)["path"].tolist()
    assert paths == [str(tmp_path / name) for name in ("41/241.mp3", "48/948.low.mp3", "00/1012000.mp3")]


def test_mtg_jamendo_leaves_out_tags_that_are_not_in_its_list(tmp_path, caplog):
    mtg_jamendo(tmp_path)
    file = tmp_path / "data/splits/split-0/autotagging_genre-train.tsv"
    file.write_text(file.read_text().replace("genre---rock", "genre---gothic"))
    with caplog.at_level(logging.WARNING):
        tracks = dataset_tracks("mtg_jamendo", tmp_path, "genre")
    assert tracks["tags"].iloc[0] == "genre---60s"
    assert "genre---gothic" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("TRACK_ID\t", "ID\t", "line 1: expected the header TRACK_ID ARTIST_ID"),
        ("\t41/241.mp3", "", "line 2: expected six or more cells, the fourth a path"),
    ],
)
def test_mtg_jamendo_malformed(old, new, words, tmp_path):
    file = "data/splits/split-0/autotagging_top50tags-train.tsv"
    check_malformed("mtg_jamendo", tmp_path, file, old, new, words)


def test_the_table_survives_a_csv_file(tmp_path):
    tracks = built("magnatagatune", tmp_path)
    tracks.frame.to_csv(tmp_path / "tracks.csv", index=False)
    again = load_tracks(tmp_path / "tracks.csv")
    assert again["tags"].tolist() == tracks["tags"].tolist()
    assert again["path"].tolist() == tracks["path"].tolist()
