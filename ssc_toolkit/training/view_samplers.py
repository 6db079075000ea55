"""View samplers of a training from the user's options."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ssc_toolkit.data import Labels, encode_labels
from ssc_toolkit.data.store.reader import open_store_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.segments import SAME_LABEL, SegmentOptions
from ssc_toolkit.samplers import (
    AdjacentSegments,
    AudibleBlocks,
    RandomSegments,
    SameLabelTracks,
    SameSegment,
    ViewSampler,
    WeightedViews,
)

logger = logging.getLogger(__name__)

_ARGUMENT = "segments.column"


def check_view_columns(table: TrackTable, options: SegmentOptions) -> None:
    """Raise InputError unless a table has the columns of the views from other tracks, with labels in common.

    Args:
        table: training rows of the first track table.
        options: options of the views.
    """
    for column in options.columns:
        labels = encode_labels(table, column, _ARGUMENT)
        if not _has_common_label(labels):
            raise InputError(
                f"{_ARGUMENT}: expected a label that several training tracks have in column {column!r}, got only "
                "labels of single tracks"
            )


def make_part_sampler(table: TrackTable, options: SegmentOptions, sample_rate: int) -> ViewSampler:
    """Return the sampler of the views of the tracks of a table, one of those of a training.

    Args:
        table: track table. If it lacks the column of a sampler "same_label", all views of an item are from its track.
        options: options of the views.
        sample_rate: sample rate of the tracks in hertz.

    Raises:
        InputError: if silent stretches are to be avoided and the tracks are not in a store with levels, or if a column
            contains no labels.
    """
    columns = [column for column in options.columns if column in table]
    labels = {column: encode_labels(table, column, _ARGUMENT) for column in columns}
    return make_view_sampler(options, sample_rate, _audible_blocks(table, options, sample_rate), labels)


def make_view_sampler(
    options: SegmentOptions,
    sample_rate: int,
    audible: AudibleBlocks | None = None,
    labels: Mapping[str, Labels] | None = None,
) -> ViewSampler:
    """Return the sampler of the tracks and positions of views.

    Args:
        options: options of the sampler.
        sample_rate: sample rate of the tracks in hertz.
        audible: audible blocks of the tracks, by which views avoid silent stretches, or None.
        labels: labels of all tracks by column, for "same_label".
    """
    if options.mixture:
        parts = [(make_view_sampler(part, sample_rate, audible, labels), weight) for part, weight in options.parts]
        return WeightedViews(parts)
    if options.sampler == "same":
        return SameSegment(audible=audible)
    if options.sampler == "adjacent":
        return AdjacentSegments(audible=audible)
    gaps = (options.min_gap_seconds, options.max_gap_seconds)
    segments = RandomSegments(*gaps, options.overlap, sample_rate=sample_rate, audible=audible)
    own = (labels or {}).get(options.column or "")
    if options.sampler != SAME_LABEL or own is None:
        return segments
    return SameLabelTracks(own.values, own.labeled, segments)


def _has_common_label(labels: Labels) -> bool:
    """Return whether at least two tracks have a label in common."""
    known = labels.values[labels.labeled]
    counts = known.sum(0) if labels.is_multi_hot else known.long().bincount()
    return bool((counts > 1).any())


def _audible_blocks(table: TrackTable, options: SegmentOptions, sample_rate: int) -> AudibleBlocks | None:
    """Return the audible blocks of the tracks of a table, or None if silent stretches are not avoided.

    Raises:
        InputError: if the tracks are not in a store, or if the store has no levels.
    """
    if options.silence_threshold_db is None:
        return None
    store = open_store_of(table, sample_rate)
    if store is None:
        raise InputError("segments.silence_threshold_db: expected tracks from a store, got audio files")
    audible = store.audible_blocks(options.silence_threshold_db, store.rows_of(table["path"].tolist()))
    if bool(audible.is_silent.any()):
        logger.warning(
            "%d of %d tracks are silent throughout; their views are at any position",
            int(audible.is_silent.sum()), len(audible),
        )  # fmt: skip
    return audible
