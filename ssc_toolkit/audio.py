"""Reading audio files: mono, at a given rate, whole, by segment or block by block."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

if TYPE_CHECKING:
    from torchaudio.transforms import Resample

SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff", ".au")
"""File names that are taken for audio."""

SILENT = "is silent from beginning to end"

_FILTER_WIDTH = 32  # zero crossings of the resampling filter on either side
_CUT_SHORT = "ends before its header says it does; was it copied whole?"
_MP3_RUN_UP = 16 * 1152  # more frames than its bit reservoir spans at any bit rate
_OGG_PAGE = 65_307  # most bytes of a page
_VORBIS_BLOCK = 8192  # most frames of a block
_STANDARD_ERROR = 2


class UnreadableAudio(Exception):
    """A file that cannot be decoded; the message names it and says why."""


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says.

    Attributes:
        frames: samples per channel.
        sample_rate: hertz.
        channels: how many.
    """

    frames: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def audio_info(path: Path | str) -> AudioInfo:
    """Read the header of an audio file.

    Raises:
        UnreadableAudio: if there is no such file or it is no audio that libsndfile knows.
    """
    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableAudio(f"{path}: {_reason(path, error)}") from error
    if info.frames <= 0:
        raise UnreadableAudio(f"{path}: holds no audio")
    return AudioInfo(info.frames, info.samplerate, info.channels)


