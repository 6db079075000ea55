"""Standard output that stays usable if the reader closes the pipe or the disk is full."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

_STANDARD_ERROR = 2


class Output:
    """Stream that writes to a standard stream, ignores text that cannot be written, and stores the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failed: OSError | None = None

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:  # the reader closed the pipe, or the disk is full
            self.failed = self.failed or error
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


@contextlib.contextmanager
def undiscarded_stderr() -> Iterator[TextIO]:
    """Context manager that returns a stream for messages, which are shown while the decoder's warnings are discarded.

    The stream has a duplicate of file descriptor 2, because `ssc_toolkit.decoding.sources.Quiet` redirects the original
    during the decoding of MP3 files. If `sys.stderr` does not write to file descriptor 2, it is returned unchanged.
    """
    try:
        is_original = sys.stderr.fileno() == _STANDARD_ERROR
    except (OSError, ValueError):  # a stream in memory
        is_original = False
    if not is_original:
        yield sys.stderr
        return
    sys.stderr.flush()
    with os.fdopen(
        os.dup(_STANDARD_ERROR), "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
    ) as stream:
        yield stream


def open_closed_streams() -> None:
    """Open the null device for each closed standard stream, so that no other file gets its file descriptor."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
            os.set_inheritable(descriptor, True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
