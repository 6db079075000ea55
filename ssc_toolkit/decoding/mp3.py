"""Search for the streams in MP3 files.

The header that gives the length is often missing, or gives only the length of the first stream.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from ssc_toolkit.decoding.headers import TOLERATED_BYTES
from ssc_toolkit.decoding.spans import CutShort, Span, UnusableFile, find_next

MAX_STREAMS = 1000
_SYNCS = (b"\xff", b"ID3", b"TAG", b"APETAGEX")  # first bytes of frames and tags
_TOLERATED_FRAMES = 2  # number of frames by which the frame count in a header may be wrong
_MAX_TRIMMED = 8192  # maximum number of samples of delay and padding that the decoder drops if a header gives them


@dataclass(frozen=True)
class MP3Frame:
    """Frame of MPEG audio.

    Attributes:
        place: byte offset of the frame in the file.
        size: size of the frame in bytes.
        header: the first four bytes of the frame, as an integer.
    """

    place: int
    size: int
    header: int

    @property
    def kind(self) -> int:
        """Bits of the header for version, layer, sample rate and mono, which are equal in all frames of a stream."""
        return self.header & 0x1E0C00 | (self.header & 0xC0 == 0xC0)

    @property
    def layer(self) -> int:
        """MPEG layer of the frame, 1 to 3."""
        return 4 - (self.header >> 17 & 3)

    @property
    def samples(self) -> int:
        """Number of samples per channel in the frame."""
        is_short = self.layer == 3 and self.header >> 19 & 3 != 3
        return 384 if self.layer == 1 else 576 if is_short else 1152

    @property
    def side_bytes(self) -> int:
        """Size in bytes of frame header and side information in layer III, which come before a Xing header."""
        is_mono, is_mpeg_1 = self.header & 0xC0 == 0xC0, self.header >> 19 & 3 == 3
        return ((17 if is_mono else 32) if is_mpeg_1 else (9 if is_mono else 17)) + 4


def _kilobits(mpeg_1: bool, layer: int) -> tuple[int, ...]:
    """Return the bit rates in kbit/s that a layer of MPEG-1, or of MPEG-2 and 2.5, supports, in ascending order."""
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


def measure_mp3_frame(header: int) -> int:
    """Return the size in bytes of an MP3 frame with the given 32-bit header, or 0 if the header gives no valid size.

    Examples:
        >>> measure_mp3_frame(0xFFFB9064), measure_mp3_frame(0x52494646)
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


def read_mp3_frames(raw: BinaryIO) -> Iterator[tuple[MP3Frame, bool]]:
    """Yield the frames of an MP3 file, skipping tags and other data between them.

    Args:
        raw: the file, open for reading bytes.

    Yields:
        A frame, and whether it directly follows the previous frame.
    """
    size = raw.seek(0, os.SEEK_END)
    place, follows, kind = 0, False, None
    while place + 4 <= size:
        raw.seek(place)
        header = int.from_bytes(raw.read(4), "big")
        length = measure_mp3_frame(header)
        frame = MP3Frame(place, length, header)
        if length and ((follows and frame.kind == kind) or _is_confirmed(raw, frame, size)):
            if place + length > size:
                return
            yield frame, follows and frame.kind == kind
            place, follows, kind = place + length, True, frame.kind
            continue
        follows = False
        after = skip_tag(raw, place)
        place = after if after > place else find_next(raw, _SYNCS, place + 1, size)


def _is_confirmed(raw: BinaryIO, frame: MP3Frame, size: int) -> bool:
    """Return whether a frame of the same stream, a tag or the end of the file follows a frame.

    `size` is the size of the file in bytes.
    """
    after = frame.place + frame.size
    if after + 4 > size:
        return after <= size
    raw.seek(after)
    head = raw.read(4)
    header = int.from_bytes(head, "big")
    is_alike = measure_mp3_frame(header) > 0 and MP3Frame(after, 0, header).kind == frame.kind
    return is_alike or skip_tag(raw, after) > after


