"""Low-pass, high-pass, band-pass and band-stop filters with their own cutoffs for each example.

All four are linear-phase (zero-delay) Gaussian-windowed sinc filters, given by their frequency response

    H(f) = 1/2 [erf((f + c) / (sqrt(2) w)) - erf((f - c) / (sqrt(2) w))]

for a low-pass at c hertz whose edge has the width w hertz; the others are 1 - H and differences of
two H. The edge is 6 dB down at the cutoff and 60 dB down half an octave beyond.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Range, check_range, need_sample_rate, uniform
from ssc_toolkit.augmentations.linear import Grid, Linear, Reach

EDGE_WIDTH = 0.09
"""Standard deviation of a filter's edge, as a share of its cutoff."""
NARROWEST_EDGE_HZ = 4.0
"""Edges of very low cutoffs are no narrower than this, so that impulse responses stay below 0.2 s."""


class Filter(Linear):
    """What the four filters share: they pass or stop what lies between two cutoffs."""

    stops = False

    def __init__(self, *, p: float, sample_rate: int | None) -> None:
        super().__init__(p=p, sample_rate=need_sample_rate(sample_rate))

    @abstractmethod
    def cutoffs_hz(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        """Lower and upper cutoff of each example, each (N,); None where there is no lower one."""

    @abstractmethod
    def lowest_cutoff_hz(self) -> float:
        """Lowest cutoff that can be drawn: it sets the length of the impulse response."""

    def reach(self, samples: int) -> Reach:
        half = math.ceil(impulse_seconds(self.lowest_cutoff_hz()) * need_sample_rate(self.sample_rate))
        return Reach(half, half)

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        low, high = self.cutoffs_hz(values)
        rate = need_sample_rate(self.sample_rate)
        frequencies = grid.cycles * rate
        passed = low_pass_response(high, frequencies, rate)
        if low is not None:
            passed = passed - low_pass_response(low, frequencies, rate)
        return 1 - passed if self.stops else passed


class LowPass(Filter):
    """Keep what lies below a cutoff.

    Args:
        cutoff_hz: (low, high) range of the -6 dB point, drawn uniformly on the mel scale.
        sample_rate: hertz.
        p: probability for each example.

    Raises:
        ValueError: for a cutoff that is not above 0, or above the Nyquist frequency.

    Examples:
        >>> import torch
        >>> LowPass(cutoff_hz=1000, sample_rate=16000)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    def __init__(self, cutoff_hz: Range, *, sample_rate: int, p: float = 1.0) -> None:
        super().__init__(p=p, sample_rate=sample_rate)
        self.cutoff_hz = check_range("cutoff_hz", cutoff_hz, 1, sample_rate / 2)

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"cutoff_hz": mel_uniform(count, self.cutoff_hz, generator)}

    def cutoffs_hz(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        return None, values["cutoff_hz"]

    def lowest_cutoff_hz(self) -> float:
        return self.cutoff_hz[0]


class HighPass(LowPass):
    """Keep what lies above a cutoff; arguments and errors as for `LowPass`.

    Examples:
        >>> import torch
        >>> HighPass(cutoff_hz=(200, 1200), sample_rate=16000)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    stops = True


class BandPass(Filter):
    """Keep what lies between two cutoffs, center * (1 -+ bandwidth_fraction / 2).

    Args:
        center_hz: (low, high) range of the band's centre, drawn uniformly on the mel scale.
        bandwidth_fraction: (low, high) range of the bandwidth over the centre, above 0 and below 2.
        sample_rate: hertz. An upper cutoff beyond the Nyquist frequency cuts nothing.
        p: probability for each example.

    Raises:
        ValueError: for a centre above the Nyquist frequency or a fraction out of range.

    Examples:
        >>> import torch
        >>> band = BandPass(center_hz=(200, 4000), bandwidth_fraction=(0.5, 1.99), sample_rate=16000)
        >>> band(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    def __init__(
        self,
        center_hz: Range,
        bandwidth_fraction: Range,
        *,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=sample_rate)
        self.center_hz = check_range("center_hz", center_hz, 1, sample_rate / 2)
        self.bandwidth_fraction = check_range("bandwidth_fraction", bandwidth_fraction, 0.01, 1.999)

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {
            "center_hz": mel_uniform(count, self.center_hz, generator),
            "bandwidth_fraction": uniform(count, self.bandwidth_fraction, generator),
        }

    def cutoffs_hz(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        center, half = values["center_hz"], values["bandwidth_fraction"] / 2
        return center * (1 - half), center * (1 + half)

    def lowest_cutoff_hz(self) -> float:
        return self.center_hz[0] * (1 - self.bandwidth_fraction[1] / 2)


class BandStop(BandPass):
    """Remove what lies between two cutoffs; arguments and errors as for `BandPass`.

    Examples:
        >>> import torch
        >>> notch = BandStop(center_hz=1000, bandwidth_fraction=0.5, sample_rate=16000)
        >>> notch(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    stops = True


def low_pass_response(cutoff_hz: Tensor, frequencies: Tensor, sample_rate: int) -> Tensor:
    """Response (N, F) of low-pass filters at cutoffs (N,), for frequencies (F,) from 0 to Nyquist."""
    cutoff = cutoff_hz.to(frequencies.dtype)[:, None]
    scale = math.sqrt(0.5) / (EDGE_WIDTH * cutoff).clamp(min=NARROWEST_EDGE_HZ)
    passed = torch.erf((frequencies + cutoff) * scale) - torch.erf((frequencies - cutoff) * scale)
    # The image about the sample rate: it makes a cutoff at Nyquist pass everything.
    image = 1 - torch.erf((sample_rate - frequencies - cutoff) * scale)
    return 0.5 * (passed + image)


def impulse_seconds(cutoff_hz: float) -> float:
    """Half the length of a filter's impulse response, to 4.5 standard deviations of its window."""
    edge = max(EDGE_WIDTH * cutoff_hz, NARROWEST_EDGE_HZ)
    return 4.5 / (2 * math.pi * edge)


def mel_uniform(count: int, bounds_hz: tuple[float, float], generator: torch.Generator | None) -> Tensor:
    """(count,) frequencies in hertz, uniform on the mel scale 2595 log10(1 + f / 700)."""
    low, high = (math.log1p(bound / 700) for bound in bounds_hz)
    return 700 * torch.expm1(uniform(count, (low, high), generator))
