"""GTZAN, GiantSteps, NSynth and FMA."""

from __future__ import annotations

import json
import logging
from collections import Counter

import pytest
from recipe_fixtures import EXCERPTS, built, cells, check_malformed, fma, giantsteps, gtzan, nsynth

from ssc_toolkit.data.recipes import RECIPES, dataset_tracks
from ssc_toolkit.errors import InputError

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def test_the_gtzan_lists_are_those_of_the_filtered_split(tmp_path):
    listed = RECIPES["gtzan"].tracks(tmp_path, "filtered")
    assert listed["track_id"].is_unique
    counts = {split: Counter(listed["genre"][listed["split"] == split]) for split in ("train", "valid", "test")}
    assert [counts["train"][genre] for genre in GENRES] == [46, 48, 45, 42, 47, 43, 44, 41, 43, 44]
    assert [counts["valid"][genre] for genre in GENRES] == [23, 20, 23, 22, 18, 17, 20, 13, 17, 24]
    assert [counts["test"][genre] for genre in GENRES] == [31, 31, 30, 29, 27, 27, 27, 30, 26, 32]


@pytest.mark.parametrize("folder", ["genres", "", "genres_original", "gtzan_genre/genres"])
@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_gtzan_is_found_in_every_folder_layout(folder, suffix, tmp_path):
    gtzan(tmp_path, folder, suffix)
    tracks = dataset_tracks("gtzan", tmp_path)
    splits = {"blues.00029": "train", "jazz.00054": "train", "blues.00000": "valid", "blues.00012": "test"}
    assert splits.items() <= cells(tracks, "split").items()
    assert cells(tracks, "genre")["jazz.00054"] == "jazz"
    assert set(EXCERPTS) - set(tracks["track_id"]) == {"jazz.00033"}


def test_gtzan_tolerates_the_excerpt_that_many_copies_lack(tmp_path, caplog):
    gtzan(tmp_path)
    (tmp_path / "genres/jazz/jazz.00054.wav").unlink()
    with caplog.at_level(logging.WARNING):
        tracks = dataset_tracks("gtzan", tmp_path)
    assert "jazz.00054" not in set(tracks["track_id"])
    assert "train 1 of 443" in caplog.text


def test_giantsteps_keeps_sure_keys_spelled_with_flats(tmp_path):
    keys = cells(built("giantsteps", tmp_path), "key")
    assert keys == {
        "5061": "Eb minor",
        "7217": "F minor",
        "7300": "G minor",
        "7400": "A major",
        "7500": "Db major",
        "7600": "B major",
        "7700": "D minor",
        "10089": "D minor",
        "74982": "Eb minor",
        "1225100": "Db major",
    }


def test_giantsteps_coartists_of_valid_artists_are_valid(tmp_path):
    tracks = built("giantsteps", tmp_path)
    splits = cells(tracks, "split")
    assert splits["5061"] == "train"  # as in the published split
    assert splits["7700"] == "valid"  # SHA-1 of the name in lower case
    assert splits["7400"] == "valid"
    assert splits["7300"] == splits["7600"] == "valid"  # found in the second pass
    assert splits["7500"] == "train"  # three hops away, against the order of the file
    assert {splits["10089"], splits["74982"], splits["1225100"]} == {"test"}
    assert cells(tracks, "group")["5061"] == "Philippe Van Mullem"


def test_giantsteps_leading_zeros_and_folders_of_archives(tmp_path):
    giantsteps(tmp_path)
    test = tmp_path / "giantsteps-key-dataset"
    (test / "audio/10089.LOFI.mp3").rename(test / "audio/0010089.LOFI.mp3")
    (test / "annotations/key/74982.LOFI.key").rename(test / "annotations/key/0074982.LOFI.key")
    test.rename(tmp_path / "giantsteps-key-dataset-master")
    tracks = dataset_tracks("giantsteps", tmp_path)
    assert tracks.frame.loc[tracks["split"] == "test", "track_id"].tolist() == ["10089", "1225100", "74982"]


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("annotations.txt", "D# minor", "H minor", "line 2: expected a key such as 'C minor', got 'H minor'"),
        ("annotations.txt", "D# minor", "D# minor\tx\tx\tx\tx", "line 2: expected at most"),
        ("annotations.txt", "MANUAL KEY", "MANUAL KEY\tC", "line 1: expected one column 'C' in the header"),
        ("annotations.txt", "F minor\t2", "F minor\t7", "line 3: expected a confidence of 0, 1 or 2"),
        ("annotations.txt", "MANUAL KEY", "KEY", "line 1: expected a column 'MANUAL KEY'"),
        ("beatport_metadata.txt", "7217\t", "7218\t", "expected a row for the track 7217"),
    ],
)
def test_giantsteps_malformed(file, old, new, words, tmp_path):
    check_malformed("giantsteps", tmp_path, f"giantsteps-mtg-key-dataset/annotations/{file}", old, new, words)


