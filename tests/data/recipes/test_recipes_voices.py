"""VocalSet, MedleyDB and EmoMusic."""

from __future__ import annotations

import logging

import pytest
from recipe_fixtures import audio, built, cells, check_malformed, medleydb, text, vocalset

from ssc_toolkit.data.recipes import dataset_tracks
from ssc_toolkit.errors import InputError

LAYOUTS = ["data_by_singer", "FULL"]


@pytest.mark.parametrize("folder", LAYOUTS)
def test_vocalset_techniques_by_singer(folder, tmp_path):
    vocalset(tmp_path, folder)
    tracks = dataset_tracks("vocalset", tmp_path, "technique17")
    assert cells(tracks, "technique") == {
        "female1/arpeggios/belt/f1_arpeggios_belt_c_a": "belt",
        "female1/long_tones/messa/f1_long_messa_a": "messa",
        "female2/scales/vibrato/f2_scales_vibrato_a": "vibrato",
        "female2/arpeggios/lip_trill/lip_trill_arps": "lip_trill",
        "female6/excerpts/spoken/f6_spoken": "spoken",
        "male8/excerpts/straight/row_straight": "straight",
        "male9/scales/trill/m9_scales_trill_c_a": "trill",
        "male10/scales/fast_forte/m10_scales_fast_forte_a": "fast_forte",
        "male11/scales/vibrato/m11_scales_vibrato_f_a": "vibrato",
    }
    sides = dict(zip(tracks["group"], tracks["split"], strict=True))
    assert sides == {
        "female1": "train",
        "female2": "test",
        "female6": "valid",
        "male8": "train",
        "male9": "valid",
        "male10": "test",
        "male11": "train",
    }


def test_vocalset_ten_techniques_are_fewer(tmp_path):
    seventeen = built("vocalset", tmp_path, "technique17")
    ten = dataset_tracks("vocalset", tmp_path, "technique10")
    left_out = set(seventeen["track_id"]) - set(ten["track_id"])
    assert {track.split("/")[2] for track in left_out} == {"messa", "fast_forte"}
    assert len(ten) + len(left_out) == len(seventeen)


def test_vocalset_splits_singers_by_file(tmp_path):
    tracks = built("vocalset", tmp_path, "singer")
    singers, splits = cells(tracks, "singer"), cells(tracks, "split")
    assert singers["female2/arpeggios/lip_trill/lip_trill_arps"] == "female2"
    assert singers["male11/scales/vibrato/m11_scales_vibrato_f_a"] == "male11"
    assert splits["female1/arpeggios/belt/f1_arpeggios_belt_c_a"] == "train"
    assert splits["female2/arpeggios/lip_trill/lip_trill_arps"] == "valid"
    assert splits["male11/scales/vibrato/m11_scales_vibrato_f_a"] == "test"


def test_vocalset_layouts_give_the_same_tracks(tmp_path):
    tables = []
    for folder in LAYOUTS:
        vocalset(tmp_path / folder, folder)
        tables.append(dataset_tracks("vocalset", tmp_path / folder))
    assert tables[0].frame.drop(columns="path").equals(tables[1].frame.drop(columns="path"))
    assert tables[0].dataset == tables[1].dataset


def test_vocalset_names_a_singer_where_the_folder_does_not(tmp_path):
    audio(tmp_path / "FULL/others/excerpts/straight/row_straight.wav")
    audio(tmp_path / "FULL/others/scales/belt/m11_scales_belt_a.wav")
    audio(tmp_path / "FULL/others/scales/trill/who_knows.wav")
    singers = cells(dataset_tracks("vocalset", tmp_path), "singer")
    assert singers == {
        "others/scales/belt/m11_scales_belt_a": "male11",
        "others/excerpts/straight/row_straight": "male8",
    }


def test_vocalset_warns_of_files_without_singer(tmp_path, caplog):
    vocalset(tmp_path)
    audio(tmp_path / "data_by_singer/female1/scales/humming/f1_scales_humming.wav")
    with caplog.at_level(logging.WARNING):
        tracks = dataset_tracks("vocalset", tmp_path)
    assert "unclear, such as female1/scales/humming/f1_scales_humming.wav" in caplog.text
    assert not tracks["track_id"].str.contains("humming").any()


