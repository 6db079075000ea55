"""Low-pass, high-pass, band-pass and band-stop filters with separate cutoffs for each clip of a batch.

All four are zero-phase Gaussian-windowed sinc filters. The frequency response of a low-pass filter with
a cutoff of c hertz is

    H(f) = 1/2 [erf((f + c) / (sqrt(2) w)) - erf((f - c) / (sqrt(2) w))]

where w is the width of its transition in hertz, the standard deviation of a Gaussian. The high-pass response is 1 - H.
The band-pass response is the difference of two low-pass responses, and the band-stop response is 1 minus this
difference. The response is -6 dB at the cutoff and -60 dB half an octave beyond it. The transitions of narrow bands are
steeper than that. The width w is at least 4 Hz, so that cutoffs below 50 Hz and bands of less than 25 Hz have a more
gradual response.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.linear import Grid, Linear, Reach
from ssc_toolkit.checks import Range, check_range

EDGE_WIDTH = 0.09
"""Width of the transition of a filter, the standard deviation of a Gaussian, as a fraction of its cutoff."""
NARROWEST_EDGE_HZ = 4.0
"""Minimum width of a transition in hertz. It limits impulse responses to less than 0.2 s before and after time 0."""
_EDGE_OF_A_BAND = 1 / 6  # maximum width of the transition of a band, as a fraction of its bandwidth


class Filter(Linear):
    """Base class of the four filters, which pass or remove the frequencies between two cutoffs."""

    stops = False

    def __init__(self, *, p: float, sample_rate: int | None) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))

    @abstractmethod
    def cutoffs_hz(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        """Return lower and upper cutoffs in hertz, (N,) each, from the drawn parameters of N clips.

        The lower cutoffs are None if the filter has only one cutoff.
        """

    @abstractmethod
    def narrowest_edge_hz(self) -> float:
        """Return the smallest width in hertz that the transition of the filter can have.

        It determines the length of the impulse response.
        """

    def reach(self, samples: int) -> Reach:
        # The impulse response has a Gaussian window, which is cut at 4.5 standard deviations.
        seconds = 4.5 / (2 * math.pi * max(self.narrowest_edge_hz(), NARROWEST_EDGE_HZ))
        half = math.ceil(seconds * require_sample_rate(self.sample_rate))
        return Reach(half, half)

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        low, high = self.cutoffs_hz(values)
        rate = require_sample_rate(self.sample_rate)
        frequencies = grid.cycles * rate
        if low is None:
            passed = compute_low_pass_response(high, frequencies, rate)
        else:
            widest = (high - low) * _EDGE_OF_A_BAND
            passed = compute_low_pass_response(high, frequencies, rate, widest)
            passed = passed - compute_low_pass_response(low, frequencies, rate, widest)
        return 1 - passed if self.stops else passed


class LowPass(Filter):
    """Pass the frequencies below a cutoff.

    Args:
        cutoff_hz: cutoff in hertz, where the response is -6 dB, from 1 Hz to the Nyquist frequency; a number, or
            (low, high) to draw from uniformly on the mel scale. For cutoffs below 50 Hz, the response is more gradual.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if the cutoff is below 1 Hz or above the Nyquist frequency.

    Examples:
        >>> import torch
        >>> LowPass(cutoff_hz=1000, sample_rate=16000)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    def __init__(self, cutoff_hz: Range, *, sample_rate: int, p: float = 1.0) -> None:
        super().__init__(p=p, sample_rate=sample_rate)
        self.cutoff_hz = check_range("cutoff_hz", cutoff_hz, 1, sample_rate / 2)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"cutoff_hz": draw_mel_uniform(generator, self.cutoff_hz)}

    def cutoffs_hz(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        return None, values["cutoff_hz"]

    def narrowest_edge_hz(self) -> float:
        return EDGE_WIDTH * self.cutoff_hz[0]


class HighPass(LowPass):
    """Pass the frequencies above a cutoff. Arguments and errors are those of `LowPass`.

    Examples:
        >>> import torch
        >>> HighPass(cutoff_hz=(200, 1200), sample_rate=16000)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    stops = True


class BandPass(Filter):
    """Pass the frequencies between two cutoffs: center - bandwidth / 2 and center + bandwidth / 2.

    Args:
        center_hz: center of the band in hertz, from 1 Hz to the Nyquist frequency; a number, or (low, high) to draw
            from uniformly on the mel scale.
        bandwidth_fraction: bandwidth divided by the center, 0.01 to 1.999; a number, or (low, high) to draw
            from uniformly. For bands of less than 25 Hz, the response is more gradual.
        sample_rate: sample rate of the waveforms in hertz. An upper cutoff above the Nyquist frequency has no effect.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if the center is above the Nyquist frequency or the fraction is out of range.

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

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {
            "center_hz": draw_mel_uniform(generator, self.center_hz),
            "bandwidth_fraction": generator.uniform(self.bandwidth_fraction),
        }

    def cutoffs_hz(self, values: Mapping[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        center, half = values["center_hz"], values["bandwidth_fraction"] / 2
        return center * (1 - half), center * (1 + half)

    def narrowest_edge_hz(self) -> float:
        narrowest, widest = self.bandwidth_fraction
        return self.center_hz[0] * min(EDGE_WIDTH * (1 - widest / 2), _EDGE_OF_A_BAND * narrowest)


class BandStop(BandPass):
    """Remove the frequencies between two cutoffs. Arguments and errors are those of `BandPass`.

    Examples:
        >>> import torch
        >>> notch = BandStop(center_hz=1000, bandwidth_fraction=0.5, sample_rate=16000)
        >>> notch(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    stops = True


def compute_low_pass_response(
    cutoff_hz: Tensor, frequencies: Tensor, sample_rate: int, max_edge_hz: Tensor | None = None
) -> Tensor:
    """Compute the frequency responses of N low-pass filters at F frequencies.

    Args:
        cutoff_hz: (N,) cutoffs in hertz.
        frequencies: (F,) frequencies in hertz.
        sample_rate: sample rate in hertz. A cutoff at half of it passes all frequencies.
        max_edge_hz: (N,) maximum widths of the transitions in hertz. None: no maximum.

    Returns:
        (N, F) amplitude factors.
    """
    cutoff = cutoff_hz.to(frequencies.dtype)[:, None]
    edge = EDGE_WIDTH * cutoff
    if max_edge_hz is not None:
        edge = torch.minimum(edge, max_edge_hz.to(edge.dtype)[:, None])
    scale = math.sqrt(0.5) / edge.clamp(min=NARROWEST_EDGE_HZ)
    passed = torch.erf((frequencies + cutoff) * scale) - torch.erf((frequencies - cutoff) * scale)
    # Add the spectral image around the sample rate, so that a cutoff at the Nyquist frequency passes everything.
    image = 1 - torch.erf((sample_rate - frequencies - cutoff) * scale)
    return 0.5 * (passed + image)


def draw_mel_uniform(generator: ExampleGenerator, bounds_hz: tuple[float, float]) -> Tensor:
    """Draw (N,) frequencies between `bounds_hz`, uniformly on the mel scale 2595 log10(1 + f / 700), in hertz."""
    low, high = (math.log1p(bound / 700) for bound in bounds_hz)
    return 700 * torch.expm1(generator.uniform((low, high)))