def test_a_giantsteps_key_file_without_a_key_is_named(tmp_path):
    giantsteps(tmp_path)
    (tmp_path / "giantsteps-key-dataset/annotations/key/10089.LOFI.key").write_text("")
    with pytest.raises(InputError, match=r"10089\.LOFI\.key: expected a key"):
        dataset_tracks("giantsteps", tmp_path)


def test_nsynth_pitch_and_family(tmp_path):
    pitch = built("nsynth", tmp_path, "pitch")
    assert cells(pitch, "pitch")["bass_synthetic_033-022-050"] == "22"
    assert pitch["split"].tolist() == ["train"] * 3 + ["valid"] + ["test"] * 2
    assert pitch["group"].iloc[0] == "bass_synthetic_033"
    family = dataset_tracks("nsynth", tmp_path, "instrument")
    assert cells(family, "instrument")["synth_lead_synthetic_001-120-127"] == "synth_lead"
    assert "pitch" not in family


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("pitch", 121, "expected a known pitch for flute_acoustic_002-077-100, got '121'"),
        ("instrument_str", None, "expected a field 'instrument_str' of flute_acoustic_002-077-100"),
    ],
)
def test_nsynth_malformed(field, value, words, tmp_path):
    nsynth(tmp_path)
    path = tmp_path / "nsynth-valid/examples.json"
    notes = json.loads(path.read_text())
    fields = notes["flute_acoustic_002-077-100"]
    if value is None:
        del fields[field]
    else:
        fields[field] = value
    path.write_text(json.dumps(notes))
    with pytest.raises(InputError, match=words):
        dataset_tracks("nsynth", tmp_path)


@pytest.mark.parametrize(("content", "words"), [("{", "line 1: expected JSON"), ("[]", "expected an object")])
def test_nsynth_that_is_no_json_object(content, words, tmp_path):
    nsynth(tmp_path)
    (tmp_path / "nsynth-test/examples.json").write_text(content)
    with pytest.raises(InputError, match=words):
        dataset_tracks("nsynth", tmp_path)


def test_smaller_fma_sizes_are_part_of_larger_ones(tmp_path):
    fma(tmp_path)
    ids = {size: set(dataset_tracks("fma", tmp_path, size)["track_id"]) for size in ("small", "medium", "large")}
    assert ids["small"] == {"000005", "000010", "000140"}
    assert ids["medium"] - ids["small"] == {"000002", "000136"}
    assert ids["large"] - ids["medium"] == {"000020", "000152"}


def test_fma_labels_groups_and_splits(tmp_path):
    tracks = built("fma", tmp_path, "large")
    assert cells(tracks, "split")["000140"] == "test"
    assert cells(tracks, "group")["000140"] == "54"
    genres = cells(tracks, "genre")
    assert genres["000136"] == "Old-Time / Historic"
    assert tracks["genre"].isna().tolist() == (tracks["track_id"] == "000020").tolist()


def test_fma_clips_without_audio_are_left_out_and_logged(tmp_path, caplog):
    fma(tmp_path)
    with caplog.at_level(logging.INFO):
        assert "001486" not in set(dataset_tracks("fma", tmp_path, "medium")["track_id"])
    assert "fma medium: left out 2 files that are known to be broken: 001486, 098565" in caplog.text


def test_fma_small_is_found_in_a_larger_archive(tmp_path):
    fma(tmp_path)
    for path in (tmp_path / "fma_small").rglob("*.mp3"):
        path.unlink()
    paths = cells(dataset_tracks("fma", tmp_path, "small"), "path")
    assert paths["000005"] == str(tmp_path / "fma_medium/000/000005.mp3")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("genre_top", "genre", r"expected two rows of column names with \(track, genre_top\)"),
        ("track_id,", "5,", "line 3: expected a row that begins with 'track_id'"),
        ("validation", "dev", "expected track 10 to have one of test, training, validation, got 'dev'"),
        ("Folk", "Folklore", "expected track 140 to have one of .*, got 'Folklore'"),
        ("\n140,", "\nx140,", "expected track numbers in the first column, got 'x140'"),
    ],
)
def test_fma_malformed(old, new, words, tmp_path):
    check_malformed("fma", tmp_path, "fma_metadata/tracks.csv", old, new, words)


@pytest.mark.parametrize(("kept", "words"), [(0, "line 1: expected two rows"), (3, "expected rows of 8 cells")])
def test_fma_cut_short(kept, words, tmp_path):
    fma(tmp_path)
    path = tmp_path / "fma_metadata/tracks.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:kept]))
    with pytest.raises(InputError, match=words):
        dataset_tracks("fma", tmp_path)
