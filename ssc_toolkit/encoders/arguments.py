"""Checks of constructor arguments, and their conversion to plain Python values."""

from __future__ import annotations

import math
import operator
from typing import Any


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return an integer of Python, NumPy or PyTorch as a Python int.

    Raises:
        ValueError: if the value is not an integer, or is below `least`.

    Examples:
        >>> import numpy as np
        >>> whole("channels", np.int64(32))
        32
        >>> whole("channels", 2.5)
        Traceback (most recent call last):
        ValueError: channels: expected a positive integer, got 2.5
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise ValueError(f"{name}: expected {kind}, got {value!r}")
    return number


def real(name: str, value: Any, unit: str = "", *, zero: bool = False) -> float:
    """Return a positive finite number as a Python float; if `zero`, 0 is also allowed.

    Raises:
        ValueError: if the value is not such a number.

    Examples:
        >>> real("lowest_hz", float("nan"), "of hertz", zero=True)
        Traceback (most recent call last):
        ValueError: lowest_hz: expected a number of hertz of at least 0, got nan
    """
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (0 <= number < math.inf) or (number == 0 and not zero):
        of_unit = f" {unit}" if unit else ""
        expected = f"a number{of_unit} of at least 0" if zero else f"a positive number{of_unit}"
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
    return number


def plain(value: Any) -> Any:
    """Convert values of NumPy and PyTorch to values that JSON can represent, also inside lists, tuples and dicts.

    Examples:
        >>> import numpy as np
        >>> plain({"strides": np.full(3, 2), "sample_rate": [np.int64(16000), None]})
        {'strides': [2, 2, 2], 'sample_rate': [16000, None]}
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(element) for element in value]
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    return value
