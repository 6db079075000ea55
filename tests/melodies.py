"""Melodies of one synthetic instrument, and versions of a recording as other programs write them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from audio_files import write_audio

from ssc_toolkit.audio import resample

MELODY_RATE = 16000


def melody(seed: int, seconds: float = 6.0) -> np.ndarray:
    """Random notes of a major scale with ten decaying partials, at one tempo. (samples,) float32."""
    random = np.random.default_rng(seed)
    total = np.zeros(round((seconds + 1) * MELODY_RATE))
    for begin in np.arange(0, seconds, 0.25):
        note = _note(60 + int(random.choice([0, 2, 4, 5, 7, 9, 11, 12])))
        first = round(begin * MELODY_RATE)
        total[first : first + MELODY_RATE] += random.uniform(0.5, 1) * note
    return (0.2 * total[: round(seconds * MELODY_RATE)]).astype(np.float32)


@lru_cache
def _note(pitch: int) -> np.ndarray:
    time = np.arange(MELODY_RATE) / MELODY_RATE
    hertz = 440 * 2 ** ((pitch - 69) / 12)
    partials = (np.exp(-time * (3 + n)) / n * np.sin(2 * np.pi * hertz * n * time) for n in range(1, 11))
    return np.sum(list(partials), axis=0)


def write_versions(folder: Path, samples: np.ndarray) -> dict[str, Path]:
    """Write near-duplicates of a recording at 16 kHz, and return their paths by name."""
    written = {
        "mp3": write_audio(folder / "compressed.mp3", samples, MELODY_RATE),
        "gain": write_audio(folder / "quiet.wav", 0.1 * samples, MELODY_RATE),
        "trimmed": write_audio(folder / "trimmed.wav", samples[MELODY_RATE:], MELODY_RATE),
        "end": write_audio(folder / "end.wav", samples[: -MELODY_RATE - 123], MELODY_RATE),
        "resampled": write_audio(folder / "resampled.flac", resample(samples, MELODY_RATE, 44100), 44100),
        "stereo": write_audio(folder / "stereo.wav", np.stack([samples, 0.5 * samples], 1), MELODY_RATE),
        "inverted": write_audio(folder / "inverted.wav", -samples, MELODY_RATE),
        "padded": write_audio(folder / "padded.wav", np.pad(samples, (7777, 0)), MELODY_RATE),
        "all": write_audio(
            folder / "all.mp3",
            0.3 * resample(samples[MELODY_RATE:], MELODY_RATE, 44100),
            44100,
            bitrate_mode="CONSTANT",
        ),
    }
    return written
