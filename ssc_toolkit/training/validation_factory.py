"""Functions that create the validation set of a training from the user's options."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ssc_toolkit.data import ContrastiveDataset, Labels
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.validation import MEASURES, NEIGHBOR_AGREEMENT, PROBE_SCORE
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.dataset_factory import find_training_rows
from ssc_toolkit.training.validation import ValidationSet
from ssc_toolkit.training.view_samplers import make_view_sampler

_MIN_VIEWS = 2
_MIN_TRACKS = 2
"""Minimum number of tracks, because the contrastive loss of a track needs other tracks as negatives."""


def check_validation_split(table: TrackTable, signals: Mapping[str, Labels], options: PretrainOptions) -> None:
    """Raise InputError if the tracks lack what the monitored measure needs. No audio file is opened.

    Args:
        table: track table of the labeled tracks.
        signals: labels of all its rows by column.
        options: options of the training.
    """
    monitor, column = options.validation.monitor, options.validation_column
    if monitor is None:
        return
    if "split" not in table:
        raise InputError(
            "validation.monitor: expected tracks with a column 'split' that has rows 'valid', got no such column; "
            "ssc_toolkit.data.add_splits adds one"
        )
    is_valid = _is_valid(table)
    if is_valid.sum() < _MIN_TRACKS:
        raise InputError(
            f"validation.monitor: expected at least {_MIN_TRACKS} tracks with the split 'valid', got "
            f"{int(is_valid.sum())}"
        )
    if monitor == "val_alignment" and options.views < _MIN_VIEWS:
        raise InputError(f"validation.monitor: expected another measure with views=1, got {monitor}")
    if not MEASURES[monitor].needs_labels:
        return
    assert column is not None  # checked with the options
    labels = signals[column]
    if monitor == NEIGHBOR_AGREEMENT and labels.kind == "number":
        raise InputError(
            f"validation.monitor: expected {PROBE_SCORE} or another measure with the numbers in column {column!r}, "
            f"because {monitor} compares classes, got {monitor}"
        )
    count = int((is_valid & labels.labeled).sum())
    if count < _MIN_TRACKS:
        raise InputError(
            f"validation.monitor: expected at least {_MIN_TRACKS} tracks with the split 'valid' and a label in column "
            f"{column!r} with {monitor}, got {count}"
        )
    if monitor == PROBE_SCORE and not (find_training_rows(table) & labels.labeled).any():
        raise InputError(
            f"validation.monitor: expected tracks with the split 'train' and a label in column {column!r} with "
            f"{monitor}, got none"
        )


def make_validation_set(
    table: TrackTable, signals: Mapping[str, Labels], options: PretrainOptions, batches: SemiSupConDataModule
) -> ValidationSet | None:
    """Return the validation set of a training, or None without validation or with fewer than two validation tracks.

    The probe uses the labels that the training uses. If its column is not one of `labels`, it uses all labels of the
    training tracks.

    Args:
        table: track table of the labeled tracks, without unusable files.
        signals: labels of all its rows by column.
        options: options of the training.
        batches: data module of the training batches.

    Raises:
        InputError: as for `check_validation_split`.
    """
    check_validation_split(table, signals, options)
    is_valid = _is_valid(table)
    if not options.validation.every or is_valid.sum() < _MIN_TRACKS:
        return None
    is_train = find_training_rows(table)
    own = [signals[column][is_valid] for column in options.signal_names]
    named = dict(zip(options.signal_names, own, strict=True))
    labels = own[0] if len(own) == 1 else named or None
    dataset, training = (
        ContrastiveDataset(
            table.select(rows),
            batches.dataset.sample_rate,
            options.view_seconds,
            options.views,
            known,
            make_view_sampler(options.segments, batches.dataset.sample_rate),
            max_unusable=1.0,  # the files are checked before the training, and a damaged one must not end it
        )
        for rows, known in ((is_valid, labels), (is_train, None))
    )
    column = options.validation_column
    return ValidationSet(
        dataset,
        None if column is None else signals[column][is_valid],
        training,
        None if column is None else _used_labels(signals[column][is_train], column, options, batches),
        options.batch_size,
        options.validation.max_tracks,
        options.seed,
    )


def _used_labels(labels: Labels, column: str, options: PretrainOptions, batches: SemiSupConDataModule) -> Labels:
    """Return the labels of the training rows that are known to the training, for a column that it uses."""
    if column not in options.signal_names:
        return labels
    used = torch.zeros_like(labels.labeled)
    used[batches.labeled_rows()[batches.budget()]] = True
    return Labels(labels.values, labels.labeled & used, labels.names, labels.kind)


def _is_valid(table: TrackTable) -> torch.Tensor:
    """Return a mask, bool (tracks,), of the tracks with the split "valid"."""
    if "split" not in table:
        return torch.zeros(len(table), dtype=torch.bool)
    return torch.tensor((table["split"] == "valid").tolist())
