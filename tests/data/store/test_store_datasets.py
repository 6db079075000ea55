"""Datasets, embeddings and loaders that read from a store."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from audio_files import RATE
from torch.utils.data import DataLoader

from ssc_toolkit.data import ContrastiveDataset, as_float, check_audio, load_tracks, prepare_store
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import embed_tracks
from ssc_toolkit.samplers import BalancedBatchSampler, RandomSegments


def test_a_store_and_its_files_give_the_same_views(store, music):
    from_store = ContrastiveDataset(store.tracks, RATE, 0.5, views=3, view_sampler=RandomSegments())
    files = check_audio(load_tracks(music), progress=False)
    from_files = ContrastiveDataset(files, RATE, 0.5, views=3, view_sampler=RandomSegments())
    # A header may round the length of a file up where a decoder does not.
    from_files.lengths = from_store.lengths
    one, other = (
        dataset.batch([3, 1, 4, 1, 5], torch.Generator().manual_seed(0)) for dataset in (from_store, from_files)
    )
    assert one["waveforms"].shape == (5, 3, 1, RATE // 2)
    torch.testing.assert_close(one["waveforms"], other["waveforms"], atol=1e-3, rtol=0)
    assert one["item"].tolist() == [3, 1, 4, 1, 5]
    explicit = ContrastiveDataset(files, RATE, 0.5, views=3, view_sampler=RandomSegments(), store=store)
    again = explicit.batch([3, 1, 4, 1, 5], torch.Generator().manual_seed(0))
    assert torch.equal(again["waveforms"], one["waveforms"])


def test_part_of_a_table_still_reads_from_the_store(store, music):
    part = store.tracks.select(store.tracks["seconds"] > 2)
    for path in music.iterdir():
        path.unlink()
    waveforms = ContrastiveDataset(part, RATE, 0.5)[0]["waveforms"]
    assert waveforms.abs().max() > 0.01

    class Level:
        sample_rate = RATE

        def __call__(self, waveforms):
            return waveforms.square().mean(dim=2)

    embedded = embed_tracks(Level(), part, 1.0, progress=False)
    expected = [float(store[int(store.rows_of([path])[0])][: 2 * RATE].square().mean()) for path in part["path"]]
    np.testing.assert_allclose(embedded[:3, 0], expected[:3], rtol=0.2)
    with pytest.raises(InputError, match="lacks 1 of 2 tracks, such as nothing"):
        store.rows_of([part["path"][0], "nothing.wav"])


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_loader_read_what_the_main_process_reads(store, context):
    dataset = ContrastiveDataset(store.tracks, RATE, 0.5)
    dataset.batch([0, 1])  # shards are open in the parent
    sampler = BalancedBatchSampler(torch.arange(10) % 2, classes_per_batch=2, items_per_class=2, steps=4)
    loader = DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=2, multiprocessing_context=context)
    batches = list(loader)
    assert [batch["waveforms"].shape for batch in batches] == [(4, 2, 1, RATE // 2)] * 4
    for batch in batches:
        for item, views in zip(batch["item"], batch["waveforms"], strict=True):
            whole = store[int(item)]
            for view in views[:, 0]:
                starts = (whole[: len(whole) - len(view) + 1] == view[0]).nonzero()[:, 0].tolist()
                assert any(torch.equal(whole[start : start + len(view)], view) for start in starts)
    assert len(pickle.dumps(store)) < 1000


@pytest.mark.parametrize("workers", [0, 2])
def test_sixteen_bits_are_the_same_waveforms(store, workers):
    halves, floats = (ContrastiveDataset(store.tracks, RATE, 0.5, dtype=kind) for kind in (torch.int16, torch.float32))
    sampler = BalancedBatchSampler(torch.arange(10) % 2, classes_per_batch=2, items_per_class=2, steps=3)
    loader = DataLoader(halves, sampler=sampler, batch_size=None, num_workers=workers)
    assert {batch["waveforms"].dtype for batch in loader} == {torch.int16}
    one, other = (dataset.batch([1, 2], torch.Generator().manual_seed(0))["waveforms"] for dataset in (halves, floats))
    assert torch.equal(as_float(one), other)
    assert torch.equal(as_float(other), other)
    with pytest.raises(ValueError, match="expected float32 without a store"):
        ContrastiveDataset(pd.DataFrame({"path": ["a"], "seconds": [1.0]}), RATE, 0.5, dtype=torch.int16)
    with pytest.raises(ValueError, match="expected float32 or int16"):
        store.read([0], [0], 10, torch.float64)


@pytest.mark.parametrize("kind", [torch.int32, torch.int64, torch.uint8, torch.int8, torch.bool, torch.complex64])
def test_as_float_refuses_other_integer_types(kind):
    with pytest.raises(InputError, match=f"^waveforms: expected floating point or torch.int16, got {kind}$"):
        as_float(torch.ones(2, 1, 3, dtype=kind))


@pytest.mark.slow
def test_a_dataset_in_another_process_keeps_its_rows(store, music, tmp_path):
    dataset = ContrastiveDataset(store.tracks, RATE, 0.5)
    loader = DataLoader(dataset, batch_size=4, num_workers=1, multiprocessing_context="spawn")
    assert len(list(loader)) == 3
    backwards = load_tracks(music).select(range(9, -1, -1))
    prepare_store(backwards, tmp_path / "store", RATE, progress=False)
    with pytest.raises(InputError, match="was prepared again since it was opened"):
        pickle.loads(pickle.dumps(dataset))
    assert dataset[0]["waveforms"].shape == (2, 1, RATE // 2)  # what was opened stays open


def test_your_own_table_needs_only_paths(store, music):
    mine = pd.DataFrame({"path": [str(music / "1.flac"), str(music / "0.wav")]})
    dataset = ContrastiveDataset(mine, RATE, 0.5, store=store)
    assert dataset.lengths.tolist() == store.lengths[store.rows_of(mine["path"])].tolist()
    for index in (-1, 2):
        with pytest.raises(IndexError, match="expected 0 to 1"):
            dataset[index]
    with pytest.raises(ValueError, match="expected integers"):
        store.read([0.5], [0], 10)
    with pytest.raises(ValueError, match="expected two vectors of equal length"):
        store.read([0, 1], [0], 10)
