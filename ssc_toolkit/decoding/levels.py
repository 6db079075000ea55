"""Mean of channels, and detection of silence and of channels that cancel each other."""

from __future__ import annotations

import numpy as np

from ssc_toolkit.decoding.spans import UnusableFile

NOT_FINITE = "contains samples that are NaN or infinite"
SILENT = "is silent from beginning to end"
CANCELS = (
    "its channels cancel each other (opposite phase), so that their mean is silent; "
    'choose channel "left", "right" or "loudest"'
)
"""Message for a file whose channels have opposite phase."""

_SILENT_BELOW = 0.5 / 32768  # smaller samples round to zero in 16 bits
_CANCELED_POWER = 1e-6  # fraction of the channels' power that remains in the mean of opposite channels after coding


class Levels:
    """Peak and power of a file, or of parts of it, to detect silence.

    Args:
        channel: conversion of several channels to mono, as for `audio.read_audio`.
    """

    def __init__(self, channel: str) -> None:
        self._is_mean = channel == "mean"
        self.frames = 0
        self._peak = self._channel_peak = 0.0
        self._power = self._channel_power = 0.0

    def add(self, block: np.ndarray, mono: np.ndarray) -> None:
        """Add a block.

        Args:
            block: (frames, channels) float32.
            mono: (frames,) float32, the block converted to mono.

        Raises:
            UnusableFile: if a sample is NaN or infinite.
        """
        check_finite(block)
        self.frames += len(block)
        self._peak = max(self._peak, float(np.abs(mono).max()))
        self._channel_peak = max(self._channel_peak, float(np.abs(block).max()))
        self._power += float(np.square(mono, dtype=np.float64).sum())
        self._channel_power += float(np.square(block, dtype=np.float64).sum()) / block.shape[1]

    @property
    def problem(self) -> str:
        """Reason why the mono signal is silent; empty if it is not silent."""
        if self._channel_peak < _SILENT_BELOW:
            return SILENT
        if self._power >= _CANCELED_POWER * self._channel_power and self._peak >= _SILENT_BELOW:
            return ""
        return CANCELS if self._is_mean else "the chosen channel is silent, another one is not"


def check_finite(samples: np.ndarray) -> None:
    """Raise UnusableFile if a sample is NaN or infinite."""
    if not np.isfinite(samples).all():
        raise UnusableFile(NOT_FINITE)


def average_channels(samples: np.ndarray) -> np.ndarray:
    """Return the mean of the channels of (frames, channels) as a new array.

    Summing columns is 40 times as fast as NumPy's mean over rows.
    """
    if samples.shape[1] == 1:
        return samples[:, 0].copy()
    with np.errstate(invalid="ignore", over="ignore"):  # such samples are reported later
        mono = samples[:, 0] + samples[:, 1]
        for channel in range(2, samples.shape[1]):
            mono += samples[:, channel]
        mono /= np.float32(samples.shape[1])
        return mono
