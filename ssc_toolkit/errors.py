"""Errors caused by user input."""

from __future__ import annotations

from pathlib import Path


class InputError(ValueError):
    """Error caused by user input. The message has one line and says how to fix the error.

    The command line prints the message without a traceback and exits with status 2.
    """


def make_malformed_error(path: Path, line: int | None, expected: str, found: object) -> InputError:
    """Return an InputError whose message gives the line of a malformed file and what was expected and found there."""
    place = str(path) if line is None else f"{path}, line {line}"
    return InputError(f"{place}: expected {expected}, got {found!r}")
