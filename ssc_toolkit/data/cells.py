"""Cells of a track table as text: the same thing has the same text, whatever the type of its column."""

from __future__ import annotations

import numbers
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd


def cell_text(cell: Any) -> str:
    """Return the text of a cell that is known; a whole number has the same text as an integer or a float.

    Examples:
        >>> cell_text(1), cell_text(1.0), cell_text(1.5), cell_text(9007199254740993), cell_text("01")
        ('1', '1', '1.5', '9007199254740993', '01')
    """
    is_number = isinstance(cell, numbers.Real) and not isinstance(cell, bool)
    if is_number and not isinstance(cell, numbers.Integral) and np.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    return str(cell)


def cell_texts(cells: Iterable[Any]) -> list[str | None]:
    """Return the texts of cells, None where a cell is unknown (None, NaN or NA).

    Examples:
        >>> cell_texts([1, 1.0, None, float("nan"), "x"])
        ['1', '1', None, None, 'x']
    """
    # A column of objects keeps integers next to gaps as they are; an array of integers with NaN would be of floats.
    return [None if pd.isna(cell) else cell_text(cell) for cell in pd.Series(cells, dtype=object)]
