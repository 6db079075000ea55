"""Search for recordings with similar fingerprints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ssc_toolkit.evaluation.leaks.fingerprints import Fingerprints

MIN_SIMILARITY = 0.2
"""Similarity of fingerprints from which two recordings are near-duplicates."""
MIN_COMMON = 8
"""Minimum number of common landmarks of near-duplicates."""

_FEW_LANDMARKS = 128  # up to this size, fingerprints of different pieces with the same notes and tempo can be similar
_UNIQUE_FACTOR = 1.5  # such fingerprints need this multiple of the common landmarks at any other distance in time
_NEAR_FRAMES = 3  # up to this difference, two distances are the same

_BLOCK = 1 << 19  # number of common landmarks of queries and items that are in memory at once
_INDEXED = 1 << 18  # number of landmarks of items that are in an index, those of about four hours
_LOOKED_UP = 1 << 20  # number of landmarks of queries that are looked up at once
_MAX_OCCURRENCES = 500  # a landmark that occurs more often in an index is ignored
_OFFSETS = 1 << 18  # number of possible differences of two positions, with a margin


@dataclass(frozen=True)
class Matches:
    """Best match of each query that has one.

    Attributes:
        queries: (matches,) row numbers of the queries, in ascending order.
        items: (matches,) row number of the most similar item of each query.
        similarities: (matches,) similarities, from `MIN_SIMILARITY` to 1.
    """

    queries: np.ndarray
    items: np.ndarray
    similarities: np.ndarray


def find_matches(
    queries: Fingerprints,
    items: Fingerprints,
    query_ids: np.ndarray | None = None,
    item_ids: np.ndarray | None = None,
) -> Matches:
    r"""Find the items that are near-duplicates of each query, and return the most similar one.

    The similarity of two fingerprints A and B is the number of common landmarks that have the same distance in time in
    both recordings, divided by the number of landmarks of the smaller fingerprint. The common landmarks of different
    pieces with similar notes have different distances. If a fingerprint was limited to the landmarks up to a value
    t, only the landmarks up to t of the other fingerprint are counted. A part of a recording is thus similar to the
    whole recording.

    Landmarks that occur very often in the items are not counted, neither as common ones nor in the size of a
    fingerprint. The memory does not depend on the product of the numbers of queries and items.

    Args:
        queries: fingerprints of the queries.
        items: fingerprints of the items.
        query_ids: (queries,) integer of each query. Items with the same integer are not matches of the query.
        item_ids: (items,) integer of each item.

    Returns:
        The matches with a similarity of at least `MIN_SIMILARITY` and at least `MIN_COMMON` common landmarks. If the
        smaller fingerprint has fewer than 128 landmarks, no other distance in time has two thirds as many common ones,
        as in different pieces with the same notes and tempo.
    """
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))]
    for item_rows in _parts(items, _INDEXED):
        indexed = items.select(item_rows)
        frequent = _frequent_landmarks(indexed)
        index = _Index.of(indexed.without(frequent))
        for rows in _parts(queries, _LOOKED_UP):
            part = queries.select(rows).without(frequent)
            for first, places, query_places in index.lookups(part):
                if query_ids is not None and item_ids is not None:
                    kept = query_ids[rows[first]] != item_ids[item_rows[index.rows[places]]]
                    first, places, query_places = first[kept], places[kept], query_places[kept]
                query, item, similarities = _best(part, index, first, places, query_places)
                found.append((rows[query], item_rows[item], similarities))
    first, second, similarities = (np.concatenate(part) for part in zip(*found, strict=True))
    best = _choose_best(first, similarities)
    return Matches(first[best], second[best], similarities[best])


def _parts(own: Fingerprints, landmarks: int) -> list[np.ndarray]:
    """Return the row numbers of the tracks in parts, each with about so many landmarks."""
    part = (np.cumsum(own.counts) - own.counts) // landmarks
    return np.split(np.arange(len(own)), np.flatnonzero(np.diff(part)) + 1)


def _frequent_landmarks(items: Fingerprints) -> np.ndarray:
    """Return the landmarks that occur too often to identify a recording."""
    landmarks, counts = np.unique(items.landmarks, return_counts=True)
    return landmarks[counts > _MAX_OCCURRENCES]


def _choose_best(first: np.ndarray, similarities: np.ndarray) -> np.ndarray:
    """Return the indices of the most similar pair of each query `first`, in ascending order of the queries."""
    order = np.lexsort((-similarities, first))
    return order[np.unique(first[order], return_index=True)[1]]


@dataclass(frozen=True)
class _Index:
    """Landmarks of the items, sorted by value, with the row and frame of each, and the fingerprints of the items."""

    landmarks: np.ndarray
    rows: np.ndarray
    frames: np.ndarray
    items: Fingerprints

    @classmethod
    def of(cls, items: Fingerprints) -> _Index:
        order = np.argsort(items.landmarks, kind="stable")
        return cls(items.landmarks[order], items.rows[order].astype(np.int32), items.frames[order], items)

    def lookups(self, queries: Fingerprints) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield blocks of common landmarks of whole queries.

        Yields:
            The row number of the query of each common landmark, its place in this index, and its place in `queries`.
        """
        low = np.searchsorted(self.landmarks, queries.landmarks, side="left")
        common = np.searchsorted(self.landmarks, queries.landmarks, side="right") - low
        ends = np.cumsum(queries.counts)
        totals = np.concatenate([[0], np.cumsum(common)])[ends] if len(ends) else ends
        first_track = 0
        while first_track < len(queries):
            first = ends[first_track] - queries.counts[first_track]
            before = totals[first_track - 1] if first_track else 0
            last_track = max(first_track + 1, int(np.searchsorted(totals, before + _BLOCK, side="right")))
            own = slice(first, ends[last_track - 1])
            size = common[own]
            query_places = np.repeat(np.arange(own.start, own.stop), size)
            inner = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
            rows = np.repeat(np.arange(first_track, last_track), queries.counts[first_track:last_track])
            yield np.repeat(rows, size), np.repeat(low[own], size) + inner, query_places
            first_track = last_track


