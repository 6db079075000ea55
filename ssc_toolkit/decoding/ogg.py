"""Search for chained streams in OGG files. Chained streams follow one another in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ssc_toolkit.decoding.spans import CutShort, Span, UnusableFile, find_next

MAX_CHAINED_STREAMS = 1000
_HEADER_BYTES = 27


@dataclass(frozen=True)
class OggPage:
    """Page of an OGG file (RFC 3533, section 6).

    Attributes:
        begin: byte offset where the page begins.
        end: byte offset after the page.
        is_first: whether the page is the first of a logical stream.
        position: granule position; for most codecs, the number of samples per channel up to the end of the page.
    """

    begin: int
    end: int
    is_first: bool
    position: int


def read_ogg_pages(raw: BinaryIO, begin: int = 0) -> Iterator[OggPage]:
    """Yield the pages of an OGG file.

    Args:
        raw: the file, open for reading bytes.
        begin: byte offset to start at; bytes before the next page are skipped.

    Yields:
        The pages. If the file is cut short, the last page ends after the end of the file.
    """
    size, place = raw.seek(0, os.SEEK_END), begin
    while place < size:
        raw.seek(place)
        head = raw.read(_HEADER_BYTES + 255)
        if head[:4] != b"OggS":
            place = find_next(raw, (b"OggS",), place + 1, size)
            continue
        count = head[26] if len(head) >= _HEADER_BYTES else 0
        sizes = head[_HEADER_BYTES : _HEADER_BYTES + count]
        if len(head) < _HEADER_BYTES or len(sizes) < count:
            yield OggPage(place, size + 1, False, 0)
            return
        end = place + _HEADER_BYTES + count + sum(sizes)
        yield OggPage(place, end, bool(head[5] & 2), int.from_bytes(head[6:14], "little", signed=True))
        place = end


def find_ogg_streams(raw: BinaryIO) -> list[Span] | None:
    """Find the chained streams of an OGG file.

    Args:
        raw: the file, open for reading bytes.

    Returns:
        The chained streams, or None if there is a single stream or several parallel ones.

    Raises:
        CutShort: if the file ends within a page.
        UnusableFile: if the file has more than 1000 chained streams.
    """
    size, begins, before = raw.seek(0, os.SEEK_END), [0], None
    for page in read_ogg_pages(raw):
        if page.is_first and before is not None and not before.is_first:
            begins.append(page.begin)
        before = page
    if before is not None and before.end > size:
        raise CutShort
    if len(begins) > MAX_CHAINED_STREAMS:
        raise UnusableFile(f"expected at most {MAX_CHAINED_STREAMS} chained streams, got {len(begins)}")
    return [Span(*ends) for ends in zip(begins, [*begins[1:], size], strict=True)] if len(begins) > 1 else None
