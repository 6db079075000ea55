"""Label columns of a track table as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit.errors import InputError

SEPARATOR = "|"


@dataclass(frozen=True)
class Labels:
    """One label signal of N tracks.

    Attributes:
        values: (N,) int64 class indices, or (N, classes) float32 multi-hot rows.
        labeled: (N,) bool, True where the label is known.
        names: of the classes, in the order of their indices.
    """

    values: Tensor
    labeled: Tensor
    names: tuple[str, ...]

    @property
    def is_multi_hot(self) -> bool:
        return self.values.dim() == 2

    def __getitem__(self, rows: Tensor) -> Labels:
        return Labels(self.values[rows], self.labeled[rows], self.names)


def encode_labels(tracks: pd.DataFrame, column: str, argument: str = "labels") -> Labels:
    """Turn a column into class indices, or into multi-hot rows if some cell holds several labels.

    Classes are numbered in the alphabetical order of their names. An empty cell is an unknown label.

    Args:
        tracks: track table.
        column: its label column; several labels in a cell are separated by "|".
        argument: what the user calls the column, for messages.

    Raises:
        InputError: if there is no such column, no row has a label, or the labels are real numbers.

    Examples:
        >>> table = pd.DataFrame({"path": ["a", "b", "c"], "tags": ["jazz|piano", "", "piano"]})
        >>> labels = encode_labels(table, "tags")
        >>> labels.names, labels.values.tolist(), labels.labeled.tolist()
        (('jazz', 'piano'), [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]], [True, False, True])
    """
    if column not in tracks:
        raise InputError(f"{argument}: there is no column {column!r} among {', '.join(map(repr, tracks.columns))}")
    cells = tracks[column]
    if pd.api.types.is_float_dtype(cells):
        if (cells.dropna() % 1 != 0).any():
            raise InputError(f"{argument}: column {column!r} holds real numbers; expected class names or whole numbers")
        cells = cells.astype("Int64")
    known = cells.notna() & (cells.astype(str).str.strip() != "")
    if not known.any():
        raise InputError(f"{argument}: no row of column {column!r} has a label; fill in some, or leave {argument} out")
    sets = [
        [name.strip() for name in str(cell).split(SEPARATOR) if name.strip()] if is_known else []
        for cell, is_known in zip(cells, known, strict=True)
    ]
    names = tuple(sorted({name for labels in sets for name in labels}))
    index = {name: number for number, name in enumerate(names)}
    labeled = torch.tensor(known.tolist())
    if any(len(labels) > 1 for labels in sets):
        values = torch.zeros(len(sets), len(names))
        for row, labels in enumerate(sets):
            values[row, [index[name] for name in labels]] = 1
    else:
        values = torch.tensor([index[labels[0]] if labels else 0 for labels in sets])
    return Labels(values, labeled, names)
