"""Commands that are run in the process of the test, because starting a new one takes seconds."""

from __future__ import annotations

import contextlib
import io
from typing import NamedTuple

from ssc_toolkit.cli import main


class Result(NamedTuple):
    """How a command ended, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def call(*arguments: object) -> Result:
    """Run a command in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:
            code = int(exit.code or 0)
    return Result(code, out.getvalue(), errors.getvalue())
