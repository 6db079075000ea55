"""Functions that create track tables and dataset of a training from the user's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ssc_toolkit.data import ContrastiveDataset, JoinedDataset, Labels, load_tracks
from ssc_toolkit.data.labels import name_signals
from ssc_toolkit.data.store.reader import open_store_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.hashing import short_hash
from ssc_toolkit.options import SegmentOptions
from ssc_toolkit.options.tracks import TrackSource, source_named
from ssc_toolkit.training.view_samplers import make_part_sampler

Signals = Labels | dict[str, Labels] | None
"""Type of the labels of a training: None, those of one column, or those of several columns by name."""


def load_source(source: TrackSource, argument: str) -> TrackTable:
    """Load the track table that a `TrackSource` describes.

    Args:
        source: tracks, root and variant.
        argument: name of the argument that contains the source, for error messages.

    Raises:
        InputError: as for `load_tracks`. The message names the option of this source, such as `unlabeled.root`.
    """
    with source_named(argument):
        return load_tracks(source.tracks, source.root, source.variant)


def select_training_rows(table: TrackTable, argument: str = "tracks") -> TrackTable:
    """Return the rows of a table whose split is "train" or empty, or all rows if there is no `split` column.

    Raises:
        InputError: if there are no such rows.
    """
    is_train = find_training_rows(table)
    if not is_train.any():
        raise InputError(f"{argument}: expected rows with the split 'train', got none")
    return table.select(is_train)


def find_training_rows(table: TrackTable) -> torch.Tensor:
    """Return a mask, bool (tracks,), of the rows whose split is "train" or empty. All rows, without splits."""
    if "split" not in table:
        return torch.ones(len(table), dtype=torch.bool)
    return torch.tensor((table["split"].fillna("train") == "train").tolist())


def encode_training_labels(table: TrackTable, signals: Mapping[str, Labels]) -> Signals:
    """Return the labels of the training rows of a table. Their list of classes is that of the whole table.

    Args:
        table: track table.
        signals: labels of all its rows by column.

    Raises:
        InputError: if no training row has a label in a column.
    """
    is_train = find_training_rows(table)
    found = {column: signal[is_train] for column, signal in signals.items()}
    for column, signal in found.items():
        if not signal.labeled.any():
            raise InputError(f"labels: expected rows of the split 'train' with a label in column {column!r}, got none")
    return next(iter(found.values())) if len(found) == 1 else (found or None)


def find_single_class_columns(signals: Signals, columns: Sequence[str], min_shared: int) -> list[str]:
    """Return the names of the label columns in which all labeled tracks are positives of one another.

    Args:
        signals: labels of the training rows.
        columns: names of the label columns, in the order of `signals`.
        min_shared: minimum number of common labels of positives, for columns with several labels per track.
    """
    return [
        column
        for column, signal in zip(columns, name_signals(signals).values(), strict=True)
        if _all_positive(signal, min_shared)
    ]


def check_contrasts(signals: Signals, columns: Sequence[str], min_shared: int) -> None:
    """Raise InputError if all labeled tracks are positives of one another, so that batches have no negatives.

    Arguments are as for `find_single_class_columns`.
    """
    labeled = {column: signal.labeled for column, signal in zip(columns, name_signals(signals).values(), strict=True)}
    for column in find_single_class_columns(signals, columns, min_shared):
        if all(bool((labeled[column] | ~other).all()) for other in labeled.values()):
            raise InputError(
                f"labels: all labeled tracks of the split 'train' have the same label in column {column!r}, so there "
                "are no negatives with labeled_fraction=1; choose a lower labeled_fraction or another column"
            )


def make_training_dataset(
    parts: Sequence[TrackTable],
    labels: Signals,
    sample_rate: int,
    view_seconds: float,
    views: int,
    max_unusable: float,
    segments: SegmentOptions,
) -> ContrastiveDataset | JoinedDataset:
    """Create the dataset of a training.

    Args:
        parts: track table with labels and, optionally, further tables that are used without labels.
        labels: labels of the first table.
        sample_rate: sample rate of the views in hertz.
        view_seconds: length of a view in seconds.
        views: number of views of each track.
        max_unusable: maximum fraction of the tracks that may fail to decode.
        segments: tracks and positions of the views.

    Raises:
        InputError: as for `make_part_sampler`.
    """
    # Audio from stores stays in 16 bits until it is on the device.
    dtype = torch.int16 if all(part.store is not None for part in parts) else torch.float32
    datasets = [
        ContrastiveDataset(
            part,
            sample_rate,
            view_seconds,
            views,
            own,
            view_sampler=make_part_sampler(part, segments, sample_rate),
            max_unusable=max_unusable,
            dtype=dtype,
        )
        for part, own in zip(parts, (labels, *[None] * (len(parts) - 1)), strict=True)
    ]
    return datasets[0] if len(datasets) == 1 else JoinedDataset(datasets)


def _all_positive(signal: Labels, min_shared: int) -> bool:
    values = signal.values[signal.labeled]
    if signal.is_multi_hot:
        return int(values.all(dim=0).sum()) >= min_shared
    return bool((values == values[0]).all())


def check_rate(table: TrackTable, sample_rate: int) -> None:
    """Raise InputError if the tracks of a table are in an audio store that has another sample rate, in hertz."""
    open_store_of(table, sample_rate)


def hash_training_table(train: TrackTable) -> str:
    """Return a hash of the training rows of a track table, which is stored so that no run resumes with other data."""
    return short_hash(train.frame.to_csv(index=False))
