"""The data module: label budget, arguments, batches."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from ssc_toolkit.data import ContrastiveDataset, TrackTable, check_audio, encode_labels, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.samplers import BalancedBatchSampler
from ssc_toolkit.training import SemiSupConDataModule
from ssc_toolkit.training.dataset_factory import select_training_rows


def test_the_data_module_uses_no_more_labels_than_the_budget(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = encode_labels(tracks, "note")
    data = SemiSupConDataModule(
        ContrastiveDataset(tracks, 16000, 0.5, labels=labels), batch_size=8, label_budget=0.25, seed=1
    )
    loader = iter(data.train_dataloader())
    seen = {}
    for _ in range(20):
        batch = next(loader)
        seen |= dict(
            zip(batch["item"][batch["labeled"]].tolist(), batch["labels"][batch["labeled"]].tolist(), strict=True)
        )
    assert len(seen) == 3
    assert set(seen.values()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"workers": -1}, "workers: expected an integer of at least 0, got -1"),
        ({"workers": 1.5}, "workers: expected an integer of at least [01], got 1.5"),
        ({"batch_size": 0}, "batch_size: expected an integer of at least 1"),
        ({"batch_size": "8"}, "batch_size: expected an integer of at least [01], got '8'"),
        ({"labeled_fraction": 2}, "labeled_fraction: expected a fraction from 0 to 1"),
        ({"label_budget": 0}, "label_budget: expected a fraction above 0"),
        ({"label_budget": float("nan")}, "label_budget: expected a fraction above 0"),
        ({"seed": -1}, "seed: expected an integer of at least 0"),
    ],
)
def test_a_data_module_checks_its_arguments_at_construction(music, options, words):
    dataset = ContrastiveDataset(load_tracks(music / "my.csv").assign(seconds=1.5), 16000, 0.5)
    with pytest.raises(InputError, match=words):
        SemiSupConDataModule(dataset, **options)


def test_a_track_without_a_split_is_trained_on():
    table = TrackTable(pd.DataFrame({"path": list("abcd"), "split": ["train", "test", None, "valid"]}))
    assert select_training_rows(table)["path"].tolist() == ["a", "c"]
    with pytest.raises(InputError, match="tracks: expected rows with the split 'train'"):
        select_training_rows(table.select(table["split"] == "test"))


def test_several_signals_share_one_budget(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = {column: encode_labels(tracks, column) for column in ("note", "range")}
    dataset = ContrastiveDataset(tracks, 16000, 0.5, labels=labels)
    data = SemiSupConDataModule(dataset, batch_size=8, label_budget=0.4, seed=1)
    inside = set(data.labeled_rows()[data.budget()].tolist())
    either = labels["note"].labeled | labels["range"].labeled
    assert len(inside) == round(0.4 * int(either.sum()))
    for signal in labels.values():  # every class of every signal
        rows = torch.tensor([row for row in inside if signal.labeled[row]])
        assert set(signal.values[rows].tolist()) == set(range(len(signal.names)))
    loader = iter(data.train_dataloader())
    for _ in range(10):
        batch = next(loader)
        for place, row in enumerate(batch["item"].tolist()):
            for name, signal in labels.items():
                shown = bool(batch["labeled"][name][place])
                assert shown <= (row in inside and bool(signal.labeled[row]))
                assert not shown or batch["labels"][name][place] == signal.values[row]
            # All that an item has is shown, or nothing.
            masks = {bool(batch["labeled"][name][place]) for name in labels if labels[name].labeled[row]}
            assert len(masks) <= 1


def test_another_batch_sampler(music):
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = encode_labels(tracks, "note")
    sampler = BalancedBatchSampler(labels.values, 3, 2, labeled=labels.labeled)
    data = SemiSupConDataModule(ContrastiveDataset(tracks, 16000, 0.5, labels=labels), batch_sampler=sampler)
    batch = next(iter(data.train_dataloader()))
    assert batch["labels"].sort().values.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(data.budget()) == 12
