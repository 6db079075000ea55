"""Position and length of the audio data in uncompressed audio files, read from their headers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

TOLERATED_BYTES = 64
"""Number of bytes that may be missing at the end of a usable file (padding, or less than a millisecond of audio)."""

_W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
_W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
_W64_CHUNK = 24  # number of bytes of a chunk's name and size, which the size includes
_MAX_CHUNKS = 10_000
# Ranges of sizes that programs write before the size is known: the largest values of 31 or 32 bits, minus
# some bytes for the header or for rounding. SoX writes 0x7F000000 plus the header bytes for AIFF files.
_MARKS = ((0x7F000000, 0x7F000040), (0x7FFFE000, 0x80001000), (0xFFFFE000, 0xFFFFFFFF))
_UNKNOWN_64 = 1 << 62


@dataclass(frozen=True)
class AudioData:
    """Position of the audio data in a file, and its size according to the header.

    Attributes:
        begin: byte offset of the audio data.
        declared: size of the audio data in bytes according to the header.
        available: number of bytes from `begin` to the end of the file.
        field: byte offset of the size field in the header.
        field_bytes: length of the size field, 4 or 8 bytes.
        order: byte order of the size field.
        extra: number of bytes that the size field counts in addition to the audio data.
    """

    begin: int
    declared: int
    available: int
    field: int
    field_bytes: int
    order: Literal["little", "big"]
    extra: int = 0

    @property
    def is_open_ended(self) -> bool:
        """Whether the size in the header is a placeholder that a program wrote before it knew the size."""
        if self.declared <= 0 or self.declared >= _UNKNOWN_64:
            return True
        return self.field_bytes == 4 and any(
            low <= size <= high for low, high in _MARKS for size in (self.declared, self.declared + self.extra)
        )

    @property
    def is_cut_short(self) -> bool:
        """Whether the file is shorter than its header states."""
        return not self.is_open_ended and self.available < self.declared - TOLERATED_BYTES

    def header(self, raw: BinaryIO) -> bytes:
        """Return the bytes of the file before the audio data, with the true size in the size field."""
        raw.seek(0)
        head = bytearray(raw.read(self.begin))
        size = min(self.available + self.extra, 256**self.field_bytes - 1)
        head[self.field : self.field + self.field_bytes] = size.to_bytes(self.field_bytes, self.order)
        return bytes(head)


def find_audio_data(raw: BinaryIO) -> AudioData | None:
    """Find the audio data of a WAV, RF64, W64, AIFF, AU or CAF file.

    Args:
        raw: the file, open for reading bytes.

    Returns:
        The audio data, or None if the file has another format or no audio data.
    """
    size = raw.seek(0, os.SEEK_END)
    raw.seek(0)
    head = raw.read(16)
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64"):
        return _riff(raw, size, "big" if head[:4] == b"RIFX" else "little")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _aiff(raw, size)
    if head[:4] in (b".snd", b"dns."):
        return _au(head, size)
    if head[:4] == b"caff":
        return _caf(raw, size)
    return _w64(raw, size) if head == _W64_RIFF else None


def _bytes_at(raw: BinaryIO, place: int, count: int, size: int) -> bytes:
    """Return up to `count` bytes at offset `place`, or no bytes if this is not inside the file of `size` bytes.

    Damaged headers can give offsets that are too large to seek to.
    """
    if place >= size:
        return b""
    raw.seek(place)
    return raw.read(count)


def _chunks(
    raw: BinaryIO,
    place: int,
    size: int,
    order: Literal["little", "big"],
    name_bytes: int = 4,
    size_bytes: int = 4,
    alignment: int = 2,
) -> Iterator[tuple[int, bytes, int]]:
    """Yield the offset, name and content size of each chunk from offset `place` on, in a file of `size` bytes.

    A chunk has a name, the size of its content, and the content, which is padded to a multiple of `alignment` bytes.
    The last chunk that is yielded can have a negative size.
    """
    head_bytes = name_bytes + size_bytes
    for _ in range(_MAX_CHUNKS):
        head = _bytes_at(raw, place, head_bytes, size)
        if len(head) < head_bytes:
            return
        length = int.from_bytes(head[name_bytes:], order, signed=size_bytes == 8)
        length -= head_bytes if name_bytes == 16 else 0  # in W64 files, the size includes name and size
        yield place, head[:name_bytes], length
        if length < 0:
            return
        place += head_bytes + -(-length // alignment) * alignment


def _riff(raw: BinaryIO, size: int, order: Literal["little", "big"]) -> AudioData | None:
    long_size = None
    for place, name, length in _chunks(raw, 12, size, order):
        begin, available = place + 8, size - place - 8
        if name == b"ds64":
            long_size = (begin + 8, int.from_bytes(_bytes_at(raw, begin, 16, size)[8:], order))
        elif name == b"data":
            if long_size is not None and length == 0xFFFFFFFF:
                return AudioData(begin, long_size[1], available, long_size[0], 8, order)
            if length == 0 and _is_followed_by_chunks(raw, begin, size, order):
                return None  # the data chunk is really empty
            return AudioData(begin, length, available, place + 4, 4, order)
    return None


def _is_followed_by_chunks(raw: BinaryIO, place: int, size: int, order: Literal["little", "big"]) -> bool:
    """Return whether a file contains only chunks from offset `place` to its end, which may lack or repeat a byte."""
    end = place
    for begin, name, length in _chunks(raw, place, size, order):
        if not name.isalnum():
            return False
        end = begin + 8 + length + length % 2
    return size - 1 <= end <= size + 1


def _aiff(raw: BinaryIO, size: int) -> AudioData | None:
    for place, name, length in _chunks(raw, 12, size, "big"):
        offset = _bytes_at(raw, place + 8, 4, size)
        if name == b"SSND" and len(offset) == 4:
            extra = 8 + int.from_bytes(offset, "big")
            begin = place + 8 + extra
            return AudioData(begin, length - extra, size - begin, place + 4, 4, "big", extra)
    return None


def _au(head: bytes, size: int) -> AudioData:
    order: Literal["little", "big"] = "big" if head[:4] == b".snd" else "little"
    begin, length = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
    return AudioData(begin, length, size - begin, 8, 4, order)


def _caf(raw: BinaryIO, size: int) -> AudioData | None:
    for place, name, length in _chunks(raw, 8, size, "big", size_bytes=8, alignment=1):
        if name == b"data":
            begin = place + 16  # the data follows a 4-byte edit count
            return AudioData(begin, length - 4, size - begin, place + 4, 8, "big", 4)
    return None


def _w64(raw: BinaryIO, size: int) -> AudioData | None:
    for place, name, length in _chunks(raw, 40, size, "little", name_bytes=16, size_bytes=8, alignment=8):
        if name == _W64_DATA:
            begin = place + _W64_CHUNK
            return AudioData(begin, length, size - begin, place + 16, 8, "little", _W64_CHUNK)
    return None
