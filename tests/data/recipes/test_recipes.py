"""What holds for the recipe of every dataset."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from recipe_fixtures import BUILDERS, EVERY_VARIANT, built, class_names

from ssc_toolkit.data.recipes import RECIPES, dataset_tracks, describe_dataset
from ssc_toolkit.errors import InputError

ANNOTATED = [name for name in BUILDERS if name != "vocalset"]  # VocalSet is what lies on disk, nothing lists it


@pytest.mark.parametrize(("name", "variant"), EVERY_VARIANT)
def test_the_table_has_the_documented_columns(name, variant, tmp_path):
    tracks = built(name, tmp_path, variant)
    dataset = tracks.dataset
    assert dataset == json.loads(json.dumps(dataset))
    assert (dataset["name"], dataset["variant"]) == (name, variant)
    assert {"path", "track_id", "split", *dataset["labels"]} == set(tracks) - {"group"}
    assert tracks["track_id"].is_unique
    assert not tracks["path"].duplicated().any()
    for path in tracks["path"]:
        assert Path(path).is_absolute()
        assert soundfile.info(path).frames > 0
    ranks = tracks["split"].map({"train": 0, "valid": 1, "test": 2})
    assert list(zip(ranks, tracks["track_id"], strict=True)) == sorted(zip(ranks, tracks["track_id"], strict=True))
    assert tracks.frame.index.tolist() == list(range(len(tracks)))


@pytest.mark.parametrize(("name", "variant"), EVERY_VARIANT)
def test_labels_have_their_kind_and_fixed_order(name, variant, tmp_path):
    tracks = built(name, tmp_path, variant)
    for column, labels in tracks.dataset["labels"].items():
        known = tracks[column].dropna()
        assert len(known)
        if labels["kind"] == "number":
            assert pd.api.types.is_float_dtype(tracks[column])
            continue
        names = labels["names"]
        assert len(set(names)) == len(names)
        for cell in known:
            found = [name for name in cell.split("|") if name] if labels["kind"] == "multi-hot" else [cell]
            assert found == sorted(found, key=names.index)


@pytest.mark.parametrize(("name", "variant"), EVERY_VARIANT)
def test_groups_that_a_split_keeps_apart_are_apart(name, variant, tmp_path):
    tracks = built(name, tmp_path, variant)
    if name != "magnatagatune" and "group" in tracks:
        assert (tracks.frame.dropna(subset="group").groupby("group")["split"].nunique() == 1).all()


@pytest.mark.parametrize("name", ANNOTATED)
def test_missing_files_are_counted_and_keep_the_split(name, tmp_path, caplog):
    whole = built(name, tmp_path)
    lost = Path(whole["path"].iloc[0])
    for copy in tmp_path.rglob(lost.name):
        copy.unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        partial = dataset_tracks(name, tmp_path)
    assert partial["track_id"].tolist() == whole["track_id"].tolist()[1:]
    assert partial.dataset == whole.dataset
    warning = next(record.message for record in caplog.records if "missing" in record.message)
    assert lost.name in warning
    assert f"{whole['split'].eq('train').sum() - 1} of" in warning


@pytest.mark.parametrize(("name", "variant"), EVERY_VARIANT)
def test_without_audio_the_error_lists_the_needed_files(name, variant, tmp_path):
    tracks = built(name, tmp_path, variant)
    for path in tmp_path.rglob("*"):
        if path.suffix in (".wav", ".mp3"):
            path.unlink()
    with pytest.raises(InputError) as error:
        dataset_tracks(name, tmp_path, variant)
    first, *lines = str(error.value).splitlines()
    assert "none of its audio files" in first
    assert name in first
    needs = RECIPES[name].needs(variant)
    assert len(lines) == len(needs)
    for line, need in zip(lines, needs, strict=True):
        assert need.path in line
        assert need.origin in line
    assert len(tracks)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("magnatagatune", "annotations_final.csv"),
        ("mtg_jamendo", "data/splits/split-0/autotagging_top50tags-validation.tsv"),
        ("giantsteps", "giantsteps-mtg-key-dataset/annotations/annotations.txt"),
        ("giantsteps", "giantsteps-mtg-key-dataset/annotations/beatport_metadata.txt"),
        ("nsynth", "nsynth-valid/examples.json"),
        ("emomusic", "annotations/songs_info.csv"),
        ("emomusic", "annotations/static_annotations.csv"),
        ("fma", "fma_metadata/tracks.csv"),
    ],
)
def test_a_missing_annotation_file_is_named_with_its_source(name, file, tmp_path):
    BUILDERS[name](tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(InputError) as error:
        dataset_tracks(name, tmp_path)
    first, *lines = str(error.value).splitlines()
    assert first.startswith(f"{name}: there is no {file} below {tmp_path}")
    assert any(file in line and "http" in line for line in lines)


@pytest.mark.parametrize("name", BUILDERS)
def test_an_empty_and_an_absent_folder_are_errors(name, tmp_path):
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="It must contain\n"):
            dataset_tracks(name, root)


def test_unknown_names_and_variants(tmp_path):
    with pytest.raises(InputError, match=r"dataset: expected one of magnatagatune, .*, fma, got 'mnist'"):
        dataset_tracks("mnist", tmp_path)
    with pytest.raises(InputError, match="variant: expected one of small, medium, large for fma, got 'full'"):
        dataset_tracks("fma", tmp_path, "full")
    with pytest.raises(InputError, match="dataset"):
        describe_dataset("mnist")


@pytest.mark.parametrize("name", RECIPES)
def test_the_description_names_variants_and_files(name):
    described = describe_dataset(name)
    for variant in RECIPES[name].variants:
        assert f"  {variant}: " in described
        assert all(need.path in described for need in RECIPES[name].needs(variant))


def test_the_default_variant_is_the_first(tmp_path):
    assert built("nsynth", tmp_path).dataset["variant"] == "pitch"
    assert dataset_tracks("nsynth", str(tmp_path)).frame.equals(dataset_tracks("nsynth", tmp_path, "pitch").frame)


def test_hashes_differ_for_other_splits_and_labels(tmp_path):
    descriptions = {variant: built("magnatagatune", tmp_path, variant).dataset for variant in VARIANTS}
    splits = {variant: dataset["split_hash"] for variant, dataset in descriptions.items()}
    labels = {variant: dataset["labels_hash"] for variant, dataset in descriptions.items()}
    assert len(set(splits.values())) == 3
    assert len(set(labels.values())) == 2
    assert splits["top50-clean"] == splits["all-clean"]
    assert labels["top50-clean"] == labels["top50-full"] != labels["all-full"]


VARIANTS = ("top50-pons2017", "top50-full", "top50-clean", "all-pons2017", "all-full", "all-clean")


def test_classes_without_a_track_give_one_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        built("nsynth", tmp_path, "instrument")
    warnings = [record.message for record in caplog.records if "classes" in record.message]
    assert len(warnings) == 1
    assert "test has no track of 9 of 11 (bass, brass, flute, guitar, keyboard, ...)" in warnings[0]


@pytest.mark.parametrize(
    ("name", "variant", "column", "number", "first", "last"),
    [
        ("magnatagatune", "top50-clean", "tags", 50, "guitar", "choral"),
        ("magnatagatune", "all-clean", "tags", 188, "acoustic", "world"),
        ("mtg_jamendo", "top50", "tags", 50, "genre---alternative", "mood/theme---relaxing"),
        ("mtg_jamendo", "genre", "tags", 87, "genre---60s", "genre---worldfusion"),
        ("mtg_jamendo", "instrument", "tags", 40, "instrument---accordion", "instrument---voice"),
        ("mtg_jamendo", "mood", "tags", 56, "mood/theme---action", "mood/theme---uplifting"),
        ("gtzan", "filtered", "genre", 10, "blues", "rock"),
        ("giantsteps", "key", "key", 24, "C major", "B minor"),
        ("nsynth", "pitch", "pitch", 112, "9", "120"),
        ("nsynth", "instrument", "instrument", 11, "bass", "vocal"),
        ("vocalset", "singer", "singer", 20, "female1", "male11"),
        ("vocalset", "technique17", "technique", 17, "belt", "vocal_fry"),
        ("vocalset", "technique10", "technique", 10, "belt", "vocal_fry"),
        ("medleydb", "instrument", "instrument", 20, "drum set", "cello"),
        ("fma", "small", "genre", 8, "Electronic", "Rock"),
        ("fma", "large", "genre", 16, "Blues", "Spoken"),
    ],
)
def test_label_lists(name, variant, column, number, first, last):
    names = class_names(name, variant, column)
    assert len(names) == len(set(names)) == number
    assert (names[0], names[-1]) == (first, last)
    assert all(label == label.strip() and "|" not in label for label in names)


def test_smaller_label_lists_are_part_of_larger_ones():
    def names(name, variant, column):
        return set(class_names(name, variant, column))

    assert names("magnatagatune", "top50-full", "tags") < names("magnatagatune", "all-full", "tags")
    assert names("vocalset", "technique10", "technique") < names("vocalset", "technique17", "technique")
    assert names("fma", "small", "genre") < names("fma", "medium", "genre") == names("fma", "large", "genre")
    parts = set().union(*(names("mtg_jamendo", variant, "tags") for variant in ("genre", "instrument", "mood")))
    assert names("mtg_jamendo", "top50", "tags") < parts


@pytest.mark.parametrize(("name", "variant"), EVERY_VARIANT)
def test_metrics_are_those_that_fit_the_kind_of_label(name, variant):
    task = RECIPES[name].task(variant)
    kinds = {labels.kind for labels in task.labels.values()}
    expected = {
        "multi-hot": {"roc_auc", "average_precision"},
        "number": {"r2"},
        "class": {"accuracy", "macro_recall", "weighted_key_score"},
    }
    assert len(kinds) == 1
    assert set(task.metrics) <= expected[kinds.pop()]
    assert task.metrics
