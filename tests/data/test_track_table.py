"""Tables that know their store and dataset, whatever is done with their frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import RATE

from ssc_toolkit.data import (
    AudioStore,
    ContrastiveDataset,
    TrackTable,
    add_splits,
    as_track_table,
    check_audio,
    dataset_of,
    encode_labels,
    load_tracks,
    prepare_store,
)
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import as_model, embed_tracks, embed_windows, fit_probe, provenance_of
from ssc_toolkit.evaluation.embedding.cache import hash_audio


@pytest.fixture
def level():
    """Model whose embedding is the loudness of the window."""
    return as_model(lambda waveforms: waveforms.std(dim=-1, keepdim=True).flatten(1).repeat(1, 2), RATE)


def test_a_merge_keeps_store_and_dataset(store, music):
    metadata = {"name": "mine", "labels": {"mood": {"kind": "class", "names": ["sad", "glad"]}}}
    loaded = TrackTable(store.tracks.frame, store.tracks.store, metadata)
    moods = pd.DataFrame({"path": loaded["path"][::-1], "mood": ["glad", "sad"] * 5})
    for path in music.iterdir():
        path.unlink()  # from now on, only the store has the audio
    table = loaded.with_frame(loaded.frame.merge(moods, on="path"))
    dataset = ContrastiveDataset(add_splits(check_audio(table, progress=False)), RATE, 0.5)
    assert dataset[3]["waveforms"].abs().max() > 0.01
    assert encode_labels(table, "mood").names == ("sad", "glad")
    assert dataset_of(table)["name"] == "mine"


def test_what_a_table_knows_survives_every_function(store):
    table = TrackTable(store.tracks.frame, store.tracks.store, {"name": "mine"})
    for other in (
        table.select(table["seconds"] > 2),
        table.assign(note=1),
        add_splits(table),
        check_audio(table, progress=False),
        as_track_table(table),
    ):
        assert (other.store, other.dataset) == (table.store, table.dataset)


def test_a_frame_has_no_hidden_state(store, tmp_path):
    prepare_store(TrackTable(store.tracks.frame, store.tracks.store, {"name": "mine"}), tmp_path / "again", RATE)
    table = load_tracks(tmp_path / "again")
    assert (table.store, dict(table.dataset)) == (str(tmp_path / "again"), {"name": "mine"})
    assert not table.frame.attrs
    assert not check_audio(table).frame.attrs
    smuggled = table.frame.copy()
    smuggled.attrs = {"store": "nowhere", "dataset": {"name": "other"}}
    assert as_track_table(smuggled).store is None
    assert dataset_of(smuggled) == {}


@pytest.mark.parametrize("form", [lambda store: store.tracks, lambda store: store.tracks.frame])
def test_a_frame_is_taken_wherever_a_table_is(store, tmp_path, level, form):
    table = form(store)
    assert len(check_audio(table, progress=False)) == 10
    split = add_splits(table, fractions=(0.4, 0.3, 0.3))
    labeled = (
        split.assign(note=["a", "b"] * 5) if isinstance(table, TrackTable) else split.frame.assign(note=["a", "b"] * 5)
    )
    embeddings = embed_tracks(level, labeled, 1.0, progress=False)
    assert embed_windows(level, labeled, 1.0, progress=False).rows.max() == 9
    assert fit_probe(embeddings, labeled, "note", "knn").labels.names == ("a", "b")
    assert len(ContrastiveDataset(table, RATE, 0.5)) == 10
    assert len(AudioStore.prepare(table, tmp_path / "again", RATE, progress=False)) == 10
    assert provenance_of(labeled, window_seconds=1.0)["tracks"] == {"train": 4, "valid": 3, "test": 3}


def test_a_path_is_taken_wherever_a_table_is(store, music, tmp_path, level):
    folder = tmp_path / "store"
    assert len(check_audio(music, progress=False)) == 10
    assert len(ContrastiveDataset(str(folder), RATE, 0.5)) == 10
    assert embed_tracks(level, folder, 1.0, progress=False).shape == (10, 2)
    assert len(AudioStore.prepare(music, tmp_path / "again", RATE, progress=False)) == 10
    assert set(add_splits(music)["split"]) == {"train", "valid", "test"}
    (tmp_path / "my.csv").write_text("path,split,note\n" + "".join(f"{n},train,{n % 2}\n" for n in range(4)))
    assert encode_labels(tmp_path / "my.csv", "note").names == ("0", "1")
    with pytest.raises(InputError, match="tracks: expected a table, a data frame or a path, got list"):
        check_audio(["a.wav"])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([False, True, True], [1, 2]),
        (pd.Series([True, False, True], index=[7, 8, 9]), [0, 2]),
        (pd.Series([1, None, 3], dtype="Int64") > 2, [2]),
        ([2, 0], [2, 0]),
        (torch.tensor([1]), [1]),
        (np.array([], dtype=int), []),
        ([], []),
    ],
)
def test_select_takes_masks_and_row_numbers(rows, expected):
    table = TrackTable(pd.DataFrame({"path": ["0", "1", "2"]}, index=[5, 6, 7]), "store")
    chosen = table.select(rows)
    assert chosen["path"].tolist() == list(map(str, expected))
    assert chosen.frame.index.tolist() == list(range(len(expected)))
    assert chosen.store == "store"


def test_a_table_says_what_it_expects():
    table = TrackTable(pd.DataFrame({"path": ["0", "1", "2"]}))
    with pytest.raises(InputError, match="rows: expected 3 booleans, one for each track, got 2"):
        table.select([True, False])
    with pytest.raises(InputError, match="rows: expected booleans or row numbers, got"):
        table.select(["path"])
    with pytest.raises(TypeError, match="column: expected a name, got Series; `select` chooses rows"):
        table[table["path"] == "0"]
    with pytest.raises(InputError, match="frame: expected a data frame, got list"):
        TrackTable([])


def test_audio_of_a_store_is_told_apart_without_its_files(store, music):
    table = store.tracks
    expected = hash_audio(table)
    for path in music.iterdir():
        path.unlink()
    bare = table.with_frame(table.frame[["path", "seconds"]])  # without the checksums
    assert hash_audio(bare) == expected
    assert len(set(expected)) == 10
