"""Reading audio files: mono, at a given rate, whole or by segment."""

from __future__ import annotations

import math
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

_FILTER_WIDTH = 32  # zero crossings of the resampling filter on either side
_CUT_SHORT = "ends before its header says it does; was it copied whole?"
_MP3_RUN_UP = 16 * 1152  # more frames than its bit reservoir spans at any bit rate


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
        UnreadableAudio: if either cannot be decoded, or holds samples that are not numbers.
    """
    info = audio_info(path)
    length = min(info.frames, info.sample_rate // 4)
    try:
        with soundfile.SoundFile(str(path)) as file:
            ends = [_read_frames(file, start, length) for start in (0, info.frames - length)]
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableAudio(f"{path}: {_reason(path, error)}") from error
    if min(map(len, ends)) < length // 2:
        raise UnreadableAudio(f"{path}: {_CUT_SHORT}")
    if not all(np.isfinite(end).all() for end in ends):
        raise UnreadableAudio(f"{path}: holds samples that are not numbers")
    return info


def read_audio(path: Path | str, sample_rate: int, start: int = 0, length: int | None = None) -> np.ndarray:
    """Decode a file, or a segment of it, to mono at a given rate.

    Channels are averaged, nothing is normalised. A segment holds what the same span of the whole
    decoded and resampled file holds; only towards the end of an OGG file libsndfile seeks a little beside
    the place, by less than a block of the codec.

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
    try:
        with soundfile.SoundFile(str(path)) as file:
            samples = _read_resampled(file, sample_rate, start, length)
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableAudio(f"{path}: {_reason(path, error)}") from error
    if not np.isfinite(samples).all():
        raise UnreadableAudio(f"{path}: holds samples that are not numbers")
    if length is None or len(samples) == length:
        return samples
    return np.pad(samples, (0, length - len(samples)))


def _read_resampled(file: soundfile.SoundFile, sample_rate: int, start: int, length: int | None) -> np.ndarray:
    rate = file.samplerate
    common = math.gcd(rate, sample_rate)
    block_in, block_out = rate // common, sample_rate // common
    # Resampling begins at a sample that both rates share, far enough ahead that the filter has settled.
    margin = 0 if rate == sample_rate else math.ceil(2 * _FILTER_WIDTH * max(1, block_in / block_out) / block_in)
    first_block = max(0, start // block_out - margin)
    if first_block * block_in >= file.frames:
        return np.zeros(0, dtype=np.float32)
    frames = None
    if length is not None:
        last_block = -(-(start + length) // block_out) + margin
        frames = (last_block - first_block) * block_in
    samples = _read_frames(file, first_block * block_in, frames).mean(axis=1)
    if len(samples) == 0:
        raise soundfile.SoundFileError(_CUT_SHORT)
    skipped = start - first_block * block_out
    resampled = resample(samples, rate, sample_rate)
    return resampled[skipped:] if length is None else resampled[skipped : skipped + length]


def _read_frames(file: soundfile.SoundFile, start: int, frames: int | None) -> np.ndarray:
    """(frames, channels) from `start` on; to the end if frames is None."""
    # After a seek an MP3 decoder lacks the bits that earlier frames have put by: let it run up to the start.
    run_up = min(start, _MP3_RUN_UP) if file.format == "MP3" else 0
    file.seek(start - run_up)
    samples = file.read(-1 if frames is None else run_up + frames, dtype="float32", always_2d=True)
    return samples[run_up:]


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
