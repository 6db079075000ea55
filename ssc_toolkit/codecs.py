"""Reading a span of an open audio file exactly, whatever its codec."""

from __future__ import annotations

import os
import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import soundfile

_MP3_RUN_UP = 16 * 1152  # more frames than its bit reservoir spans at any bit rate
_OGG_PAGE = 65_307  # most bytes of a page
_VORBIS_BLOCK = 8192  # most frames of a block
_STANDARD_ERROR = 2


class Quiet:
    """Keeps the process's standard error closed; entered by several threads, until the last has left.

    The decoder of MP3 complains there, from C, of every run-up whose first frames lack bits.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._kept = -1

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            try:
                self._kept = os.dup(_STANDARD_ERROR)
            except OSError:  # there is none
                self._kept = -1
                return
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, _STANDARD_ERROR)
            os.close(nowhere)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._kept >= 0:
                os.dup2(self._kept, _STANDARD_ERROR)
                os.close(self._kept)


quiet = Quiet()
"""For the time of a call into the decoder of MP3."""


def read_frames(file: soundfile.SoundFile, start: int, frames: int | None) -> np.ndarray:
    """What a decoder that came from the beginning has in a span of the file.

    Args:
        file: open for reading, opened by its path.
        start: first frame.
        frames: how many; None for all up to the end.

    Returns:
        (frames, channels) float32; fewer frames where the file has ended.
    """
    run_up = _run_up(file, start)
    with quiet if run_up and file.format == "MP3" else nullcontext():
        file.seek(start - run_up)
        samples = file.read(-1 if frames is None else run_up + frames, dtype="float32", always_2d=True)
    return samples[run_up:]


def is_cut_short(path: Path | str) -> bool:
    """Whether a WAV, AIFF or OGG file ends before its own headers say; libsndfile takes what is there."""
    with Path(path).open("rb") as raw:
        head = raw.read(8)
        size = raw.seek(0, os.SEEK_END)
        if head[:4] in (b"RIFF", b"FORM"):
            declared = int.from_bytes(head[4:8], "little" if head[:4] == b"RIFF" else "big")
            return declared not in (0, 2**32 - 1) and size < declared + 8  # a stream leaves it open
        if head[:4] != b"OggS":
            return False
        raw.seek(max(0, size - 2 * _OGG_PAGE))
        tail = raw.read()
    # RFC 3533, section 6: the 27th byte counts the segments, whose sizes follow.
    page = tail[tail.rfind(b"OggS") :]
    return len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]])


def _run_up(file: soundfile.SoundFile, start: int) -> int:
    """Frames to decode ahead of a segment, so that it is what a decoder has there that came from the beginning."""
    if file.format == "MP3":
        # After a seek the decoder lacks the bits that earlier frames have put by.
        return min(start, _MP3_RUN_UP)
    if file.format == "OGG" and file.subtype == "VORBIS":
        # libsndfile's seek goes astray in the last page, and there alone.
        before_last_page = max(0, _begin_of_last_page(file.name) - _VORBIS_BLOCK)
        return max(0, start - before_last_page)
    return 0


def _begin_of_last_page(path: str) -> int:
    """First frame of the last page of an OGG file: where the page before it ends; 0 if it cannot be found."""
    with Path(path).open("rb") as raw:
        raw.seek(max(0, raw.seek(0, os.SEEK_END) - 2 * _OGG_PAGE))
        tail = raw.read()
    last = tail.rfind(b"OggS")
    before = tail.rfind(b"OggS", 0, max(0, last))
    if before < 0:
        return 0
    # RFC 3533, section 6: eight bytes, from the sixth on, say how many frames there are up to the end of the page.
    return max(0, int.from_bytes(tail[before + 6 : before + 14], "little", signed=True))
