"""Signals and audio files of the tests; files as other programs write them are made by editing bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from ssc_toolkit.audio import check_decodes, read_audio, stream_audio

RATE = 8000
"""Sample rate of files where the test asks for no other."""


def write_audio(path: Path, samples: np.ndarray, rate: int = RATE, **kind: str) -> Path:
    """Write samples of shape (samples,) or (samples, channels) in the format of the suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **kind)
    return path


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    """A sine wave. (samples,)."""
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def write_tones(folder: Path, pitches: Sequence[float], rate: int = RATE) -> list[str]:
    """Write a tone of one second for each pitch in hertz, and return the names of the files."""
    names = [f"{number:02d}.wav" for number in range(len(pitches))]
    for name, hertz in zip(names, pitches, strict=True):
        write_audio(folder / name, tone(hertz, 1.0, rate), rate)
    return names


def write_noise(
    path: Path, seconds: float = 2.0, rate: int = RATE, channels: int = 1, seed: int = 0, **kind: str
) -> Path:
    """Write a file of smoothed noise."""
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels))
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(8) / 8, "same"), 0, samples)
    return write_audio(path, smooth, rate, **kind)


def loud_and_quiet(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """A tone that rises, loud and nearly silent by turns: its bit rate varies much. (samples,)."""
    time = np.arange(round(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * (220 + 40 * time) * time) * np.where(time % 2 < 1, 1, 0.002)
    return tone + 0.0005 * np.random.default_rng(seed).standard_normal(len(time))


def vbr_mp3(path: Path, samples: np.ndarray, rate: int = 44100) -> bytes:
    """Write an MP3 file of variable bit rate with a Xing header, and return its bytes."""
    soundfile.write(path, samples, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=0.2)
    return path.read_bytes()


def without_xing(content: bytes) -> bytes:
    """An MP3 file without its first frame, the one with the header."""
    return content[content.index(content[:2], 4) :]


def id3v2(size: int) -> bytes:
    return b"ID3\x03\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + bytes(size)


def assert_segments_agree(path: Path, seconds: float, tolerance: float = 0.06) -> np.ndarray:
    """Check the length that every reader gives, and segments against the whole decode, which is returned."""
    info = check_decodes(path)
    assert abs(info.seconds - seconds) <= tolerance
    whole = read_audio(path, info.sample_rate)
    assert len(whole) == info.frames
    np.testing.assert_allclose(np.concatenate(list(stream_audio(path, info.sample_rate, 0.7))), whole, atol=1e-6)
    starts = np.random.default_rng(0).integers(0, len(whole), 12).tolist()
    for start in [0, *starts, len(whole) - 3000]:
        expected = np.pad(whole, (0, 5000))[start : start + 5000]
        np.testing.assert_allclose(read_audio(path, info.sample_rate, start, 5000), expected, atol=1e-6)
    at_16_khz = read_audio(path, 16000)
    for start in (0, 12345, len(at_16_khz) - 6000):
        segment = read_audio(path, 16000, start, 6000)
        np.testing.assert_allclose(segment, at_16_khz[start : start + 6000], atol=1e-4)
    return whole


def correlation(heard: np.ndarray, meant: np.ndarray, delay: int = 0) -> float:
    """Of decoded samples with those that were encoded, when they come `delay` samples late."""
    heard = heard[delay:]
    length = min(len(heard), len(meant))
    return float(np.corrcoef(heard[:length], meant[:length])[0, 1])
