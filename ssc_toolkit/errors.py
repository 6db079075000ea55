"""Error caused by user input."""

from __future__ import annotations


class InputError(ValueError):
    """Error caused by user input; the message is one line and describes the fix.

    The command line prints the message without a traceback and exits with status 2.
    """
