"""Errors caused by user input, and checks that raise them."""

from __future__ import annotations

import math
import numbers
from typing import Any

_LARGE = 1e36
"""Largest allowed value: ten times as much, which an optimizer may compute, is still finite in float32."""


class InputError(ValueError):
    """Error caused by user input; the message is one line and says how to fix it.

    The command line prints the message without a traceback and exits with status 2.
    """


def at_least(name: str, value: float, least: float) -> None:
    """Raise InputError unless a number is at least `least` and less than 2**63.

    Examples:
        >>> at_least("steps", 0, 1)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: steps: expected at least 1, got 0
    """
    if not least <= value < 2**63:
        bound = f"at least {least}" if not value >= least else "less than 2**63"
        raise InputError(f"{name}: expected {bound}, got {value}")


def whole_at_least(name: str, value: Any, least: int) -> None:
    """Raise InputError unless a value is a whole number of at least `least`.

    Examples:
        >>> whole_at_least("steps", 2.5, 1)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: steps: expected a whole number, got 2.5
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise InputError(f"{name}: expected a whole number, got {value!r}")
    at_least(name, int(value), least)


def positive(name: str, value: float) -> None:
    """Raise InputError unless a number is above 0 and below 1e36.

    Examples:
        >>> positive("view_seconds", float("inf"))
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: view_seconds: expected a positive number, got inf
    """
    if not 0 < value < _LARGE:
        kind = "number below 1e36" if _LARGE <= value < math.inf else "number"
        raise InputError(f"{name}: expected a positive {kind}, got {value}")


def share(name: str, value: Any) -> None:
    """Raise InputError unless a number is between 0 and 1, inclusive.

    Examples:
        >>> share("labeled_fraction", 7)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: labeled_fraction: expected a fraction from 0 to 1, got 7
    """
    if not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise InputError(f"{name}: expected a fraction from 0 to 1, got {value!r}")


def positive_share(name: str, value: Any) -> None:
    """Raise InputError unless a number is above 0 and at most 1.

    Examples:
        >>> positive_share("label_budget", 0)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: label_budget: expected a fraction above 0 and up to 1, got 0
    """
    if not isinstance(value, numbers.Real) or not 0 < float(value) <= 1:
        raise InputError(f"{name}: expected a fraction above 0 and up to 1, got {value!r}")
