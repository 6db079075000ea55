"""Find the streams of an MP3 file, whose header is often missing, or that of the first stream only."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ssc_toolkit.decoding.headers import TOLERATED_BYTES
from ssc_toolkit.decoding.spans import CutShort, Span, UnusableFile

MAX_STREAMS = 1000
_WINDOW = 1 << 16
_TOLERATED_FRAMES = 2  # by which headers may be wrong
_MAX_TRIMMED = 8192  # samples of delay and padding that a header may tell the decoder to leave out


@dataclass(frozen=True)
class MP3Frame:
    """A frame of MPEG audio.

    Attributes:
        place: byte of the file where it begins.
        size: bytes.
        header: its first four bytes, as a number.
    """

    place: int
    size: int
    header: int

    @property
    def kind(self) -> int:
        """Version, layer, sample rate, and whether mono: the same in all frames of a stream."""
        return self.header & 0x1E0C00 | (self.header & 0xC0 == 0xC0)

    @property
    def layer(self) -> int:
        """1 to 3."""
        return 4 - (self.header >> 17 & 3)

    @property
    def samples(self) -> int:
        """Samples per channel."""
        is_short = self.layer == 3 and self.header >> 19 & 3 != 3
        return 384 if self.layer == 1 else 576 if is_short else 1152

    @property
    def side_bytes(self) -> int:
        """Bytes of side information in layer III, after which a Xing header begins."""
        is_mono, is_mpeg_1 = self.header & 0xC0 == 0xC0, self.header >> 19 & 3 == 3
        return ((17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17)) + 4


def _kilobits(mpeg_1: bool, layer: int) -> tuple[int, ...]:
    """ISO/IEC 11172-3 and 13818-3, table of bit rates."""
    if mpeg_1 and layer == 1:
        return tuple(range(32, 449, 32))
    if mpeg_1 and layer == 2:
        return (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
    if mpeg_1:
        return (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    if layer == 1:
        return (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
    return (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


_KILOBITS = {(mpeg_1, layer): _kilobits(mpeg_1, layer) for mpeg_1 in (False, True) for layer in (1, 2, 3)}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def mp3_frame_bytes(header: int) -> int:
    """Return the bytes of the frame that a header of 32 bits begins, or 0 if it is none with a size of its own.

    Examples:
        >>> mp3_frame_bytes(0xFFFB9064), mp3_frame_bytes(0x52494646)
        (417, 0)
    """
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    bit_rate, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or bit_rate in (0, 15) or rate == 3:
        return 0
    bits = 1000 * _KILOBITS[version == 3, layer][bit_rate - 1]
    hertz, padding = _RATES[version][rate], header >> 9 & 1
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding


def mp3_frames(raw: BinaryIO) -> Iterator[tuple[MP3Frame, bool]]:
    """Go through the frames of an MP3 file, past tags and whatever else is between them.

    Args:
        raw: the file, open for reading bytes.

    Yields:
        A frame, and whether it follows right on the one before.
    """
    size = raw.seek(0, os.SEEK_END)
    place, follows, kind = 0, False, None
    while place + 4 <= size:
        raw.seek(place)
        header = int.from_bytes(raw.read(4), "big")
        length = mp3_frame_bytes(header)
        frame = MP3Frame(place, length, header)
        if length and ((follows and frame.kind == kind) or _is_confirmed(raw, frame, size)):
            if place + length > size:
                return
            yield frame, follows and frame.kind == kind
            place, follows, kind = place + length, True, frame.kind
            continue
        follows = False
        after = after_tag(raw, place)
        place = after if after > place else _next_sync(raw, place + 1, size)


def _is_confirmed(raw: BinaryIO, frame: MP3Frame, size: int) -> bool:
    """Whether another frame of the same kind follows, or the file ends there."""
    after = frame.place + frame.size
    if after + 4 > size:
        return after <= size
    raw.seek(after)
    head = raw.read(4)
    header = int.from_bytes(head, "big")
    is_alike = mp3_frame_bytes(header) > 0 and MP3Frame(after, 0, header).kind == frame.kind
    return is_alike or after_tag(raw, after) > after


def after_tag(raw: BinaryIO, place: int) -> int:
    """Byte after the ID3 or APE tag that begins at a byte, or that byte itself."""
    raw.seek(place)
    head = raw.read(32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = sum(byte << 7 * (3 - at) for at, byte in enumerate(head[6:10]))
        return place + 10 + size + (10 if head[5] & 16 else 0)
    if head[:3] == b"TAG":
        return place + 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        is_header = head[23] & 0x20  # else this is the footer, the end of the tag
        return place + 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    return place


def _next_sync(raw: BinaryIO, place: int, size: int) -> int:
    """Next byte where a frame or a tag may begin."""
    while place < size:
        raw.seek(place)
        window = raw.read(_WINDOW)
        found = [at for at in map(window.find, (b"\xff", b"ID3", b"TAG", b"APETAGEX")) if at >= 0]
        if found:
            return place + min(found)
        place += max(1, len(window) - 7)
    return size


@dataclass(frozen=True)
class _XingHeader:
    frames: int | None
    stream_bytes: int | None


def _xing(raw: BinaryIO, frame: MP3Frame) -> _XingHeader | None:
    """What the Xing or Info header in a frame says, or None if it holds sound."""
    if frame.layer != 3:
        return None
    raw.seek(frame.place)
    content = raw.read(min(frame.size, 64))
    at = frame.side_bytes
    if content[36:40] == b"VBRI":
        return _XingHeader(None, None)
    if content[at : at + 4] not in (b"Xing", b"Info") or len(content) < at + 8:
        return None
    flags, at = content[at + 7], at + 8
    frames = int.from_bytes(content[at : at + 4], "big") if flags & 1 else None
    at += 4 if flags & 1 else 0
    return _XingHeader(frames, int.from_bytes(content[at : at + 4], "big") if flags & 2 else None)


def mp3_streams(raw: BinaryIO) -> list[Span] | None:
    """Find the streams of an MP3 file.

    Args:
        raw: the file, open for reading bytes.

    Returns:
        None if the file is one stream with a header that gives its true length. Else its streams, each with such a
        header.

    Raises:
        CutShort: if the file ends before a header in it says.
    """
    if _is_as_its_header_says(raw):
        return None
    spans: list[Span] = []
    stream = _Stream()
    for frame, follows in mp3_frames(raw):
        header = _xing(raw, frame)
        if header is not None or not follows or stream.is_complete:
            spans += stream.spans()
            stream = _Stream(header, is_remainder=follows and stream.is_complete)
        stream.add(frame, is_sound=header is None)
    if stream.lacks_frames:
        raise CutShort
    spans += stream.spans()
    if len(spans) > MAX_STREAMS:
        raise UnusableFile(f"it is in {len(spans)} pieces")
    return spans


class _Stream:
    """Frames that follow on one another.

    Args:
        header: what its first frame says, if that holds no sound.
        is_remainder: what goes on after a stream that has all the frames that its header says.
    """

    def __init__(self, header: _XingHeader | None = None, is_remainder: bool = False) -> None:
        self._declared = header.frames if header else None
        self._is_remainder = is_remainder
        self._header: MP3Frame | None = None
        self._first: MP3Frame | None = None
        self._end = 0
        self._count = 0

    def add(self, frame: MP3Frame, is_sound: bool) -> None:
        if is_sound:
            self._first = self._first or frame
            self._count += 1
        else:
            self._header = frame
        self._end = frame.place + frame.size

    @property
    def is_complete(self) -> bool:
        return self._declared is not None and self._count == self._declared

    @property
    def lacks_frames(self) -> bool:
        return self._declared is not None and self._count < self._declared - _TOLERATED_FRAMES

    def spans(self) -> list[Span]:
        """The stream with a header that is right, or nothing if it holds no sound."""
        # Some encoders count one frame too few.
        if self._first is None or (self._is_remainder and self._count <= _TOLERATED_FRAMES):
            return []
        samples = max(0, self._count - 1 - _TOLERATED_FRAMES) * self._first.samples
        if self._header is not None and self._declared and not self.lacks_frames:
            return [Span(self._header.place, self._end, b"", samples - _MAX_TRIMMED)]
        prefix = _header_frame(self._first, self._count, self._end - self._first.place)
        return [Span(self._first.place, self._end, prefix, samples)]


def _header_frame(first: MP3Frame, frames: int, stream_bytes: int) -> bytes:
    """A frame without sound, with a Xing header; layers I and II have none."""
    if first.layer != 3:
        return b""
    header = first.header & ~(0xF << 12 | 1 << 9) | 9 << 12 | 1 << 16  # a middle bit rate, no padding, no checksum
    size = mp3_frame_bytes(header)
    content = header.to_bytes(4, "big") + bytes(first.side_bytes - 4) + b"Xing" + (3).to_bytes(4, "big")
    content += frames.to_bytes(4, "big") + (stream_bytes + size).to_bytes(4, "big")
    return content.ljust(size, b"\0")


def _is_as_its_header_says(raw: BinaryIO) -> bool:
    """Whether a file has a Xing header at its beginning, and as many bytes and frames as that says."""
    size = raw.seek(0, os.SEEK_END)
    found = next(mp3_frames(raw), None)
    header = _xing(raw, found[0]) if found else None
    if found is None or header is None or not header.frames or not header.stream_bytes:
        return False
    end = found[0].place + header.stream_bytes
    if abs(_count(raw, found[0].place, end) - 1 - header.frames) > _TOLERATED_FRAMES:
        return False
    while end < size and (after := after_tag(raw, end)) > end:
        end = after
    return abs(size - end) <= TOLERATED_BYTES


def _count(raw: BinaryIO, place: int, end: int) -> int:
    """Frames that follow on one another from one byte of a file to another."""
    count, sizes = 0, dict[int, int]()
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while place + 4 <= end:
            header = int.from_bytes(content[place : place + 4], "big")
            size = sizes.get(header)
            if size is None:
                size = sizes[header] = mp3_frame_bytes(header)
            if size == 0:
                break
            place, count = place + size, count + 1
    return count
