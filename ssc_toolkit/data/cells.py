"""Kinds of label columns, and conversion of their cells to text that does not depend on the data type of the column."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd

SEPARATOR = "|"
"""Text between the labels of a cell with several labels."""

Kind = Literal["class", "multi-hot", "number"]
"""Kinds of label columns: one class in each cell, any number of classes, or a real number."""


def format_cell(cell: Any) -> str:
    """Return the text of a table cell that is not missing. A whole number has the same text as integer and as float.

    Examples:
        >>> format_cell(1), format_cell(1.0), format_cell(1.5), format_cell(9007199254740993), format_cell("01")
        ('1', '1', '1.5', '9007199254740993', '01')
    """
    is_number = isinstance(cell, numbers.Real) and not isinstance(cell, bool)
    if is_number and not isinstance(cell, numbers.Integral) and np.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    return str(cell)


def format_cells(cells: Iterable[Any]) -> list[str | None]:
    """Return a list with the text of each table cell, or None if the cell is missing (None, NaN or NA).

    Examples:
        >>> format_cells([1, 1.0, None, float("nan"), "x"])
        ['1', '1', None, None, 'x']
    """
    # An object column keeps integers next to missing values; without it, integers with NaN would become floats.
    return [None if pd.isna(cell) else format_cell(cell) for cell in pd.Series(cells, dtype=object)]
