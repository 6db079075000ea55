"""Track tables, labels and the dataset, on real files."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from ssc_toolkit.data import (
    ContrastiveDataset,
    add_splits,
    check_audio,
    dataset_of,
    encode_labels,
    from_csv,
    from_folder,
    load_tracks,
)
from ssc_toolkit.data.validation import check_all_audio, report_unusable
from ssc_toolkit.errors import InputError
from ssc_toolkit.samplers import RandomSegments, SampledIndex, SemiSupervisedBatchSampler

RATE = 8000


def constant(path, level, seconds=2.0):
    """A file whose samples all have one level, so that a view tells which file it is from."""
    soundfile.write(path, np.full(round(seconds * RATE), level), RATE)


@pytest.fixture
def folder(tmp_path):
    for number in range(6):
        constant(tmp_path / f"{number}.wav", 0.1 * (number + 1))
    return tmp_path


def test_a_csv_file_with_a_root(folder, tmp_path_factory):
    table = tmp_path_factory.mktemp("tables") / "my.csv"
    table.write_text("path,genre\n0.wav,jazz\n1.wav,\n")
    tracks = load_tracks(table, root=folder)
    assert tracks["path"].tolist() == [str(folder / "0.wav"), str(folder / "1.wav")]
    assert check_audio(tracks, progress=False)["seconds"].tolist() == [2.0, 2.0]


def test_paths_start_from_the_csv_files_own_folder_by_default(folder):
    (folder / "my.csv").write_text("path\n3.wav\n")
    assert load_tracks(folder / "my.csv")["path"].tolist() == [str(folder / "3.wav")]


def test_odd_rows_give_warnings_and_odd_cells_are_labels(folder, caplog):
    (folder / "my.csv").write_text("path, genre\n0.wav, None\n1.wav,\n1.wav,jazz\n,rock\n", encoding="utf-8-sig")
    with caplog.at_level(logging.WARNING):
        tracks = load_tracks(folder / "my.csv")
    assert "1 rows of" in caplog.text
    assert "have no path" in caplog.text
    assert "repeat the path" in caplog.text
    assert encode_labels(tracks, "genre").names == ("None", "jazz")


def test_names_such_as_nan_give_a_warning(folder, caplog):
    rows = ["path,genre,tags,bpm,mood", "0.wav,NaN,a|null,nan,Nanette", "1.wav,NaN,a,90,none such", "2.wav,,a|b,100,"]
    (folder / "my.csv").write_text("\n".join(rows))
    with caplog.at_level(logging.WARNING):
        load_tracks(folder / "my.csv")
    shown = [record.getMessage() for record in caplog.records]
    for (column, cell, count), message in zip(
        (("genre", "NaN", 2), ("tags", "a|null", 1), ("bpm", "nan", 1)), shown, strict=True
    ):
        assert message.startswith(f"column {column!r} of ")
        assert f"{cell!r} ({count} rows)" in message


def test_all_files_are_checked_before_the_error(folder):
    for number in range(6):
        (folder / f"{number}.wav").write_text("no audio")
    (folder / "whole.csv").write_text("path\n" + "".join(f"{n}.wav\n" for n in range(6)) + "gone.wav\n")
    for strict in (False, True):
        with pytest.raises(InputError, match=r"^7 of 7 audio files cannot be used: ") as error:
            check_audio(load_tracks(folder / "whole.csv"), progress=False, strict=strict)
        assert all(f"{n}.wav: " in str(error.value) for n in range(5))
        assert "; and 2 more." in str(error.value)


def test_an_error_names_five_files_and_the_list_of_all(tmp_path):
    problems = {f"{n}.wav": "is silent" for n in range(25)}
    with pytest.raises(InputError, match=r"^25 of 30 audio files cannot be used: ") as error:
        report_unusable(problems, 30, 0.1)
    assert [path for path in problems if f" {path}: is silent" in str(error.value)] == [f"{n}.wav" for n in range(5)]
    assert "; and 20 more. Fix" in str(error.value)
    with pytest.raises(InputError, match=r"; and 20 more. Fix .* All are listed in .*report\.csv"):
        report_unusable(problems, 30, 0.1, report=tmp_path / "report.csv")
    assert [row.split(",")[0] for row in (tmp_path / "report.csv").read_text().splitlines()[1:]] == list(problems)


def test_the_files_of_all_tables_are_checked(folder):
    (folder / "one.csv").write_text("path\n0.wav\ngone.wav\n")
    (folder / "two.csv").write_text("path\nlost.wav\n")
    tables = {name: load_tracks(folder / f"{name}.csv") for name in ("one", "two")}
    with pytest.raises(InputError, match=r"^one: 1 of 2 .*gone\.wav.* two: 1 of 1 .*lost\.wav"):
        check_all_audio(tables)
    assert [len(kept) for kept in check_all_audio({"one": tables["one"]}, max_unusable=0.5)] == [1]


def test_all_tracks_in_two_splits_and_urls_are_named(tmp_path):
    (tmp_path / "my.csv").write_text("path,split\na,train\nb,train\nc,train\na,test\nb,valid\n")
    with pytest.raises(InputError, match=r"has .*/a, .*/b in more than one split"):
        load_tracks(tmp_path / "my.csv")
    (tmp_path / "my.csv").write_text("path\n" + "".join(f"http://a.org/{n}\n" for n in range(12)))
    with pytest.raises(InputError, match=r"lists the URL 'http://a.org/0', .*'http://a.org/9' and 2 more; expected"):
        load_tracks(tmp_path / "my.csv")


def test_a_root_that_is_not_used_is_an_error(folder):
    for source in (folder, "scores"):
        with pytest.raises(InputError, match="root: expected a dataset or a CSV file to use it with, got"):
            load_tracks(source, root=folder)


def test_files_that_end_early_are_named(folder, caplog):
    whole = (folder / "0.wav").read_bytes()
    soundfile.write(folder / "7.flac", np.random.default_rng(0).uniform(-1, 1, 3 * RATE), RATE)
    cut = (folder / "7.flac").read_bytes()
    (folder / "7.flac").write_bytes(cut[: len(cut) // 2])
    (folder / "8.wav").write_bytes(whole[:20])
    soundfile.write(folder / "9.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        kept = check_audio(load_tracks(folder), max_unusable=0.5, progress=False)
    assert len(kept) == 6
    for name in ("7.flac", "8.wav", "9.wav"):
        assert name in caplog.text


def test_a_folder_with_folders(folder):
    (folder / "deeper").mkdir()
    constant(folder / "deeper" / "x.FLAC", 0.5)
    (folder / "notes.txt").write_text("no audio")
    assert len(load_tracks(folder)) == 7


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        ("path,genre\n", "lists no tracks"),
        ("song,genre\na.wav,jazz\n", "no 'path' column"),
        ("path,split\na.wav,dev\n", "expected train, valid, test"),
        ('path\n"a.wav\n', "not a CSV file"),
    ],
)
def test_a_malformed_csv_file_is_an_error(tmp_path, content, words):
    (tmp_path / "my.csv").write_text(content)
    with pytest.raises(InputError, match=words):
        load_tracks(tmp_path / "my.csv")


def test_missing_sources_are_errors(tmp_path):
    with pytest.raises(InputError, match="there is no file or folder"):
        load_tracks(tmp_path / "none")
    with pytest.raises(InputError, match="there is no folder"):
        from_folder(tmp_path / "none")
    with pytest.raises(InputError, match="no audio file"):
        load_tracks(tmp_path)
    (tmp_path / "my.csv").write_text("path\na.wav\n")
    with pytest.raises(InputError, match="root"):
        load_tracks(tmp_path / "my.csv", root=tmp_path / "none")


def test_bad_files_are_named_counted_and_left_out(folder, caplog):
    (folder / "broken.wav").write_text("no audio")
    constant(folder / "short.wav", 0.5, seconds=0.2)
    tracks = load_tracks(folder)
    with caplog.at_level(logging.WARNING):
        kept = check_audio(tracks, min_seconds=1.0, max_unusable=0.5, progress=False)
    assert len(kept) == 6
    assert "2 of 8" in caplog.text
    assert "broken.wav" in caplog.text
    assert "short.wav: expected at least 1.00 s, got 0.20 s" in caplog.text
    with pytest.raises(InputError, match=r"2 of 8 audio files cannot be used: .*broken\.wav"):
        check_audio(tracks, min_seconds=1.0, max_unusable=0.1, progress=False)
    with pytest.raises(InputError, match="6 of 6"):
        check_audio(load_tracks(folder).select(range(6)), min_seconds=9.0, max_unusable=1.0, progress=False)


def test_labels_of_every_kind():
    tracks = pd.DataFrame(
        {
            "genre": ["rock", "jazz", None, "rock"],
            "tags": ["a|b", " ", "b", "c | a"],
            "year": [1990, 2000, None, 1990],
            "tempo": [120.5, 99.0, None, 60.0],
            "nothing": [None, None, "", None],
        }
    )
    genre = encode_labels(tracks, "genre")
    assert (genre.names, genre.values.tolist()) == (("jazz", "rock"), [1, 0, 0, 1])
    assert genre.labeled.tolist() == [True, True, False, True]
    tags = encode_labels(tracks, "tags")
    assert tags.names == ("a", "b", "c")
    assert tags.values.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert tags.labeled.tolist() == [True, False, True, True]
    assert encode_labels(tracks, "year").names == ("1990", "2000")
    for column, words in (("tempo", "real numbers"), ("nothing", "no row"), ("gender", "no column 'gender'")):
        with pytest.raises(InputError, match=words):
            encode_labels(tracks, column)


def test_splits_keep_groups_together():
    tracks = pd.DataFrame({"path": [str(i) for i in range(300)], "group": [i // 3 for i in range(300)]})
    split = add_splits(tracks, seed=1)
    assert (split.frame.groupby("group")["split"].nunique() == 1).all()
    counts = split["split"].value_counts()
    assert (counts["train"], counts["valid"], counts["test"]) == (210, 30, 60)
    assert add_splits(tracks, seed=1).frame.equals(split.frame)
    given = pd.DataFrame({"path": ["a", "b"], "split": ["test", None]})
    assert add_splits(given)["split"].tolist() == ["test", "train"]


def dataset(folder, **options):
    tracks = check_audio(load_tracks(folder), progress=False)
    return ContrastiveDataset(tracks, RATE, view_seconds=0.5, **options)


def test_views_come_from_their_own_track(folder):
    views = dataset(folder, views=3, view_sampler=RandomSegments())
    for number in range(6):
        item = views[number]
        assert item["waveforms"].shape == (3, 1, RATE // 2)
        torch.testing.assert_close(
            item["waveforms"], torch.full((3, 1, RATE // 2), 0.1 * (number + 1)), atol=1e-4, rtol=0
        )
        assert item["item"] == number


def test_a_track_shorter_than_a_view_is_padded_with_silence(folder):
    constant(folder / "0.wav", 0.5, seconds=0.25)
    view = dataset(folder)[0]["waveforms"][0, 0]
    assert (view[: RATE // 4] != 0).all()
    assert (view[RATE // 4 :] == 0).all()


def test_cells_may_be_lists():
    tracks = pd.DataFrame({"tags": [["slow", "sad"], ["sad"], [], None], "one": [["a"], ["b"], ["a"], ["b"]]})
    tags = encode_labels(tracks, "tags")
    assert tags.names == ("sad", "slow")
    assert tags.values.tolist() == [[1, 1], [1, 0], [0, 0], [0, 0]]
    assert tags.labeled.tolist() == [True, True, True, False]
    assert encode_labels(tracks, "one").is_multi_hot
    bars = encode_labels(pd.DataFrame({"tags": [["a|b", " c "], ["d", ""], None, "e|f", "g"]}), "tags")
    assert bars.names == ("a|b", "c", "d", "e", "f", "g")
    assert bars.values.sum(dim=1).tolist() == [2, 1, 0, 2, 1]
    with pytest.raises(InputError, match="one class in each cell of column 'one', got lists"):
        encode_labels(tracks, "one", kind="class")


def test_labels_are_hidden_where_the_sampler_says_so(folder):
    labels = encode_labels(pd.DataFrame({"genre": ["a", "b", None, "a", "b", "a"]}), "genre")
    labeled = dataset(folder, labels=labels)
    items = labeled.__getitems__([SampledIndex(0, True), SampledIndex(1, False), SampledIndex(2, True), 3])
    assert [bool(item["labeled"]) for item in items] == [True, False, False, True]
    assert [int(item["labels"]) for item in items] == [0, 1, 0, 0]


def test_mixed_batches_through_a_data_loader(folder):
    labels = encode_labels(pd.DataFrame({"genre": ["a", "b", None, None, None, None]}), "genre")
    sampler = SemiSupervisedBatchSampler([0, 1], [2, 3, 4, 5], batch_size=4, labeled_fraction=0.5)
    for workers in (0, 2):
        for batch in DataLoader(dataset(folder, labels=labels), batch_sampler=sampler, num_workers=workers):
            assert batch["waveforms"].shape == (4, 2, 1, RATE // 2)
            assert batch["labeled"].tolist() == [True, True, False, False]


def test_a_file_damaged_later_is_reported_and_left_out(folder, caplog):
    views = dataset(folder, max_unusable=1 / 6)
    (folder / "2.wav").write_bytes(b"broken by now")
    items = views.__getitems__([1, 2, 3])
    assert [item["item"] for item in items] == [1, 3]
    assert "2.wav" in caplog.text
    with pytest.raises(InputError, match=r"2\.wav"):
        views[2]
    (folder / "3.wav").unlink()
    with pytest.raises(InputError, match="2 files could not be decoded"):
        views.__getitems__([3])


def test_the_dataset_refuses_invalid_arguments(folder):
    tracks = load_tracks(folder)
    with pytest.raises(ValueError, match="seconds"):
        ContrastiveDataset(tracks, RATE, 0.5)
    labels = encode_labels(pd.DataFrame({"genre": ["a", "b"]}), "genre")
    with pytest.raises(ValueError, match="labels: expected the result of encode_labels, got Tensor"):
        dataset(folder, labels=torch.zeros(6))
    with pytest.raises(TypeError, match="sampler= with batch_size=None"):
        dataset(folder).__getitems__([[0, 1]])
    with pytest.raises(ValueError, match="labels: expected 6 rows, one for each track, got 2"):
        dataset(folder, labels=labels)
    table = tracks.assign(seconds=1.0)
    for seconds in (0, -1, float("inf"), float("nan")):
        with pytest.raises(InputError, match="view_seconds: expected a positive number"):
            ContrastiveDataset(table, RATE, seconds)
    with pytest.raises(InputError, match="views: expected an integer of at least 1"):
        ContrastiveDataset(table, RATE, 0.5, views=0)


def test_from_csv_renames_split_and_group_columns(folder, caplog):
    (folder / "my.csv").write_text("path,fold,artist\n0.wav,train,Ann\n1.wav,test,Ann\n2.wav,test,Bob\n")
    with caplog.at_level(logging.WARNING):
        tracks = from_csv(folder / "my.csv", split="fold", group="artist")
    assert list(tracks) == ["path", "split", "group"]
    assert "1 groups of" in caplog.text
    assert "such as Ann" in caplog.text
    with pytest.raises(InputError, match="has no column 'singer'"):
        from_csv(folder / "my.csv", group="singer")
    (folder / "my.csv").write_text("path,fold,split\n0.wav,a,train\n")
    with pytest.raises(InputError, match="rename or drop one"):
        from_csv(folder / "my.csv", split="fold")
    with pytest.raises(InputError, match="there is no file"):
        from_csv(folder / "none.csv")


def test_folders_may_be_labels(folder):
    for name in ("jazz/live/a.wav", "rock/b.wav"):
        (folder / name).parent.mkdir(parents=True)
        constant(folder / name, 0.5)
    tracks = from_folder(folder, label="genre")
    labels = encode_labels(tracks, "genre")
    assert labels.names == ("jazz", "rock")
    assert labels.labeled.tolist() == [False] * 6 + [True] * 2
    assert "genre" not in from_folder(folder)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    shares=st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.25, 0.25), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]),
    seed=st.integers(0, 99),
)
def test_no_artist_is_in_two_splits(sizes, shares, seed):
    artists = [f"artist {number}" for number, size in enumerate(sizes) for _ in range(size)]
    tracks = pd.DataFrame({"path": [f"{row}.wav" for row in range(len(artists))], "artist": artists})
    split = add_splits(tracks, seed, group="artist", fractions=shares)
    sides = split.frame.groupby("artist")["split"]
    assert (sides.nunique() == 1).all()
    counts = sides.first().value_counts()
    for name, share in zip(("train", "valid", "test"), shares, strict=True):
        assert abs(counts.get(name, 0) - share * len(sizes)) <= 1
    backwards = add_splits(tracks[::-1], seed, group="artist", fractions=shares)
    assert backwards.frame.sort_index()["split"].tolist() == split["split"].tolist()


def test_invalid_arguments_of_add_splits():
    tracks = pd.DataFrame({"path": ["a", "b"]})
    for options, words in (
        ({"fractions": (0.5, 0.5)}, "sum to 1"),
        ({"fractions": (0.9, 0.9, -0.8)}, "sum to 1"),
        ({"group": "artist"}, "no column 'artist'"),
        ({"seed": -1}, "at least 0"),
    ):
        with pytest.raises(InputError, match=words):
            add_splits(tracks, **options)


def test_labels_of_a_named_kind():
    tracks = pd.DataFrame(
        {"mood": ["1.5", "2", None], "energy": [0.0, None, 1.0], "tags": ["a;b", "b", ";"], "key": ["C", "G", "C"]}
    )
    numbers = encode_labels(tracks, ["mood", "energy"], kind="number")
    assert numbers.values.tolist() == [[1.5, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert numbers.labeled.tolist() == [True, False, False]
    assert (numbers.names, numbers.kind) == (("mood", "energy"), "number")
    tags = encode_labels(tracks, "tags", separator=";", names=["b", "a", "c"])
    assert tags.values.tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert tags.labeled.all()
    assert encode_labels(tracks, "key", kind="multi-hot").values.tolist() == [[1, 0], [0, 1], [1, 0]]
    tracks = tracks.assign(large=[1.0, 1e300, None], endless=[None, 1.0, float("inf")])
    for options, words in (
        ({"column": "key", "kind": "number"}, "expected numbers in column 'key', got 'C'"),
        ({"column": "large", "kind": "number"}, "finite in float32 in column 'large', got 1e[+]300"),
        ({"column": ["energy", "endless"], "kind": "number"}, "finite in float32 in column 'endless', got inf"),
        ({"column": "key", "names": ["C"]}, "expected one of 1 classes in column 'key', got 'G'"),
        ({"column": ["key", "tags"]}, "expected one column unless kind is .number., got key, tags"),
        ({"column": "key", "kind": "tags"}, "expected one of class, multi-hot, number"),
    ):
        with pytest.raises(InputError, match=words):
            encode_labels(tracks, **options)


def test_datasets_are_sources_too(tmp_path):
    with pytest.raises(InputError, match="root: expected the folder of the dataset gtzan, got none"):
        load_tracks("gtzan")
    with pytest.raises(InputError, match="variant: expected a dataset"):
        load_tracks(tmp_path, variant="top50")
    (tmp_path / "genres" / "blues").mkdir(parents=True)
    constant(tmp_path / "genres" / "blues" / "blues.00029.wav", 0.5)
    tracks = load_tracks("gtzan", tmp_path)
    assert encode_labels(tracks, "genre").names[:2] == ("blues", "classical")
    told = dataset_of(check_audio(tracks, progress=False))
    assert (told["name"], told["variant"]) == ("gtzan", "filtered")
    assert dataset_of(pd.DataFrame({"path": []})) == {}


def test_names_such_as_007_stay_text(folder):
    (folder / "my.csv").write_text(
        "path,id,version,year,tempo\n0.wav,007,1.10,1990,99.5\n1.wav,7,1.1,2000,\n2.wav,,1.2,,80\n"
    )
    tracks = from_csv(folder / "my.csv")
    assert tracks["id"].tolist()[:2] == ["007", "7"]
    assert tracks["version"].tolist() == ["1.10", "1.1", "1.2"]
    assert tracks["year"].tolist()[:2] == [1990, 2000]
    assert tracks["tempo"].dtype == float
    assert encode_labels(tracks, "year").names == ("1990", "2000")
