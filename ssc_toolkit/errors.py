"""The error that a user can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line and says how to mend it.

    The command line prints it without a traceback and exits with 2.
    """
