"""Sections of a file that are read as separate files."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_WINDOW = 1 << 16  # number of bytes that are searched at once


class CutShort(Exception):
    """Error raised for a file that is shorter than its header states."""


class UnusableFile(Exception):
    """Error raised for a file that cannot be decoded; the message gives the reason, without the file's name."""


@dataclass(frozen=True)
class Span:
    """Section of a file, with bytes before it (a prefix) that make it a complete file.

    Attributes:
        begin: byte offset where the span begins.
        end: byte offset after the span.
        prefix: bytes that are read before those of the span, such as a header that gives the true length.
        min_frames: minimum number of samples per channel that decoding must give.
    """

    begin: int
    end: int
    prefix: bytes = b""
    min_frames: int = 0


class SpanFile(io.RawIOBase):
    """File object that reads the prefix and then the bytes of a span.

    Args:
        path: path of the file.
        span: span to read.
    """

    def __init__(self, path: Path | str, span: Span) -> None:
        super().__init__()
        self._raw = Path(path).open("rb")  # noqa: SIM115 (closed by close)
        self._span = span
        self._place = 0
        self._size = len(span.prefix) + span.end - span.begin

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        prefix = self._span.prefix
        wanted = min(len(buffer), max(0, self._size - self._place))
        if self._place < len(prefix):
            content = prefix[self._place : self._place + wanted]
            buffer[: len(content)] = content
            count = len(content)
        else:  # decoders read many small pieces
            self._raw.seek(self._span.begin + self._place - len(prefix))
            count = self._raw.readinto(memoryview(buffer)[:wanted])
        self._place += count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


def find_next(raw: BinaryIO, marks: Sequence[bytes], place: int, size: int) -> int:
    """Return the first offset, from `place` on, of any of the byte sequences `marks` in a file of `size` bytes.

    If there is none, this returns `size`.
    """
    longest = max(map(len, marks))
    while place < size:
        raw.seek(place)
        window = raw.read(_WINDOW)
        found = [at for at in map(window.find, marks) if at >= 0]
        if found:
            return place + min(found)
        place += max(1, len(window) - longest + 1)
    return size