def test_vocalset_split_does_not_depend_on_other_files(tmp_path):
    whole = built("vocalset", tmp_path)
    for name in ("f1_arpeggios_belt_c_a.wav", "lip_trill_arps.wav"):
        next((tmp_path / "data_by_singer").rglob(name)).unlink()
    partial = dataset_tracks("vocalset", tmp_path)
    assert partial.dataset == whole.dataset
    assert cells(partial, "split").items() <= cells(whole, "split").items()


def test_medleydb_takes_stems_of_one_frequent_instrument(tmp_path):
    tracks = built("medleydb", tmp_path)
    assert cells(tracks, "instrument") == {
        "AmarLal_Rest_STEM_01": "clean electric guitar",
        "AmarLal_Rest_STEM_02": "fx/processed sound",
        "AvaLuna_Waterduct_STEM_01": "electric bass",
        "Handel_TornamiAVagheggiar_STEM_01": "female singer",
        "MusicDelta_Beatles_STEM_01": "drum set",
    }


def test_medleydb_splits_by_artist(tmp_path):
    tracks = built("medleydb", tmp_path)
    splits = dict(zip(tracks["group"], tracks["split"], strict=True))
    assert splits == {"Amar Lal": "train", "AvaLuna": "train", "Handel": "valid", "Music Delta": "test"}


def test_medleydb_split_does_not_depend_on_the_other_songs(tmp_path):
    whole = built("medleydb", tmp_path)
    (tmp_path / "medleydb/data/Metadata/AmarLal_Rest_METADATA.yaml").unlink()
    fewer = dataset_tracks("medleydb", tmp_path)
    assert fewer.dataset == whole.dataset
    assert cells(fewer, "split").items() < cells(whole, "split").items()


def test_medleydb_songs_without_audio_give_no_warning(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        built("medleydb", tmp_path)
    assert "1 of 5 songs have no folder of audio" in caplog.text
    assert "missing" not in caplog.text


def test_medleydb_in_the_folders_of_its_archives(tmp_path):
    medleydb(tmp_path)
    (tmp_path / "V1").mkdir()
    (tmp_path / "Audio/AmarLal_Rest").rename(tmp_path / "V1/AmarLal_Rest")
    paths = cells(dataset_tracks("medleydb", tmp_path), "path")
    assert paths["AmarLal_Rest_STEM_01"] == str(
        tmp_path / "V1/AmarLal_Rest/AmarLal_Rest_STEMS/AmarLal_Rest_STEM_01.wav"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("artist: [", "expected YAML"),
        ("artist: Amar Lal\n", "expected a mapping with 'stems'"),
        ("stems:\n  S01:\n    filename: a.wav\n", "expected 'filename' and 'instrument' of the stem S01"),
    ],
)
def test_medleydb_malformed(content, words, tmp_path):
    medleydb(tmp_path)
    text(tmp_path / "medleydb/data/Metadata/AmarLal_Rest_METADATA.yaml", content)
    with pytest.raises(InputError, match=rf"AmarLal_Rest_METADATA\.yaml: {words}"):
        dataset_tracks("medleydb", tmp_path)


def test_emomusic_ratings_and_splits(tmp_path):
    tracks = built("emomusic", tmp_path)
    assert cells(tracks, "split") == {"2": "train", "10": "train", "7": "valid", "37": "test"}
    assert cells(tracks, "arousal") == {"2": 3.1, "10": 5.7, "7": 3.5, "37": 6.4}
    assert cells(tracks, "valence")["37"] == 2.25
    assert cells(tracks, "group")["10"] == "José  González"
    labels = tracks.dataset["labels"]
    assert (labels["arousal"]["mean"], labels["arousal"]["std"]) == (4.756063, 1.386010)
    assert (labels["valence"]["mean"], labels["valence"]["std"]) == (4.973865, 1.254618)


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("songs_info.csv", "evaluation", "test", "line 5: expected 'development' or 'evaluation'"),
        ("songs_info.csv", "Artist", "artist", "line 1: expected a column 'Artist'"),
        ("static_annotations.csv", "3.1", "?", "line 2: expected numbers"),
    ],
)
def test_emomusic_malformed(file, old, new, words, tmp_path):
    check_malformed("emomusic", tmp_path, f"annotations/{file}", old, new, rf"{file}, {words}")
