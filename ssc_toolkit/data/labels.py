"""Conversion of the label columns of a track table to tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit.data.cells import SEPARATOR, Kind, format_cell
from ssc_toolkit.data.track_table import Tracks
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.samplers.label_budget import find_labeled_pairs

_WHOLE = re.compile(r"-?[0-9]+")


@dataclass(frozen=True)
class Labels:
    """Labels of N tracks from one label column, or from several columns of numbers.

    Attributes:
        values: (N,) int64 class indices, (N, classes) float32 multi-hot rows, or (N, columns) float32 numbers.
        labeled: (N,) bool, True if the label of the track is known.
        names: class names in the order of their indices, or names of the number columns.
        kind: "class" for one class per track, "multi-hot" for any number of classes, or "number" for real numbers.
    """

    values: Tensor
    labeled: Tensor
    names: tuple[str, ...]
    kind: Kind = "class"

    @property
    def is_multi_hot(self) -> bool:
        return self.kind == "multi-hot"

    def __getitem__(self, rows: Tensor) -> Labels:
        return Labels(self.values[rows], self.labeled[rows], self.names, self.kind)


def name_signals(labels: Labels | Mapping[str, Labels] | None) -> dict[str, Labels]:
    """Return labels as a dictionary by name. A single `Labels` gets the empty string as its name."""
    if labels is None:
        return {}
    return {"": labels} if isinstance(labels, Labels) else dict(labels)


def find_labeled_rows(labels: Labels | Mapping[str, Labels] | None, count: int) -> Tensor:
    """Return a mask, bool (count,), that is True for the rows of a table that have at least one known label."""
    known = torch.zeros(count, dtype=torch.bool)
    for signal in name_signals(labels).values():
        known = known | signal.labeled
    return known


def list_classes_of_rows(labels: Labels | Mapping[str, Labels]) -> Tensor:
    """Return the classes of each row as one tensor, which can be passed to `label_budget`.

    Returns:
        For a single `Labels` of classes, its values. Otherwise a sparse tensor of multi-hot rows (N, classes of all
        labels). Unknown labels are zero. Labels of the kind "number" are omitted.

    Examples:
        >>> known = torch.tensor([True, False])
        >>> key = Labels(torch.tensor([1, 0]), known, ("C", "G"))
        >>> tags = Labels(torch.tensor([[0.0, 0], [1, 1]]), ~known, ("jazz", "piano"), "multi-hot")
        >>> list_classes_of_rows({"key": key, "tags": tags}).to_dense().tolist()
        [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]
    """
    if isinstance(labels, Labels):
        if labels.kind != "number":
            return labels.values
        labels = {"": labels}
    blocks, classes, count = [], 0, 0
    for signal in labels.values():
        count = len(signal.labeled)
        if signal.kind != "number":
            row, column = find_labeled_pairs(signal.values, signal.labeled, "rows")
            blocks.append(torch.stack([row, column + classes]))
            classes += max(1, len(signal.names))
    places = torch.cat(blocks, dim=1) if blocks else torch.empty(2, 0, dtype=torch.int64)
    return torch.sparse_coo_tensor(
        places, torch.ones(places.shape[1]), (count, classes), check_invariants=True
    ).coalesce()


def encode_labels(
    tracks: Tracks,
    column: str | Sequence[str],
    argument: str = "labels",
    *,
    kind: Kind | None = None,
    names: Sequence[str] | None = None,
    separator: str = SEPARATOR,
) -> Labels:
    """Convert a label column to class indices, multi-hot rows or numbers.

    An empty cell means that the label is unknown. A cell with several labels is a text with separators or a list. A
    cell that contains only the separator, or an empty list, means that the track is known to have no label.

    Args:
        tracks: track table, data frame or path of a table.
        column: name of the label column. For numbers, one or several names.
        argument: name of the caller's argument for `column`, for error messages.
        kind: "class" for one class in each cell, "multi-hot" for any number of classes, or "number" for real numbers.
            By default, the kind in the metadata of the dataset. Without metadata, "multi-hot" if a cell is a list or
            contains the separator, otherwise "class".
        names: all class names in order. By default, the names in the metadata of the dataset. Without metadata, the
            classes that occur, in alphabetical order, or in numerical order if all are integers.
        separator: text between the labels of a cell.

    Returns:
        The labels of all rows.

    Raises:
        InputError: if the column does not exist, if no row has a label, if a cell does not match `kind`, or if a label
            is not in `names`.

    Examples:
        >>> table = pd.DataFrame({"tags": ["jazz|piano", "", "piano"], "bpm": [90, 120.5, None]})
        >>> labels = encode_labels(table, "tags")
        >>> labels.names, labels.values.tolist(), labels.labeled.tolist()
        (('jazz', 'piano'), [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]], [True, False, True])
        >>> encode_labels(table, "bpm", kind="number").values.tolist()
        [[90.0], [120.5], [0.0]]
    """
    if kind not in (None, *get_args(Kind)):
        raise InputError(f"kind: expected one of {', '.join(get_args(Kind))}, got {kind!r}")
    if not separator:
        raise InputError("separator: expected a text of at least one character, got an empty text")
    tracks = as_track_table(tracks)
    columns = [column] if isinstance(column, str) else list(column)
    for name in columns:
        if name not in tracks:
            raise InputError(f"{argument}: there is no column {name!r} among {', '.join(map(repr, tracks))}")
    if kind == "number":
        return _numbers(tracks.frame[columns], argument)
    if len(columns) > 1:
        raise InputError(f"{argument}: expected one column unless kind is 'number', got {', '.join(columns)}")
    known_of_dataset = tracks.dataset.get("labels", {}).get(columns[0], {})
    kind = kind or known_of_dataset.get("kind")
    if kind == "number":
        raise InputError(f"{argument}: expected classes in column {column!r}, got real numbers")
    return _classes(tracks[columns[0]], argument, kind, names or known_of_dataset.get("names"), separator)


def _numbers(cells: pd.DataFrame, argument: str) -> Labels:
    columns = list(map(str, cells))
    numbers = cells.apply(pd.to_numeric, errors="coerce").astype("float64")
    with np.errstate(over="ignore"):
        values = torch.tensor(numbers.to_numpy(dtype=np.float32))
    known = cells.notna().to_numpy()
    for wrong, what in (
        (numbers.isna().to_numpy() & known, "numbers"),
        (values.isinf().numpy() & known, "numbers that are finite in float32"),
    ):
        if wrong.any():
            row, place = np.argwhere(wrong)[0]
            found = cells.astype(object).iat[row, place]
            raise InputError(f"{argument}: expected {what} in column {columns[place]!r}, got {found!r}")
    labeled = values.isfinite().all(dim=1)
    if not labeled.any():
        raise InputError(f"{argument}: no row has a number in {', '.join(map(repr, columns))}")
    return Labels(values.where(labeled[:, None], 0.0), labeled, tuple(columns), "number")


def _classes(cells: pd.Series, argument: str, kind: Kind | None, names: Sequence[str] | None, separator: str) -> Labels:
    if pd.api.types.is_float_dtype(cells):
        numbers = cells.dropna().astype(float)
        if (numbers % 1 != 0).any():
            raise InputError(
                f"{argument}: expected class names or integers in column {cells.name!r}, got real "
                "numbers (in Python, pass kind='number' for these)"
            )
        if (numbers.abs() >= 2**53).any():
            raise InputError(
                f"{argument}: expected text or integers (dtype Int64 if some are unknown) in column {cells.name!r}, "
                "got floats too large to distinguish neighboring integers"
            )
    are_lists = cells.map(_is_list)
    if are_lists.any() and kind == "class":
        raise InputError(f"{argument}: expected one class in each cell of column {cells.name!r}, got lists of labels")
    texts = ["" if not is_list and pd.isna(cell) else cell for cell, is_list in zip(cells, are_lists, strict=True)]
    sets = [_labels_of(cell, "" if kind == "class" else separator) for cell in texts]
    known = [labels is not None for labels in sets]
    if not any(known):
        raise InputError(
            f"{argument}: no row of column {cells.name!r} has a label; fill in some, or leave {argument} out"
        )
    if kind is None:
        are_several = are_lists.any() or any(separator in cell for cell in texts if isinstance(cell, str))
        kind = "multi-hot" if are_several else "class"
    found = {name for labels in sets for name in labels or ()}
    order = sorted(found, key=_by_size_or_name(found)) if names is None else list(map(str, names))
    index = {name: number for number, name in enumerate(order)}
    if not found <= index.keys():
        odd = sorted(found - index.keys())
        raise InputError(f"{argument}: expected one of {len(order)} classes in column {cells.name!r}, got {odd[0]!r}")
    values: Tensor
    if kind == "multi-hot":
        values = torch.zeros(len(sets), len(order))
        for row, labels in enumerate(sets):
            values[row, [index[name] for name in labels or ()]] = 1
    else:
        values = torch.tensor([index[labels[0]] if labels else 0 for labels in sets])
    return Labels(values, torch.tensor(known), tuple(order), kind)


def _labels_of(cell: Any, separator: str) -> list[str] | None:
    """Return the list of labels in a table cell, or None if they are unknown.

    If `separator` is None, the text of a cell is one label.
    """
    if _is_list(cell):
        return [text for text in (format_cell(part).strip() for part in cell) if text]
    text = format_cell(cell).strip()
    if not text:
        return None
    return [name.strip() for name in text.split(separator) if name.strip()] if separator else [text]


def _is_list(cell: Any) -> bool:
    return isinstance(cell, list | tuple | set | frozenset | np.ndarray)


def _by_size_or_name(names: set[str]) -> Any:
    """Return the sorting key of class names. If all are integers, they are sorted as numbers, otherwise alphabetically.

    Names of the same number, such as 7 and 07, are sorted alphabetically.
    """
    return (lambda name: (Decimal(name), name)) if all(map(_WHOLE.fullmatch, names)) else str
