"""Classes that decode any section of an audio file."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from ssc_toolkit.checks import MAX_SAMPLE_RATE
from ssc_toolkit.decoding.flac import find_flac_streams, set_length
from ssc_toolkit.decoding.headers import find_audio_data
from ssc_toolkit.decoding.mp3 import find_mp3_streams, skip_tag
from ssc_toolkit.decoding.ogg import find_ogg_streams
from ssc_toolkit.decoding.pyav import PyAVSource, is_for_pyav, open_with_pyav
from ssc_toolkit.decoding.spans import CutShort, Span, SpanFile, UnusableFile

MIN_RATE, MAX_RATE = 1_000, MAX_SAMPLE_RATE
"""Range of accepted sample rates in hertz; other values indicate a damaged header."""

MAX_BLOCK_FRAMES = 1 << 20
_MAX_FRAMES_PER_BYTE = 1 << 16  # no codec reaches this number, even for silence
_MAX_HEADER_BYTES = 1 << 24
_MP3_RUN_UP = 16 * 1152  # longer than the bit reservoir of MP3 at any bit rate
_OGG_PAGE = 65_307  # maximum size of a page in bytes
_VORBIS_BLOCK = 8192  # maximum number of frames of a block
_STANDARD_ERROR = 2
_FREE_FORMAT = "MP3 of free format, whose header does not give the frame size; encode it at a standard bit rate"


class Source(Protocol):
    """Audio file that can be decoded from any frame on.

    Attributes:
        frames: number of samples per channel; an upper limit if it is not measured.
        sample_rate: sample rate in hertz.
        channels: number of channels.
        is_measured: whether `frames` is the true length. Otherwise the source can only be decoded as a whole, and
            `blocks` raises an error at the end if the file is too short.
        tolerated_seconds: number of seconds by which a complete file may be shorter than its header states.
    """

    @property
    def frames(self) -> int: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def is_measured(self) -> bool: ...

    @property
    def tolerated_seconds(self) -> float: ...

    def blocks(self, start: int, frames: int | None, block_frames: int = MAX_BLOCK_FRAMES) -> Iterator[np.ndarray]:
        """Decode a section in blocks.

        Args:
            start: index of the first frame of the section.
            frames: number of frames of the section; None for all frames up to the end of the file.
            block_frames: maximum number of frames of a block; blocks are smaller if there are many channels.

        Yields:
            Blocks (frames, channels) float32. If the file ends early, they have fewer than `frames` frames in total.
        """


class Quiet:
    """Context manager that discards the standard error of the process. Several threads can enter it.

    The MP3 decoder, which is written in C, prints a warning to standard error whenever decoding starts in the middle of
    a file. Text that another thread or a signal handler writes in the meantime must go to `standard_error`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._kept = -1

    @property
    def standard_error(self) -> int:
        """File descriptor of the standard error, also while it is discarded. Signal handlers can read it."""
        return _STANDARD_ERROR if self._kept < 0 else self._kept

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            try:
                self._kept = os.dup(_STANDARD_ERROR)
            except OSError:  # the process has no standard error
                return
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, _STANDARD_ERROR)
            os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._kept >= 0:
                os.dup2(self._kept, _STANDARD_ERROR)
                kept, self._kept = self._kept, -1
                os.close(kept)


quiet = Quiet()
"""Shared instance of `Quiet`, which is entered for each call of the MP3 decoder."""


@contextmanager
def open_source(path: Path | str) -> Iterator[Source]:
    """Context manager that opens an audio file. If its header gives no length, the whole file is decoded.

    Args:
        path: path of a file in a format that libsndfile reads, or that PyAV reads if it is installed.

    Yields:
        The opened file, which can be decoded from any position.

    Raises:
        UnusableFile: if the header is invalid, or if PyAV is needed and not installed.
        CutShort: if the file is shorter than its header states.
        OSError: if the file cannot be read.
        soundfile.SoundFileError: if libsndfile cannot decode the file.
    """
    with _opened_layout(path, _measure_layout(*identify_file(path))) as source:
        yield source


@contextmanager
def open_unmeasured(path: Path | str) -> Iterator[Source]:
    """Open an audio file to decode it once as a whole. The arguments and errors are the same as for `open_source`."""
    with _opened_layout(path, _find_layout(*identify_file(path))) as source:
        yield source


def identify_file(path: Path | str) -> tuple[str, int, int]:
    """Return the path, size and modification time of a file."""
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnusableFile("is not a regular file")
    return str(path), status.st_size, status.st_mtime_ns


@dataclass(frozen=True)
class _Layout:
    """Description of how to read a file.

    Attributes:
        spans: streams of the file; None stands for the unchanged file.
        frames: number of frames of each stream; None where it is not measured.
        is_mp3: whether the file is MPEG audio.
        is_flac: whether the file is FLAC.
        pyav: source that reads the file, if it needs PyAV.
    """

    spans: tuple[Span | None, ...] = (None,)
    frames: tuple[int | None, ...] = (None,)
    is_mp3: bool = False
    is_flac: bool = False
    pyav: PyAVSource | None = None


