"""Functions that read audio files, or segments of them, as mono signals at a given sample rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import soundfile
import soxr

from ssc_toolkit.checks import check_choice, check_integer, check_positive
from ssc_toolkit.decoding.levels import Levels, average_channels, check_finite
from ssc_toolkit.decoding.pyav import CODEC_SUFFIXES, has_pyav
from ssc_toolkit.decoding.sources import Source, open_source, open_unmeasured
from ssc_toolkit.decoding.spans import CutShort, UnusableFile
from ssc_toolkit.paths import missing_hint

SUFFIXES = (
    *(".wav", ".wave", ".flac", ".mp3", ".mp2", ".mpga", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc"),
    *(".au", ".snd", ".w64", ".rf64", ".caf"),
)
"""File name suffixes of the audio files that libsndfile reads."""

Channel = Literal["mean", "left", "right", "loudest"]
"""Ways to convert audio to mono: mean of the channels, first channel, second, or the one with the most power."""

_QUALITY = "VHQ"
_CHECKED_BLOCK_SECONDS = 10.0
_FILTER_REACH = 400  # half length of the resampling filter, in samples at the lower of the two rates
_CUT_SHORT = "is shorter than its header states; was it copied completely?"
_EQUAL_POWER = (
    0.99  # channels with this fraction of the largest power count as equally loud: opposite channels differ by rounding
)
_REASONS = {
    "does not exist": "no audio that can be decoded",  # message of libsndfile if no decoder recognizes the content
    "Format not recognised": "no audio that can be decoded",
    "SF_INFO struct incomplete": "its header gives no sample rate, or no channels",
    "psf_fseek": _CUT_SHORT,
}
"""Error messages that replace those of libsndfile, by a text that the message of libsndfile contains."""


class UnreadableAudio(Exception):
    """Error raised for a file that cannot be decoded; the message names the file and the reason."""


@dataclass(frozen=True)
class AudioInfo:
    """Length and format of an audio file.

    Attributes:
        frames: number of samples per channel.
        sample_rate: sample rate in hertz.
        channels: number of channels.
    """

    frames: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


def list_readable_suffixes() -> tuple[str, ...]:
    """Return the file name suffixes of readable audio files, which include more formats if PyAV is installed.

    Examples:
        >>> ".flac" in list_readable_suffixes()
        True
    """
    return (*SUFFIXES, *CODEC_SUFFIXES) if has_pyav() else SUFFIXES


def describe_missing_codecs(suffixes: Iterable[str]) -> str:
    """Return a text that says how to install support of those `suffixes` that need a missing package, or ""."""
    lacking = sorted({*suffixes}.intersection(CODEC_SUFFIXES).difference(list_readable_suffixes()))
    return f"; {', '.join(lacking)} can be read after `pip install 'ssc-toolkit[codecs]'`" if lacking else ""


def check_channel(channel: str) -> None:
    """Raise InputError unless `channel` is one of the values of `Channel`.

    Examples:
        >>> check_channel("middle")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: channel: expected one of mean, left, right, loudest, got 'middle'
    """
    check_choice("channel", channel, get_args(Channel))


def read_audio_info(path: Path | str) -> AudioInfo:
    """Return the length and format of an audio file.

    The length is read from the header if the header is reliable. Otherwise the whole file is decoded to measure its
    length. This is necessary for MP3 files without a Xing or Info header, joined MP3 files, chained OGG files, and FLAC
    and WAV files that were written to a stream.

    Raises:
        UnreadableAudio: if the file does not exist, cannot be decoded, contains no audio, or is shorter than its header
            states, or if its sample rate is not between 1 and 768 kHz.
    """
    with report_unreadable(path), open_source(path) as source:
        info = AudioInfo(source.frames, source.sample_rate, source.channels)
    if info.frames <= 0:
        raise UnreadableAudio(f"{path}: contains no audio")
    return info


def check_decodes(path: Path | str, channel: Channel = "mean") -> AudioInfo:
    """Decode the beginning and the end of an audio file to check that it can be used.

    Args:
        path: as for `read_audio`.
        channel: as for `read_audio`.

    Returns:
        Length and format of the file.

    Raises:
        UnreadableAudio: if the beginning or the end cannot be decoded or contains NaN or infinite samples, if the whole
            file is silent, or if only its mono signal is silent (channels of opposite phase, or a silent chosen
            channel).
        InputError: if `channel` is not a value of `Channel`.
    """
    check_channel(channel)
    info = read_audio_info(path)
    levels = Levels(channel)
    with report_unreadable(path), open_source(path) as source:
        length = min(info.frames, round(2 * source.tolerated_seconds * info.sample_rate))
        mix = _choose_mix(path, source, channel)
        for start in (0, info.frames - length):
            before = levels.frames
            for block in source.blocks(start, length):
                levels.add(block, mix(block))
            if levels.frames - before < length // 2:
                raise UnreadableAudio(f"{path}: {_CUT_SHORT}")
        if levels.problem:
            levels = Levels(channel)
            for block in source.blocks(0, None):
                levels.add(block, mix(block))
    if levels.problem:
        raise UnreadableAudio(f"{path}: {levels.problem}")
    return info


def read_audio(
    path: Path | str, sample_rate: int, start: int = 0, length: int | None = None, channel: Channel = "mean"
) -> np.ndarray:
    """Decode a file, or a segment of it, to mono at a given sample rate.

    The level is not normalized. A segment equals the same part of the whole file after decoding and resampling.

    Args:
        path: WAV, FLAC, MP3, OGG or any other file that libsndfile reads. With the extra `codecs` installed, also AAC,
            WMA, APE and other files that PyAV reads.
        sample_rate: sample rate of the result in hertz.
        start: first sample of the segment, at `sample_rate`.
        length: number of samples of the segment, at `sample_rate`. Zeros are appended if the file ends earlier. None:
            read to the end of the file.
        channel: "mean" of all channels, "left" (the first), "right" (the second), or "loudest" (the one with the most
            power). For "loudest", the whole file is decoded once to measure the power. For a mono file, all four give
            the same result.

    Returns:
        (samples,) float32, -1 to 1.

    Raises:
        UnreadableAudio: if the file cannot be decoded.
        InputError: if `channel` is unknown, or if `sample_rate`, `start` or `length` is not an integer. `start` may be
            0, the others must be at least 1.
    """
    check_channel(channel)
    sample_rate, start = check_integer("sample_rate", sample_rate), check_integer("start", start, 0)
    length = None if length is None else check_integer("length", length)
    with report_unreadable(path), open_source(path) as source:
        samples = _read_resampled(source, _choose_mix(path, source, channel), sample_rate, start, length)
        check_finite(samples)
    if length is None or len(samples) == length:
        return samples
    return np.pad(samples, (0, length - len(samples)))


def stream_audio(
    path: Path | str, sample_rate: int, block_seconds: float = 30.0, channel: Channel = "mean"
) -> Iterator[np.ndarray]:
    """Decode a whole file to mono in blocks, so that the memory use does not depend on the length of the file.

    Args:
        path: as for `read_audio`.
        sample_rate: as for `read_audio`.
        block_seconds: length of a block in seconds; the last block is shorter.
        channel: as for `read_audio`.

    Yields:
        Blocks (samples,) float32 in order. Concatenated, they equal the result of `read_audio`.

    Raises:
        UnreadableAudio: if the file cannot be decoded to its end. The error is raised at the first block that cannot be
            decoded.
        InputError: if `channel` is unknown, or `sample_rate` or `block_seconds` is not above 0.
    """
    check_channel(channel)
    sample_rate = check_integer("sample_rate", sample_rate)
    check_positive("block_seconds", block_seconds)
    with report_unreadable(path), open_source(path) as source:
        blocks = source.blocks(0, None, _block_frames(source, block_seconds))
        mix = _choose_mix(path, source, channel)
        for block in _resample_blocks(source, blocks, mix, sample_rate, block_seconds):
            check_finite(block)
            yield block


def stream_checked_audio(path: Path | str, sample_rate: int, channel: Channel = "mean") -> Iterator[np.ndarray]:
    """Decode a whole file once, with the samples of `stream_audio` and the checks of `check_decodes`.

    The checks are complete after the last block. If an error is raised, the blocks before it must be discarded. The
    caller may change the blocks.

    Args:
        path: as for `read_audio`.
        sample_rate: as for `read_audio`.
        channel: as for `read_audio`.

    Yields:
        Blocks (samples,) float32, which together are the whole file. Samples can be NaN or infinite.

    Raises:
        UnreadableAudio: if the file cannot be decoded to its end, contains no audio, is silent, or has channels that
            cancel each other.
    """
    with report_unreadable(path), open_unmeasured(path) as source:
        mix = _choose_mix(path, source, channel)
        blocks = source.blocks(0, None, _block_frames(source, _CHECKED_BLOCK_SECONDS))
        checked = _check_ends(blocks, source, mix, channel)
        yield from _resample_blocks(source, checked, mix, sample_rate, _CHECKED_BLOCK_SECONDS)


def _check_ends(blocks: Iterator[np.ndarray], source: Source, mix: Mix, channel: str) -> Iterator[np.ndarray]:
    """Yield the blocks of a file, then raise an error as `check_decodes` does."""
    length, read = round(2 * source.tolerated_seconds * source.sample_rate), 0
    ends, whole, tail = Levels(channel), Levels(channel), np.zeros((0, source.channels), dtype=np.float32)
    for block in blocks:
        if read < length:
            begin = block[: length - read]
            ends.add(begin, mix(begin))
        if ends.problem and whole.frames == read:
            whole.add(block, mix(block))
        tail = block[-length:] if len(block) >= length else np.concatenate([tail, block])[-length:]
        read += len(block)
        yield block
    if source.is_measured:
        length = min(length, source.frames)
        if source.frames - read > length - length // 2:
            raise CutShort
    if read == 0:
        raise UnusableFile("contains no audio")
    ends.add(tail, mix(tail))
    if ends.problem and whole.frames < read:
        whole = Levels(channel)
        for block in source.blocks(0, None):
            whole.add(block, mix(block))
    if ends.problem and whole.problem:
        raise UnusableFile(whole.problem)


@contextmanager
def report_unreadable(path: Path | str) -> Iterator[None]:
    """Convert errors of a file to UnreadableAudio with the path in the message."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise UnreadableAudio(f"{path}: its name is not text in UTF-8; rename it") from error
    except ValueError as error:  # raised for an invalid file name, before the file is opened
        if "\0" not in str(path):
            raise
        raise UnreadableAudio(f"{str(path)!r}: a file name cannot contain a zero byte") from error
    except CutShort as error:
        raise UnreadableAudio(f"{path}: {_CUT_SHORT}") from error
    except UnusableFile as error:
        raise UnreadableAudio(f"{path}: {error}") from error
    except (soundfile.SoundFileError, OSError) as error:
        raise UnreadableAudio(f"{path}: {_describe_error(path, error)}") from error


