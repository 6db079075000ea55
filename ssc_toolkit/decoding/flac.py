"""Search for the streams in FLAC files.

A file can contain several streams. The header of a stream can lack the length, or give a wrong length.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from typing import BinaryIO

from ssc_toolkit.decoding.spans import Span

MAX_FRAMES = 2**36 - 1
_MARK = b"fLaC"
_STREAM_INFO = (b"\0\0\0\x22", b"\x80\0\0\x22")  # header of the block after the mark (RFC 9639, section 8.2)
_BLOCK_SIZE_AT = 10  # offset in the stream of the field with the largest block size
_LENGTH_AT = 21  # offset in the stream: four bits of the sample size, then 36 bits of the length
_LENGTH_BYTES = 5
_MAX_FRAME_BYTES = 1 << 20  # number of bytes at the end of a stream that are searched for the last frame
_MAX_HEADER_BYTES = 16


def find_flac_streams(raw: BinaryIO, begin: int) -> list[Span] | None:
    """Find the streams of a FLAC file.

    Args:
        raw: the file, open for reading bytes.
        begin: byte offset of the first stream.

    Returns:
        None if the file is one stream whose header gives its length. Otherwise, the streams. If the header of a stream
        gives no length, or a length that is too small, `Span.prefix` is a header that gives the length `MAX_FRAMES`.
    """
    size = raw.seek(0, os.SEEK_END)
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
        begins = list(_marks(content, begin))
        spans = []
        for first, end in zip(begins, [*begins[1:], size], strict=True):
            length = _declared(content, first)
            is_right = length > 0 and length >= _end_of_last_frame(content, first, end)
            spans.append(Span(first, end) if is_right else set_length(raw, Span(first, end), MAX_FRAMES))
    return None if len(spans) == 1 and not spans[0].prefix else spans


def set_length(raw: BinaryIO, span: Span, frames: int) -> Span:
    """Return a copy of a stream whose header gives the length `frames`.

    Args:
        raw: the file, open for reading bytes.
        span: stream of the file, or the result of an earlier call.
        frames: the length as the number of samples per channel.
    """
    begin = span.begin - len(span.prefix)
    raw.seek(begin)
    head = raw.read(_LENGTH_AT + _LENGTH_BYTES)
    bits = int.from_bytes(head[_LENGTH_AT:], "big") & ~MAX_FRAMES | frames
    prefix = head[:_LENGTH_AT] + bits.to_bytes(_LENGTH_BYTES, "big")
    return Span(begin + len(prefix), span.end, prefix)


def _marks(content: mmap.mmap, begin: int) -> Iterator[int]:
    """Yield the byte offset of each stream of a FLAC file. The first is `begin`.

    Later streams begin with the bytes "fLaC", followed by a stream info block.
    """
    place = begin
    while place >= 0:
        if content[place + 4 : place + 8] in _STREAM_INFO or place == begin:
            yield place
        place = content.find(_MARK, place + 1)


def _declared(content: mmap.mmap, begin: int) -> int:
    """Return the number of samples per channel in the header of the stream at offset `begin`, or 0 if it has none."""
    head = content[begin + _LENGTH_AT : begin + _LENGTH_AT + _LENGTH_BYTES]
    return int.from_bytes(head, "big") & MAX_FRAMES


def _end_of_last_frame(content: mmap.mmap, begin: int, end: int) -> int:
    """Return the number of samples per channel of a stream from the header of its last frame.

    Return 0 if no frame is found.

    The stream consists of the bytes `begin` to `end - 1` of the file.
    """
    block_size = int.from_bytes(content[begin + _BLOCK_SIZE_AT : begin + _BLOCK_SIZE_AT + 2], "big")
    place = end
    lowest = max(begin, end - _MAX_FRAME_BYTES)
    while (place := content.rfind(b"\xff", lowest, place)) >= 0:
        last = _frame_end(content[place : place + _MAX_HEADER_BYTES], block_size)
        if last:
            return last
    return 0


def _frame_end(head: bytes, block_size: int) -> int:
    """Return the number of samples from the beginning of a stream to the end of a frame, or 0 for an invalid header.

    The number is in the header of the frame, `head` (RFC 9639, section 9.1). `block_size` is the number of samples per
    frame in the stream.
    """
    if len(head) < _MAX_HEADER_BYTES or head[1] not in (0xF8, 0xF9):
        return 0
    size_code, rate_code = head[2] >> 4, head[2] & 15
    if size_code == 0 or rate_code == 15 or head[3] & 1 or head[3] >> 4 > 10:
        return 0
    count = _coded_bytes(head[4])
    if count == 0 or any(byte & 0xC0 != 0x80 for byte in head[5 : 4 + count]):
        return 0
    number = head[4] & (0x7F >> count if count > 1 else 0x7F)
    for byte in head[5 : 4 + count]:
        number = number << 6 | byte & 0x3F
    place = 4 + count
    samples = 192 if size_code == 1 else 144 << size_code if size_code < 6 else 1 << size_code
    if size_code in (6, 7):
        samples = int.from_bytes(head[place : place + size_code - 5], "big") + 1
        place += size_code - 5
    place += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if place >= len(head) or _crc8(head[:place]) != head[place]:
        return 0
    return samples + (number if head[1] & 1 else number * block_size)


def _coded_bytes(first: int) -> int:
    """Return the length in bytes of a number coded like a UTF-8 character, given the first byte; 0 if it is invalid."""
    ones = 8 - (first ^ 0xFF).bit_length()
    return 1 if ones == 0 else ones if 2 <= ones <= 7 else 0


def _crc8(content: bytes) -> int:
    """Return the checksum of a FLAC frame header, a CRC with the polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc
