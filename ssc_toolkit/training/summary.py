"""Summary of the data of a training, and warnings about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ssc_toolkit.data.labels import name_signals
from ssc_toolkit.samplers import SemiSupervisedBatchSampler, uncovered_classes
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.dataset_factory import Signals, find_single_class_columns

_UNITS = {"class": "classes", "multi-hot": "labels", "number": "numbers"}


def summary(data: SemiSupConDataModule, signals: Signals, columns: Sequence[str]) -> str:
    """Return a line of text with the numbers of tracks, labeled tracks and classes of a training.

    `signals` are the labels of the training tracks, and `columns` the names of the label columns.
    """
    count = len(data.dataset)
    if signals is None:
        return f"{count} tracks, no labels"
    parts = [f"{len(signal.names)} {_UNITS[signal.kind]}" for signal in name_signals(signals).values()]
    return f"{count} tracks, {len(data.budget())} of them labeled with {' or '.join(columns)}, {' and '.join(parts)}"


def list_warnings(
    data: SemiSupConDataModule, signals: Signals, columns: Sequence[str], min_shared: int, processes: int
) -> Iterator[str]:
    """Yield warnings about the data of a training, as lines of text.

    The warnings are about label columns with a single class, classes without a labeled track, and tracks that are
    repeated in a batch.
    """
    for column in find_single_class_columns(signals, columns, min_shared):
        yield (
            f"labels: all labeled tracks of the split 'train' have the same label in column {column!r}, so all "
            "pairs of them are positives"
        )
    yield from _uncovered(data, signals)
    sampler = data.batch_sampler(processes)
    if isinstance(sampler, SemiSupervisedBatchSampler):
        yield from _repeated(sampler)


def _uncovered(data: SemiSupConDataModule, signals: Signals) -> Iterator[str]:
    rows = data.labeled_rows()[data.budget()]
    for signal in name_signals(signals).values():
        if signal.kind == "number":
            continue
        rows_of_signal = rows[signal.labeled[rows]]
        known = signal.labeled.nonzero()[:, 0]
        missing = uncovered_classes(signal.values[known], torch.isin(known, rows_of_signal).nonzero()[:, 0])
        if len(missing):
            names = ", ".join(signal.names[number] for number in missing.tolist())
            yield f"label_budget: {len(missing)} classes have no labeled track within the budget: {names}"


def _repeated(sampler: SemiSupervisedBatchSampler) -> Iterator[str]:
    """Yield a warning if a batch needs more labeled or unlabeled tracks than there are, so that tracks are repeated."""
    if sampler.shares_pool and len(sampler.labeled) < sampler.batch_size:
        yield (
            f"batch_size: a batch needs {sampler.batch_size} tracks and there are {len(sampler.labeled)}, so it "
            "contains tracks twice, with and without their labels; a smaller batch avoids this"
        )
        return
    labeled = round(sampler.labeled_fraction * sampler.batch_size, 6)  # in floating point, 0.1 * 30 is above 3
    for kind, wanted, pool, effect in (
        ("labeled", math.ceil(labeled), sampler.labeled, "with different views"),
        (
            "unlabeled",
            math.ceil(sampler.batch_size - labeled),
            sampler.unlabeled,
            "which are then positives of each other",
        ),
    ):
        if wanted > len(pool):
            yield (
                f"batch_size: a batch needs {wanted} {kind} tracks and there are {len(pool)}, so it contains tracks "
                f"several times, {effect}; a smaller batch avoids this"
            )