def skip_tag(raw: BinaryIO, place: int) -> int:
    """Return the offset after the ID3 or APE tag at offset `place`, or `place` if there is no tag."""
    raw.seek(place)
    head = raw.read(32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        size = sum(byte << 7 * (3 - at) for at, byte in enumerate(head[6:10]))
        return place + 10 + size + (10 if head[5] & 16 else 0)
    if head[:3] == b"TAG":
        return place + 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        is_header = head[23] & 0x20  # otherwise this is the footer at the end of the tag
        return place + 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    return place


@dataclass(frozen=True)
class _XingHeader:
    frames: int | None
    stream_bytes: int | None


def _xing(raw: BinaryIO, frame: MP3Frame) -> _XingHeader | None:
    """Return the content of the Xing, Info or VBRI header in a frame, or None if the frame contains audio."""
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


def find_mp3_streams(raw: BinaryIO) -> list[Span] | None:
    """Find the streams of an MP3 file.

    Args:
        raw: the file, open for reading bytes.

    Returns:
        None if the file is one stream with a header that gives its true length. Otherwise, the streams. For a stream
        without such a header, `Span.prefix` is such a header.

    Raises:
        CutShort: if the file is shorter than one of its headers states.
        UnusableFile: if the file has more than 1000 streams.
    """
    if _is_as_its_header_says(raw):
        return None
    spans: list[Span] = []
    stream = _Stream()
    for frame, follows in read_mp3_frames(raw):
        header = _xing(raw, frame)
        if header is not None or not follows or stream.is_complete:
            spans += stream.spans()
            stream = _Stream(header, is_remainder=follows and stream.is_complete)
        stream.add(frame, is_sound=header is None)
    if stream.lacks_frames:
        raise CutShort
    spans += stream.spans()
    if len(spans) > MAX_STREAMS:
        raise UnusableFile(f"expected at most {MAX_STREAMS} streams, got {len(spans)}")
    return spans


class _Stream:
    """Consecutive frames of an MP3 file that form one stream.

    Args:
        header: Xing or Info header in the first frame, or None if that frame contains audio.
        is_remainder: whether the frames directly follow a stream with as many frames as its header states.
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
        """Return a list with this stream as a span with a correct header, or an empty list if it contains no audio."""
        # A short remainder is not a stream, because some encoders write a frame count that is one too small.
        if self._first is None or (self._is_remainder and self._count <= _TOLERATED_FRAMES):
            return []
        samples = max(0, self._count - 1 - _TOLERATED_FRAMES) * self._first.samples
        if self._header is not None and self._declared and not self.lacks_frames:
            return [Span(self._header.place, self._end, b"", samples - _MAX_TRIMMED)]
        prefix = _header_frame(self._first, self._count, self._end - self._first.place)
        return [Span(self._first.place, self._end, prefix, samples)]


def _header_frame(first: MP3Frame, frames: int, stream_bytes: int) -> bytes:
    """Return a frame with a Xing header and without audio, or no bytes for layers I and II, which have no such header.

    Args:
        first: first frame of the stream.
        frames: number of frames of the stream.
        stream_bytes: size of the stream in bytes.
    """
    if first.layer != 3:
        return b""
    header = first.header & ~(0xF << 12 | 1 << 9) | 9 << 12 | 1 << 16  # a middle bit rate, no padding, no checksum
    size = measure_mp3_frame(header)
    content = header.to_bytes(4, "big") + bytes(first.side_bytes - 4) + b"Xing" + (3).to_bytes(4, "big")
    content += frames.to_bytes(4, "big") + (stream_bytes + size).to_bytes(4, "big")
    return content.ljust(size, b"\0")


def _is_as_its_header_says(raw: BinaryIO) -> bool:
    """Return whether a file has a Xing header and as many bytes and frames as the header states."""
    size = raw.seek(0, os.SEEK_END)
    found = next(read_mp3_frames(raw), None)
    header = _xing(raw, found[0]) if found else None
    if found is None or header is None or not header.frames or not header.stream_bytes:
        return False
    end = found[0].place + header.stream_bytes
    if abs(_count(raw, found[0].place, end) - 1 - header.frames) > _TOLERATED_FRAMES:
        return False
    while end < size and (after := skip_tag(raw, end)) > end:
        end = after
    return abs(size - end) <= TOLERATED_BYTES


def _count(raw: BinaryIO, place: int, end: int) -> int:
    """Return the number of consecutive MP3 frames between the byte offsets `place` and `end`."""
    count, sizes = 0, dict[int, int]()
    with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:
        while place + 4 <= end:
            header = int.from_bytes(content[place : place + 4], "big")
            size = sizes.get(header)
            if size is None:
                size = sizes[header] = measure_mp3_frame(header)
            if size == 0:
                break
            place, count = place + size, count + 1
    return count