Mix = Callable[[np.ndarray], np.ndarray]
"""Type of a function that converts samples (frames, channels) to mono (frames,)."""


def _choose_mix(path: Path | str, source: Source, channel: str) -> Mix:
    if channel == "mean" or source.channels == 1:
        return average_channels
    if channel == "loudest":
        status = Path(path).stat()
        column = _find_loudest(str(path), status.st_size, status.st_mtime_ns)
    else:
        column = ("left", "right").index(channel)
    return lambda samples: samples[:, column].copy()


@lru_cache(maxsize=100_000)
def _find_loudest(path: str, size: int, modified_ns: int) -> int:
    """Return the index of the channel of an audio file with the most power, the first one if several have equal power.

    Results are kept in memory by path, `size` in bytes and modification time `modified_ns` in nanoseconds, so that a
    changed file is decoded again.
    """
    with report_unreadable(path), open_unmeasured(path) as source:
        power = np.zeros(source.channels)
        for block in source.blocks(0, None):
            power += np.square(block, dtype=np.float64).sum(axis=0)
    return int(np.flatnonzero(power >= _EQUAL_POWER * power.max())[0])


def _read_resampled(source: Source, mix: Mix, sample_rate: int, start: int, length: int | None) -> np.ndarray:
    rate = source.sample_rate
    common = math.gcd(rate, sample_rate)
    step_in, step_out = rate // common, sample_rate // common
    # Start at a time that is a whole sample at both rates, and early enough for the filter to settle before the
    # segment.
    margin = 0 if rate == sample_rate else math.ceil(_FILTER_REACH * max(1, rate / sample_rate) / step_in)
    first_step = max(0, start // step_out - margin)
    if first_step * step_in >= source.frames:
        return np.zeros(0, dtype=np.float32)
    frames = None
    if length is not None:
        last_step = -(-(start + length) // step_out) + margin
        frames = (last_step - first_step) * step_in
    begin = first_step * step_in
    parts = [mix(block) for block in source.blocks(begin, frames)]
    expected = source.frames - begin if frames is None else min(frames, source.frames - begin)
    if not parts or sum(map(len, parts)) < expected - source.tolerated_seconds * rate:
        raise CutShort
    samples = parts[0] if len(parts) == 1 else np.concatenate(parts)
    skipped = start - first_step * step_out
    resampled = resample(samples, rate, sample_rate)
    return resampled[skipped:] if length is None else resampled[skipped : skipped + length]


def _block_frames(source: Source, seconds: float) -> int:
    return max(1, round(seconds * source.sample_rate))


def _resample_blocks(
    source: Source, blocks: Iterator[np.ndarray], mix: Mix, sample_rate: int, block_seconds: float
) -> Iterator[np.ndarray]:
    rate, frames = source.sample_rate, _block_frames(source, block_seconds)
    resampler = None if rate == sample_rate else soxr.ResampleStream(rate, sample_rate, 1, "float32", _QUALITY)
    read = 0
    for samples in _rebatch(map(mix, blocks), frames):
        read, is_last = read + len(samples), len(samples) < frames
        yield samples if resampler is None else resampler.resample_chunk(samples, last=is_last)
    if source.is_measured and source.frames - read > source.tolerated_seconds * rate:
        raise CutShort


def _rebatch(blocks: Iterator[np.ndarray], length: int) -> Iterator[np.ndarray]:
    """Yield the samples of blocks of any length in new blocks of `length` samples.

    The last block is shorter and may be empty.
    """
    parts: list[np.ndarray] = []
    gathered = 0
    for block in blocks:
        if not parts and len(block) == length:
            yield block
            continue
        while gathered + len(block) >= length:
            needed = length - gathered
            yield np.concatenate([*parts, block[:needed]])
            parts, gathered, block = [], 0, block[needed:]
        if len(block):
            parts.append(block)
            gathered += len(block)
    yield np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def resample(samples: np.ndarray, from_rate: int, to_rate: int) -> np.ndarray:
    """Resample along the last axis with a band-limited filter (soxr, quality "VHQ").

    Args:
        samples: (..., samples) float32.
        from_rate: sample rate of `samples` in hertz.
        to_rate: sample rate of the result in hertz.

    Returns:
        (..., resampled samples) float32.

    Examples:
        >>> resample(np.zeros((2, 44100), dtype=np.float32), 44100, 16000).shape
        (2, 16000)
    """
    if from_rate == to_rate:
        return samples
    channels = samples.reshape(-1, samples.shape[-1]).T
    resampled = soxr.resample(channels, from_rate, to_rate, _QUALITY)
    return np.ascontiguousarray(resampled.T).reshape(*samples.shape[:-1], -1)


def _describe_error(path: Path | str, error: Exception) -> str:
    if not Path(path).exists():
        return f"no such file{missing_hint(path)}"
    text = str(getattr(error, "error_string", None) or error).rstrip(".")
    return next((reason for part, reason in _REASONS.items() if part in text), text)