@contextmanager
def _opened_layout(path: Path | str, layout: _Layout) -> Iterator[Source]:
    if layout.pyav is not None:
        yield layout.pyav
        return
    with ExitStack() as stack:
        sources: list[Source] = []
        for span, frames in zip(layout.spans, layout.frames, strict=True):
            sources.append(stack.enter_context(_opened_span(path, span, layout.is_mp3, frames)))
        yield sources[0] if len(sources) == 1 else _Joined(sources)


@lru_cache(maxsize=100_000)
def _measure_layout(path: str, size: int, modified_ns: int) -> _Layout:
    """Return how to read a file, with the length of each stream.

    `size` and `modified_ns` are part of the cache key, so a changed file is examined again.
    """
    layout = _find_layout(path, size, modified_ns)
    if layout.pyav is not None:
        count = sum(len(block) for block in layout.pyav.blocks(0, None))
        return replace(layout, pyav=replace(layout.pyav, frames=count, is_measured=True))
    counts = [None if span is None else _count(path, span, layout.is_mp3) for span in layout.spans]
    spans = layout.spans
    if layout.is_flac:
        with Path(path).open("rb") as raw:
            spans = tuple(
                span if span is None or count is None else set_length(raw, span, count)
                for span, count in zip(spans, counts, strict=True)
            )
    return replace(layout, spans=spans, frames=tuple(counts))


@lru_cache(maxsize=100_000)
def _find_layout(path: str, size: int, modified_ns: int) -> _Layout:
    """Return how to read a file, without the lengths of its streams. The cache key is as for `_measure_layout`."""
    with Path(path).open("rb") as raw:
        head = raw.read(64)
        begin = skip_tag(raw, 0)
        raw.seek(begin)
        content = raw.read(64)
        if is_for_pyav(Path(path), content):
            source = open_with_pyav(path)
            _check_rate(source.sample_rate)
            return _Layout(pyav=source)
        is_mp3 = _is_mpeg(content) or (head[:3] == b"ID3" and content[:4] != b"fLaC")
        is_flac = content[:4] == b"fLaC"
        spans = find_flac_streams(raw, begin) if is_flac else _spans(raw, head, is_mp3)
        if spans is None:
            return _Layout(is_mp3=is_mp3)
        if not spans and _is_mpeg(content[:2]) and content[2:] and content[2] >> 4 == 0:
            if b"Info" in content or b"Xing" in content:
                return _Layout(is_mp3=True)
            raise UnusableFile(_FREE_FORMAT)
        if not spans:
            raise UnusableFile("no audio that can be decoded")
        return _Layout(tuple(spans), (None,) * len(spans), is_mp3, is_flac)


def _is_mpeg(content: bytes) -> bool:
    """Return whether the bytes begin with the sync word of an MPEG audio frame."""
    return len(content) > 1 and content[0] == 0xFF and content[1] & 0xE0 == 0xE0


def _spans(raw: BinaryIO, head: bytes, is_mp3: bool) -> list[Span] | None:
    """Return the streams of a file that is not FLAC, or None if it is one stream with a correct header.

    `head` are the first bytes of the file.
    """
    if is_mp3:
        return find_mp3_streams(raw)
    if head[:4] == b"OggS":
        return find_ogg_streams(raw)
    data = find_audio_data(raw)
    if data is None:
        return None
    if data.is_cut_short:
        raise CutShort
    if data.is_open_ended and 0 < data.begin <= _MAX_HEADER_BYTES and data.available > 0:
        return [Span(data.begin, data.begin + data.available, data.header(raw))]
    return None


def _count(path: str, span: Span, is_mp3: bool) -> int:
    """Decode a stream of an audio file, and return its number of frames (samples per channel)."""
    with _opened_span(path, span, is_mp3, None) as source:
        return sum(len(block) for block in source.blocks(0, None))


class _SoundFile(soundfile.SoundFile):
    """Sound file that does not seek after each read. Such a seek is slow, and inexact in some codecs."""

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened_span(path: Path | str, span: Span | None, is_mp3: bool, frames: int | None) -> Iterator[Source]:
    with ExitStack() as stack:
        raw = None if span is None else stack.enter_context(closing(SpanFile(path, span)))
        with quiet if is_mp3 or str(path).lower().endswith(".mp3") else nullcontext():
            file = stack.enter_context(_SoundFile(str(path) if raw is None else raw))
        _check_rate(file.samplerate)
        if file.format == "MP3" and not is_mp3:  # libsndfile chose the format by the file name only
            raise UnusableFile("no audio that can be decoded")
        size = Path(path).stat().st_size
        is_counted = frames is not None or span is not None
        if not is_counted and file.frames > size * _MAX_FRAMES_PER_BYTE:
            raise UnusableFile(f"its header states {file.frames} frames, more than {size} bytes can contain")
        content = str(path) if raw is None else raw
        min_frames = span.min_frames if span is not None and frames is None else None
        yield _LibsndfileSource(file, content, file.frames if frames is None else frames, min_frames)


