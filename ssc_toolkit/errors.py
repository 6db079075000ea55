"""The error that a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line and says how to mend it.

    The command line prints it without a traceback and exits with 2.
    """


def at_least(name: str, value: float, least: float) -> None:
    """Raise InputError unless a number is large enough, and finite.

    Examples:
        >>> at_least("steps", 0, 1)
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: steps: expected at least 1, got 0
    """
    if not least <= value < 2**63:
        bound = f"at least {least}" if not value >= least else "less than 2**63"
        raise InputError(f"{name}: expected {bound}, got {value}")
