"""Graphic equalizer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import db_to_amplitude, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.linear import Grid, Linear, Reach
from ssc_toolkit.checks import Range, check_number, check_range

EDGE_OCTAVES = 0.15
"""Width of the transition between two bands in octaves: the standard deviation of a Gaussian."""
_OCTAVE_BANDS_HZ = tuple(1000 * 2.0**octave for octave in range(-5, 5))


class Equalizer(Linear):
    """Apply a graphic equalizer: each frequency band has a separate gain, and the phase is unchanged.

    Neighboring bands meet at the geometric mean of their centers. There, the gain in decibels changes smoothly from
    that of one band to that of the next, as the integral of a Gaussian with a standard deviation of 0.15 octaves. The
    lowest band begins at 0 Hz, and the highest band ends at the Nyquist frequency.

    Args:
        gain_db: gain in decibels, -60 to 60; a number, or (low, high) to draw from uniformly for each band.
        center_hz: ascending centers of the bands in hertz, at least a third of an octave apart. If None, 31.25, 62.5,
            125, ... 16 000 Hz, as far as they are below the Nyquist frequency.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if centers are too close to each other, or not below the Nyquist frequency.

    Examples:
        >>> import torch
        >>> equalizer = Equalizer(gain_db=(-12, 6), center_hz=(100, 400, 1600, 6400), sample_rate=16000)
        >>> equalizer(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    def __init__(
        self,
        gain_db: Range = (-12.0, 12.0),
        *,
        center_hz: Sequence[float] | None = None,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.gain_db = check_range("gain_db", gain_db, -60, 60)
        if center_hz is None:
            center_hz = [center for center in _OCTAVE_BANDS_HZ if center < sample_rate / 2]
        if isinstance(center_hz, str) or not isinstance(center_hz, Sequence):
            raise ValueError(f"center_hz: expected a list of frequencies, got {center_hz!r}")
        centers = [check_number("center_hz", center, 10, sample_rate / 2) for center in center_hz]
        apart = all(low * 1.25 <= high for low, high in pairwise(centers))
        if not centers or centers[0] < 10 or centers[-1] >= sample_rate / 2 or not apart:
            raise ValueError(
                "center_hz: expected ascending frequencies from 10 Hz to below the Nyquist frequency "
                f"{sample_rate / 2:g}, at least a third of an octave apart, got {centers}"
            )
        self.center_hz = tuple(centers)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"gain_db": generator.uniform(self.gain_db, size=len(self.center_hz))}

    def reach(self, samples: int) -> Reach:
        # The lowest transition is the narrowest one in hertz, so it determines the length of the impulse response.
        edge_hz = (self._edges()[0] if len(self.center_hz) > 1 else math.inf) * math.log(2) * EDGE_OCTAVES
        half = math.ceil(6.5 / (2 * math.pi * edge_hz) * require_sample_rate(self.sample_rate))
        return Reach(half, half)

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        gains = values["gain_db"].to(grid.cycles.dtype)
        frequencies = grid.cycles * require_sample_rate(self.sample_rate)
        octaves = torch.log2(frequencies.clamp(min=1e-3))
        level = gains[:, :1].expand(-1, len(octaves))
        for band, edge_hz in enumerate(self._edges(), start=1):
            above = 0.5 + 0.5 * torch.erf((octaves - math.log2(edge_hz)) * (math.sqrt(0.5) / EDGE_OCTAVES))
            level = torch.addcmul(level, gains[:, band : band + 1] - gains[:, band - 1 : band], above)
        return db_to_amplitude(level, level.dtype)

    def _edges(self) -> list[float]:
        """Return the frequencies in hertz at which neighboring bands meet, in ascending order."""
        return [math.sqrt(low * high) for low, high in pairwise(self.center_hz)]