def _best(
    queries: Fingerprints, index: _Index, rows: np.ndarray, places: np.ndarray, query_places: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the queries, items and similarities of the best matches, given common landmarks from `lookups`."""
    others = index.rows[places].astype(np.int64)
    offsets = index.frames[places].astype(np.int64) - queries.frames[query_places].astype(np.int64) + _OFFSETS // 2
    pairs, aligned, elsewhere = _count_aligned(rows * len(index.items) + others, offsets)
    enough = aligned >= MIN_COMMON
    pairs, aligned, elsewhere = pairs[enough], aligned[enough], elsewhere[enough]
    first, second = np.divmod(pairs, max(1, len(index.items)))
    sizes = _smaller_sizes(queries, index.items, first, second)
    similarities = aligned / np.maximum(sizes, MIN_COMMON)
    kept = (similarities >= MIN_SIMILARITY) & ((sizes >= _FEW_LANDMARKS) | (aligned >= _UNIQUE_FACTOR * elsewhere))
    first, second, similarities = first[kept], second[kept], np.minimum(similarities[kept], 1.0)
    best = _choose_best(first, similarities)
    return first[best], second[best], similarities[best]


def _count_aligned(pairs: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct pairs, the highest number of common landmarks of each with the same offset, and the next one.

    The next one is the highest number at an offset that differs by more than `_NEAR_FRAMES` from that of the highest.

    Args:
        pairs: (common landmarks,) number of the pair of tracks.
        offsets: (common landmarks,) distance in time, in frames. Neighboring offsets are counted together, because the
            true distance is between two frames.
    """
    keys, counts = np.unique(pairs * _OFFSETS + offsets, return_counts=True)
    follows = np.flatnonzero(np.diff(keys) == 1)
    together = counts.copy()
    together[follows] += counts[follows + 1]
    distinct, first, pair = np.unique(keys // _OFFSETS, return_index=True, return_inverse=True)
    if not len(first):
        return distinct, together, together
    highest = np.maximum.reduceat(together, first)
    best = keys[np.flatnonzero(together == highest[pair])]
    best = best[np.unique(best // _OFFSETS, return_index=True)[1]]
    is_near = np.abs(keys - best[pair]) <= _NEAR_FRAMES
    return distinct, highest, np.maximum.reduceat(np.where(is_near, 0, together), first)


def _smaller_sizes(queries: Fingerprints, items: Fingerprints, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the number of landmarks of the smaller fingerprint of each pair, up to the limit of both."""
    sizes = []
    limit = np.minimum(queries.limits[first], items.limits[second])
    for own, rows in ((queries, first), (items, second)):
        ends = np.cumsum(own.counts)
        parts = zip(ends[rows] - own.counts[rows], ends[rows], limit, strict=True)
        sizes.append([int(np.searchsorted(own.landmarks[low:high], most, "right")) for low, high, most in parts])
    return np.minimum(*np.array(sizes, dtype=np.int64).reshape(2, -1))