def check_decodes(path: Path | str) -> AudioInfo:
    """Decode the beginning and the end of an audio file: what is cut short or no audio at all shows there.

    Raises:
        UnreadableAudio: if either cannot be decoded, or holds samples that are not numbers, or if the whole
            file is silent.
    """
    info = audio_info(path)
    length = min(info.frames, info.sample_rate // 4)
    with _opened(path) as file:
        ends = [_read_frames(file, start, length) for start in (0, info.frames - length)]
    if min(map(len, ends)) < length // 2:
        raise UnreadableAudio(f"{path}: {_CUT_SHORT}")
    for end in ends:
        _check_finite(end, path)
    if not any(end.any() for end in ends) and not any(block.any() for block in stream_audio(path, info.sample_rate)):
        raise UnreadableAudio(f"{path}: {SILENT}")
    return info


def read_audio(path: Path | str, sample_rate: int, start: int = 0, length: int | None = None) -> np.ndarray:
    """Decode a file, or a segment of it, to mono at a given rate.

    Channels are averaged, nothing is normalised. A segment holds what the same span of the whole
    decoded and resampled file holds.

    Args:
        path: WAV, FLAC, MP3, OGG or anything else that libsndfile reads.
        sample_rate: hertz of the result.
        start: first sample of the segment, at `sample_rate`.
        length: samples of the segment, at `sample_rate`; zeros follow where the file has ended. None:
            to the end.

    Returns:
        (samples,) float32, -1 to 1.

    Raises:
        UnreadableAudio: if the file cannot be decoded.
    """
    with _opened(path) as file:
        samples = _read_resampled(file, sample_rate, start, length)
    _check_finite(samples, path)
    if length is None or len(samples) == length:
        return samples
    return np.pad(samples, (0, length - len(samples)))


def stream_audio(path: Path | str, sample_rate: int, block_seconds: float = 30.0) -> Iterator[np.ndarray]:
    """Decode a whole file as `read_audio` does, in blocks, so that ten hours take no more memory than a minute.

    Args:
        path, sample_rate: as for `read_audio`.
        block_seconds: length of a block; the last one is shorter.

    Yields:
        (samples,) float32 each; put together, the whole file.

    Raises:
        UnreadableAudio: if the file cannot be decoded to its end, as soon as that shows.
    """
    with _opened(path) as file:
        for block in _resampled_blocks(file, sample_rate, block_seconds):
            _check_finite(block, path)
            yield block


@contextmanager
def _opened(path: Path | str) -> Iterator[soundfile.SoundFile]:
    """An open file, whose errors name it."""
    try:
        with soundfile.SoundFile(str(path)) as file:
            yield file
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableAudio(f"{path}: {_reason(path, error)}") from error


def _check_finite(samples: np.ndarray, path: Path | str) -> None:
    if not np.isfinite(samples).all():
        raise UnreadableAudio(f"{path}: holds samples that are not numbers")


def _read_resampled(file: soundfile.SoundFile, sample_rate: int, start: int, length: int | None) -> np.ndarray:
    step_in, step_out, margin = _grid(file.samplerate, sample_rate)
    first_step = max(0, start // step_out - margin)
    if first_step * step_in >= file.frames:
        return np.zeros(0, dtype=np.float32)
    frames = None
    if length is not None:
        last_step = -(-(start + length) // step_out) + margin
        frames = (last_step - first_step) * step_in
    samples = _read_frames(file, first_step * step_in, frames).mean(axis=1)
    if len(samples) == 0:
        raise soundfile.SoundFileError(_CUT_SHORT)
    skipped = start - first_step * step_out
    resampled = resample(samples, file.samplerate, sample_rate)
    return resampled[skipped:] if length is None else resampled[skipped : skipped + length]


def _resampled_blocks(file: soundfile.SoundFile, sample_rate: int, block_seconds: float) -> Iterator[np.ndarray]:
    step_in, step_out, margin = _grid(file.samplerate, sample_rate)
    frames = step_in * max(1, round(block_seconds * file.samplerate / step_in))
    held = np.zeros(0, dtype=np.float32)  # decoded samples from a margin before the first that was not yielded
    yielded = read = 0  # steps from the beginning of what is held; frames
    while True:
        # soundfile seeks after each read, so what follows needs a run-up.
        samples = _read_frames(file, read, frames).mean(axis=1)
        read += len(samples)
        held = np.concatenate([held, samples])
        resampled = resample(held, file.samplerate, sample_rate)
        if len(samples) < frames:
            break
        settled = len(held) // step_in - margin
        if settled > yielded:
            yield resampled[yielded * step_out : settled * step_out]
            begin = max(0, settled - margin)
            held, yielded = held[begin * step_in :], settled - begin
    if file.frames - read > file.samplerate // 8:
        raise soundfile.SoundFileError(_CUT_SHORT)
    yield resampled[yielded * step_out :]


class _Quiet:
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


_quiet = _Quiet()


def _grid(from_rate: int, to_rate: int) -> tuple[int, int, int]:
    """Samples between two that both rates share, at either rate, and how many such steps the filter reaches."""
    common = math.gcd(from_rate, to_rate)
    step_in, step_out = from_rate // common, to_rate // common
    margin = 0 if from_rate == to_rate else math.ceil(2 * _FILTER_WIDTH * max(1, step_in / step_out) / step_in)
    return step_in, step_out, margin


def _read_frames(file: soundfile.SoundFile, start: int, frames: int | None) -> np.ndarray:
    """(frames, channels) from `start` on; to the end if frames is None."""
    run_up = _run_up(file, start)
    with _quiet if run_up and file.format == "MP3" else nullcontext():
        file.seek(start - run_up)
        samples = file.read(-1 if frames is None else run_up + frames, dtype="float32", always_2d=True)
    return samples[run_up:]


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


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Band-limited resampling along the last axis, float32 in and out.

    Args:
        samples: (..., samples) float32.
        from_rate, to_rate: hertz.
    """
    if from_rate == to_rate:
        return samples
    import torch

    return _resampler(from_rate, to_rate)(torch.from_numpy(np.ascontiguousarray(samples))).numpy()


@lru_cache(maxsize=16)
def _resampler(from_rate: int, to_rate: int) -> Resample:
    from torchaudio.transforms import Resample

    return Resample(from_rate, to_rate, lowpass_filter_width=_FILTER_WIDTH)


def _reason(path: Path | str, error: Exception) -> str:
    if not Path(path).exists():
        return "no such file"
    return getattr(error, "error_string", None) or str(error)
