"""Error caused by user input."""

from __future__ import annotations


class InputError(ValueError):
    """Error caused by user input. The message has one line and says how to fix the error.

    The command line prints the message without a traceback and exits with status 2.
    """