def _check_rate(sample_rate: int) -> None:
    if not MIN_RATE <= sample_rate <= MAX_RATE:
        raise UnusableFile(
            f"expected a sample rate from {MIN_RATE} to {MAX_RATE} Hz, got {sample_rate} Hz in its header"
        )


class _LibsndfileSource:
    """Stream that libsndfile decodes.

    Args:
        file: open sound file.
        content: path or content of the file.
        frames: number of samples per channel; an upper limit if it is not measured.
        min_frames: number of samples per channel that decoding must give; None if the length is measured.
    """

    def __init__(
        self, file: soundfile.SoundFile, content: str | SpanFile, frames: int, min_frames: int | None = None
    ) -> None:
        self._file = file
        self._content = content
        self._min_frames = min_frames
        self.frames = frames
        self.is_measured = min_frames is None
        # Encoders of OGG files may count more samples in the last page than there are.
        self.tolerated_seconds = 0.25 if file.format == "OGG" else 0.125
        self.sample_rate: int = file.samplerate
        self.channels: int = file.channels

    def blocks(self, start: int, frames: int | None, block_frames: int = MAX_BLOCK_FRAMES) -> Iterator[np.ndarray]:
        remaining = max(0, self.frames - start)
        remaining = remaining if frames is None else min(remaining, frames)
        total = remaining
        skipped = self._run_up(start)
        most = max(1, min(block_frames, 2 * MAX_BLOCK_FRAMES // self.channels))
        with quiet if self._file.format == "MP3" else nullcontext():
            self._file.seek(start - skipped)
        while remaining > 0:
            wanted = min(most, skipped + remaining)
            with quiet if self._file.format == "MP3" else nullcontext():
                block = self._file.read(wanted, dtype="float32", always_2d=True)
            kept = block[skipped:]
            skipped = max(0, skipped - len(block))
            remaining -= len(kept)
            if len(kept):
                yield kept
            if len(block) < wanted:
                break
        count = total - remaining
        if self._min_frames is not None and count < self._min_frames:
            raise UnusableFile(f"expected at least {self._min_frames} frames, got {count} that can be decoded")

    def _run_up(self, start: int) -> int:
        """Return how many frames to decode before the frame `start`, so that the decoded section is exact.

        An exact section equals the same section of the whole decoded file.
        """
        if self._file.format == "MP3":
            # After a seek, the decoder lacks the bits that earlier MP3 frames stored in the bit reservoir.
            return min(start, _MP3_RUN_UP)
        if self._file.format == "OGG" and self._file.subtype == "VORBIS":
            # libsndfile's seek is wrong in the last page, but exact in all others.
            return max(0, start - max(0, self._begin_of_last_page() - _VORBIS_BLOCK))
        return 0

    def _begin_of_last_page(self) -> int:
        """Return the index of the first frame of the last page of the OGG file, or 0 if it is not found."""
        if isinstance(self._content, SpanFile):
            place = self._content.tell()
            tail = _tail(self._content)
            self._content.seek(place)
        else:
            with Path(self._content).open("rb") as raw:
                tail = _tail(raw)
        last = tail.rfind(b"OggS")
        before = tail.rfind(b"OggS", 0, max(0, last))
        if before < 0:
            return 0
        # RFC 3533, section 6: the eight bytes from offset 6 are the number of frames up to the end of the page.
        return max(0, int.from_bytes(tail[before + 6 : before + 14], "little", signed=True))


def _tail(raw: BinaryIO | SpanFile) -> bytes:
    """Return the last bytes of a file, which include the last two pages of an OGG file."""
    raw.seek(max(0, raw.seek(0, os.SEEK_END) - 2 * _OGG_PAGE))
    return raw.read()


class _Joined:
    """Source that concatenates the streams of a file."""

    def __init__(self, sources: list[Source]) -> None:
        rates = sorted({source.sample_rate for source in sources})
        if len(rates) > 1:
            raise UnusableFile(f"expected streams with the same sample rate, got {', '.join(map(str, rates))} Hz")
        self.channels = max(source.channels for source in sources)
        if any(source.channels not in (1, self.channels) for source in sources):
            raise UnusableFile("expected streams with the same number of channels, got different numbers")
        self._sources = sources
        self.frames = sum(source.frames for source in sources)
        self.is_measured = all(source.is_measured for source in sources)
        self.tolerated_seconds = max(source.tolerated_seconds for source in sources)
        self.sample_rate = rates[0]

    def blocks(self, start: int, frames: int | None, block_frames: int = MAX_BLOCK_FRAMES) -> Iterator[np.ndarray]:
        end = self.frames if frames is None else min(self.frames, start + frames)
        begin = 0
        for source in self._sources:
            first, last = max(start, begin), min(end, begin + source.frames)
            if first < last:
                for block in source.blocks(first - begin, last - first, block_frames):
                    yield block if source.channels == self.channels else block.repeat(self.channels, axis=1)
            begin += source.frames
