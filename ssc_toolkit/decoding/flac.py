"""Complete the header of a FLAC file that does not say its length, as encoders leave it that write to a pipe."""

from __future__ import annotations

import os
from typing import BinaryIO

from ssc_toolkit.decoding.spans import Span

MAX_FRAMES = 2**36 - 1
_LENGTH_AT = 21  # byte of the file: four bits of the sample size, 36 of the length (RFC 9639, section 8.2)
_LENGTH_BYTES = 5


def flac_of_length(raw: BinaryIO, frames: int) -> Span | None:
    """Return the file with another length in its header, if it says none itself.

    Args:
        raw: the file, open for reading bytes.
        frames: samples per channel.

    Returns:
        None if the header has a length.
    """
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    head = raw.read(_LENGTH_AT + _LENGTH_BYTES)
    bits = int.from_bytes(head[_LENGTH_AT:], "big")
    if head[:4] != b"fLaC" or len(head) < _LENGTH_AT + _LENGTH_BYTES or bits & MAX_FRAMES:
        return None
    prefix = head[:_LENGTH_AT] + (bits | frames).to_bytes(_LENGTH_BYTES, "big")
    return Span(len(prefix), size, prefix)
