"""FLAC headers without a length, which encoders write when the output is a pipe."""

from __future__ import annotations

import os
from typing import BinaryIO

from ssc_toolkit.decoding.spans import Span

MAX_FRAMES = 2**36 - 1
_LENGTH_AT = 21  # byte offset: four bits of the sample size, then 36 bits of the length (RFC 9639, section 8.2)
_LENGTH_BYTES = 5


def flac_of_length(raw: BinaryIO, frames: int) -> Span | None:
    """Return a file with `frames` written into its header, if the header has no length.

    Args:
        raw: the file, open for reading bytes.
        frames: number of samples per channel.

    Returns:
        The file with the completed header, or None if its own header has a length.
    """
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    head = raw.read(_LENGTH_AT + _LENGTH_BYTES)
    bits = int.from_bytes(head[_LENGTH_AT:], "big")
    if head[:4] != b"fLaC" or len(head) < _LENGTH_AT + _LENGTH_BYTES or bits & MAX_FRAMES:
        return None
    prefix = head[:_LENGTH_AT] + (bits | frames).to_bytes(_LENGTH_BYTES, "big")
    return Span(len(prefix), size, prefix)
