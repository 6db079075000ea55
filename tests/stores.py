"""Audio files for the tests of stores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def noise(path: Path, seconds: float = 2.0, rate: int = RATE, channels: int = 1, seed: int = 0, **kind: str) -> Path:
    """Write a file of smoothed noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.5, 0.5, (round(seconds * rate), channels))
    smooth = np.apply_along_axis(lambda column: np.convolve(column, np.ones(8) / 8, "same"), 0, samples)
    soundfile.write(path, smooth, rate, **kind)
    return path
