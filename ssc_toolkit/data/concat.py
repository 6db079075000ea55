"""Concatenation of datasets, such as a labeled and an unlabeled dataset."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssc_toolkit.data.dataset import ContrastiveDataset
from ssc_toolkit.data.labels import Labels, name_signals
from ssc_toolkit.data.worker_trace import WorkerTrace
from ssc_toolkit.samplers import SampledIndex


class JoinedDataset(Dataset[dict[str, Any]]):
    """Concatenation of several datasets.

    The row numbers of each dataset continue those of the previous dataset. Items of a dataset without labels are
    unlabeled. If labels are dictionaries by name, a name that a dataset does not have is unlabeled for its items.

    Args:
        datasets: datasets with the same sample rate, view length, number of views and dtype. Labels of the same name
            must have the same classes in the same order.

    Raises:
        ValueError: if the sample rates, view lengths, numbers of views, dtypes or classes differ.

    Examples:
        >>> import tempfile, numpy, pandas, soundfile
        >>> path = tempfile.mkdtemp() + "/tone.wav"
        >>> soundfile.write(path, numpy.zeros(16000), 8000)
        >>> tracks = pandas.DataFrame({"path": [path] * 3, "seconds": [2.0] * 3})
        >>> genre = Labels(torch.tensor([0, 1, 0]), torch.ones(3, dtype=torch.bool), ("jazz", "rock"))
        >>> datasets = [ContrastiveDataset(tracks, 8000, 0.5, labels=labels) for labels in (genre, None)]
        >>> batch = JoinedDataset(datasets).batch([5, 1])
        >>> batch["item"].tolist(), batch["labels"].tolist(), batch["labeled"].tolist()
        ([5, 1], [0, 1], [False, True])
    """

    def __init__(self, datasets: Sequence[ContrastiveDataset]) -> None:
        kinds = {(part.sample_rate, part.view_length, part.views, part.dtype) for part in datasets}
        if len(kinds) != 1:
            raise ValueError(f"datasets: expected one sample rate, view length, number of views and dtype, got {kinds}")
        self.datasets = list(datasets)
        self.sample_rate, _, self.views, _ = kinds.pop()
        self._first = [0, *itertools.accumulate(len(part) for part in self.datasets)]
        self.labels = _joined([part.labels for part in self.datasets], [len(part) for part in self.datasets])

    def __len__(self) -> int:
        return self._first[-1]

    def __getitem__(self, index: int | Sequence[int]) -> dict[str, Any]:
        """Return the item with an index, or a stacked batch for a list of indices, as `ContrastiveDataset` does."""
        if isinstance(index, Sequence):
            return self.batch(index)
        number, row = self._place(index)
        return {**self.datasets[number][row], "item": torch.tensor(int(index))}

    def batch(
        self,
        indices: Sequence[int],
        generator: torch.Generator | None = None,
        part: slice | Tensor | None = None,
    ) -> dict[str, Any]:
        """Return a batch of several tracks. Arguments and result are the same as for `ContrastiveDataset.batch`."""
        wanted = torch.zeros(len(indices), dtype=torch.bool)
        wanted[slice(None) if part is None else part] = True
        places = [self._place(index) for index in indices]
        seeds = torch.randint(2**62, (len(self.datasets),), generator=generator).tolist()
        batches = []
        for number, (dataset, seed) in enumerate(zip(self.datasets, seeds, strict=True)):
            own = [place for place, (owner, _) in enumerate(places) if owner == number]
            is_read = wanted[own].nonzero()[:, 0]
            if not len(is_read):
                continue
            rows = [places[place][1] for place in own]
            found = dataset.batch(rows, torch.Generator().manual_seed(seed), is_read)
            found["item"] = found["item"] + self._first[number]
            found["places"] = torch.tensor(own)[found["places"]]
            batches.append(self._with_labels(found))
        batch = _concatenated(batches)
        places = batch["places"]
        if (places.diff() < 0).any():
            batch = _reordered(batch, places.argsort())
        if part is None:
            del batch["places"]
        return batch

    def rows_of_datasets(self) -> list[range]:
        """Return the row numbers of each dataset in the concatenation."""
        return [range(first, last) for first, last in itertools.pairwise(self._first)]

    def watch(self, notes: WorkerTrace) -> None:
        """Make each DataLoader worker record in `notes` which row it reads, for error messages."""
        for first, dataset in zip(self._first, self.datasets, strict=False):
            dataset.watch(notes, first)

    def describe_item(self, row: int) -> str:
        """Return a text with the file path of a row, and the audio store if there is one, for error messages."""
        number, own = self._place(row)
        return self.datasets[number].describe_item(own)

    def _place(self, index: int) -> tuple[int, SampledIndex]:
        """Return the position of the dataset that contains an index, and the row in this dataset.

        The row has the same attribute `labeled` as the index.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"indices: expected 0 to {len(self) - 1}, got {index}")
        number = next(k for k, last in enumerate(self._first[1:]) if index < last)
        return number, SampledIndex(index - self._first[number], getattr(index, "labeled", True))

    def _with_labels(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch with all labels of the concatenation. Labels that its dataset does not have are unknown."""
        if self.labels is None:
            return batch
        count = len(batch["item"])
        values = {name: signal.values.new_zeros(count, *signal.values.shape[1:]) for name, signal in self._signals()}
        labeled = {name: torch.zeros(count, dtype=torch.bool) for name, _ in self._signals()}
        if isinstance(self.labels, Labels):
            return {"labels": values[""], "labeled": labeled[""], **batch}
        return {
            **batch,
            "labels": {**values, **batch.get("labels", {})},
            "labeled": {**labeled, **batch.get("labeled", {})},
        }

    def _signals(self) -> list[tuple[str, Labels]]:
        return list(name_signals(self.labels).items())


def _joined(
    labels: Sequence[Labels | Mapping[str, Labels] | None], counts: Sequence[int]
) -> Labels | dict[str, Labels] | None:
    """Concatenate the labels of datasets with `counts` rows. Labels that a dataset lacks are unknown for its rows."""
    found = [name_signals(own) for own in labels]
    examples = {name: signal for own in found for name, signal in own.items()}
    if "" in examples and len(examples) > 1:
        raise ValueError(
            "datasets: expected dictionaries of labels by name in all datasets, or single labels in all datasets"
        )
    signals = {}
    for name, example in examples.items():
        parts = []
        for own, count in zip(found, counts, strict=True):
            part = own.get(name)
            if part is None:
                values = example.values.new_zeros(count, *example.values.shape[1:])
                part = Labels(values, torch.zeros(count, dtype=torch.bool), example.names, example.kind)
            if (part.names, part.kind) != (example.names, example.kind):
                raise ValueError(f"datasets: expected the same classes of labels {name!r} in all datasets")
            parts.append(part)
        values, labeled = (torch.cat([getattr(part, what) for part in parts]) for what in ("values", "labeled"))
        signals[name] = Labels(values, labeled, example.names, example.kind)
    return signals.get("", signals) if signals else None


def _concatenated(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Concatenate the tensors of batches, also in nested dictionaries."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    return {
        name: _concatenated([batch[name] for batch in batches])
        if isinstance(value, dict)
        else torch.cat([batch[name] for batch in batches])
        for name, value in first.items()
    }


def _reordered(batch: dict[str, Any], order: Tensor) -> dict[str, Any]:
    """Return a copy of a batch in which the item at position k is the item `order[k]`."""
    return {
        name: _reordered(value, order) if isinstance(value, dict) else value[order] for name, value in batch.items()
    }
