"""Colors of the points of an interactive map by a label column."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ssc_toolkit.data.labels import Labels

MAX_COLORS = 40
_TAGS = 8  # number of the most frequent tags of a column, each with its own coloring
_BINS = 5  # number of ranges of a column of numbers


def make_colorings(labels: Labels, column: str) -> list[dict[str, Any]]:
    """Return one or more colorings of tracks (classes of points) by a label column.

    A column of classes has one coloring. A column of tags has one coloring for each of its 8 most frequent tags. A
    column of numbers has one coloring with 5 ranges.

    Args:
        labels: labels of the tracks.
        column: name of the column.

    Returns:
        A dictionary for each coloring, with its `name`, the names of its `classes`, `values` (the index of the class of
        each track, -1 if unknown), and `ordered` (whether the classes are ranges of numbers).
    """
    known = labels.labeled.numpy()
    if not known.any():
        return []
    if labels.kind == "number":
        return _ranges(column, labels)
    if not labels.is_multi_hot:
        return [_most_frequent(column, np.where(known, labels.values.numpy(), -1), labels.names)]
    hot = labels.values.numpy() > 0
    counts = hot[known].sum(axis=0)
    frequent = np.argsort(-counts, kind="stable")[:_TAGS]
    return [
        _coloring(f"{column}: {labels.names[int(tag)]}", ("no", "yes"), np.where(known, hot[:, tag], -1))
        for tag in frequent
        if counts[tag]
    ]


def _coloring(name: str, classes: Sequence[str], values: np.ndarray, ordered: bool = False) -> dict[str, Any]:
    return {"name": name, "classes": list(classes), "values": values.astype(int).tolist(), "ordered": ordered}


def _most_frequent(column: str, values: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Return a coloring by class, as `make_colorings` does. Of more than 40 classes, the rare ones become "others".

    `values` are the class index of each track, -1 if unknown, and `names` are the names of the classes.
    """
    counts = np.bincount(values[values >= 0], minlength=len(names))
    present = np.flatnonzero(counts)
    kept = present
    if len(present) > MAX_COLORS:
        kept = np.sort(np.argsort(-counts, kind="stable")[: MAX_COLORS - 1])
    number = np.full(len(names) + 1, len(kept))
    number[kept] = np.arange(len(kept))
    number[-1] = -1
    others = ["others"] * (len(kept) < len(present))
    return _coloring(column, [*(names[int(index)] for index in kept), *others], number[values])


def _ranges(column: str, labels: Labels) -> list[dict[str, Any]]:
    """Return a list with the coloring of a column of numbers by ranges that contain equal numbers of tracks."""
    known, numbers = labels.labeled.numpy(), labels.values.numpy()[:, 0]
    edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _BINS + 1)))
    classes = [f"{low:.4g} to {high:.4g}" for low, high in itertools.pairwise(edges)] or [f"{edges[0]:.4g}"]
    values = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(classes) - 1)
    return [_coloring(column, classes, np.where(known, values, -1), ordered=True)]
