"""What a run is made of, in a line, and what is odd about it without being wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ssc_toolkit.data.labels import signals_of
from ssc_toolkit.samplers import SemiSupervisedBatchSampler, uncovered_classes
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.sources import Signals, columns_alike


def summary(data: SemiSupConDataModule, signals: Signals, columns: Sequence[str]) -> str:
    """What is trained on, in one line."""
    count = len(data.dataset)
    if signals is None:
        return f"{count} tracks, no labels"
    told = [
        f"{len(signal.names)} {'labels' if signal.is_multi_hot else 'classes'}"
        for signal in signals_of(signals).values()
    ]
    return f"{count} tracks, {len(data.budget())} of them with {' or '.join(columns)}, {' and '.join(told)}"


def remarks(
    data: SemiSupConDataModule, signals: Signals, columns: Sequence[str], minimum_shared: int, processes: int
) -> Iterator[str]:
    """Warnings, a line each: labels that tell nothing apart, classes without a label, tracks twice in a batch."""
    for column in columns_alike(signals, columns, minimum_shared):
        yield (
            f"labels: all tracks of split 'train' that have a label in column {column!r} have the same, so all "
            "pairs of them are positives"
        )
    yield from _uncovered(data, signals)
    sampler = data.batch_sampler(processes)
    if isinstance(sampler, SemiSupervisedBatchSampler):
        yield from _repeated(sampler)


def _uncovered(data: SemiSupConDataModule, signals: Signals) -> Iterator[str]:
    rows = data.labeled_rows()[data.budget()]
    for signal in signals_of(signals).values():
        rows_of_signal = rows[signal.labeled[rows]]
        known = signal.labeled.nonzero()[:, 0]
        missing = uncovered_classes(signal.values[known], torch.isin(known, rows_of_signal).nonzero()[:, 0])
        if len(missing):
            names = ", ".join(signal.names[number] for number in missing.tolist())
            yield f"{len(missing)} classes have no label within the budget: {names}"


def _repeated(sampler: SemiSupervisedBatchSampler) -> Iterator[str]:
    """Sides of a batch that need more tracks than there are."""
    labeled = round(sampler.labeled_fraction * sampler.batch_size, 6)  # 0.1 * 30 is a little more than 3
    for kind, wanted, pool, effect in (
        ("labelled", math.ceil(labeled), sampler.labeled, "with other views"),
        ("unlabelled", math.ceil(sampler.batch_size - labeled), sampler.unlabeled, "as a contrast of itself"),
    ):
        if wanted > len(pool):
            yield (
                f"batch_size: a batch takes {wanted} {kind} tracks and there are {len(pool)}, so a track comes several "
                f"times in it, {effect}; a smaller batch avoids that"
            )
