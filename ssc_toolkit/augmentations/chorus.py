"""Chorus effect."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.checks import Range, check_number, check_range


class Chorus(Transform):
    """Mix the waveform with a copy whose delay, and therefore pitch, varies periodically.

        y[n] = (1 - mix) * x[n] + mix * x[n - d[n]]
        d[n] = delay_ms * (1 + depth * sin(2 pi (rate_hz * n / sample_rate + phase)))

    The second line gives the delay d in milliseconds; in the first line, it is converted to samples. Each clip of a
    batch has a random phase between 0 and 1. At fractional delays, the waveform is interpolated by a cubic (Lagrange)
    polynomial.

    Args:
        rate_hz: modulation frequency, 0.01 to 100 Hz; a number, or (low, high) to draw from uniformly.
        depth: modulation depth as a fraction of the delay, 0 to 1; a number, or (low, high) to draw from uniformly.
        delay_ms: mean delay of the copy, 0 to 100 ms.
        mix: fraction of the copy in the result, 0 to 1.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> Chorus(rate_hz=(0.5, 5), depth=(0.1, 0.5), sample_rate=16000)(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    selective = True

    def __init__(
        self,
        rate_hz: Range = (0.5, 5.0),
        depth: Range = (0.1, 0.5),
        *,
        delay_ms: float = 7.0,
        mix: float = 0.5,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.rate_hz = check_range("rate_hz", rate_hz, 0.01, 100)
        self.depth = check_range("depth", depth, 0, 1)
        self.delay_ms = check_number("delay_ms", delay_ms, 0, 100)
        self.mix = check_number("mix", mix, 0, 1)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {
            "rate_hz": generator.uniform(self.rate_hz),
            "depth": generator.uniform(self.depth),
            "phase": generator.uniform(),
        }

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        dtype = waveforms.dtype
        rate = require_sample_rate(self.sample_rate)
        time = torch.arange(waveforms.shape[-1], device=waveforms.device, dtype=dtype)
        turns = values["rate_hz"].to(dtype)[:, None] * (time / rate) + values["phase"].to(dtype)[:, None]
        swing = torch.sin(2 * math.pi * turns)
        delay = (self.delay_ms * rate / 1000) * (1 + values["depth"].to(dtype)[:, None] * swing)
        longest = math.ceil(2 * self.delay_ms * rate / 1000)
        return torch.lerp(waveforms, apply_delay(waveforms, delay, longest), self.mix)


def apply_delay(waveforms: Tensor, delay: Tensor, max_delay: int) -> Tensor:
    """Delay N clips by a time-varying number of samples. Before its first sample, a clip is taken to be 0.

    Args:
        waveforms: (N, channels, samples).
        delay: (N, samples) delay at each sample of each clip, in samples, 0 to `max_delay`; fractional delays use cubic
            interpolation.
        max_delay: upper bound of `delay`. It is a Python number, because reading a tensor would wait for the GPU.

    Returns:
        The delayed clips, (N, channels, samples).
    """
    samples = waveforms.shape[-1]
    whole = delay.floor()
    fraction = (delay - whole)[:, None]
    left, right = max_delay + 2, 1
    padded = torch.nn.functional.pad(waveforms, (left, right))
    newest = torch.arange(samples, device=delay.device) + (left + 1) - whole.long()

    def tap(number: int) -> Tensor:
        return padded.gather(-1, (newest - number)[:, None].expand(-1, waveforms.shape[1], -1))

    # Lagrange polynomial through the samples at delays of -1, 0, 1 and 2 relative to the whole part.
    after, at, before, far = tap(0), tap(1), tap(2), tap(3)
    third = (far - after) / 6 + (at - before) / 2
    second = (after + before) / 2 - at
    first = before - after / 3 - at / 2 - far / 6
    return at + fraction * (first + fraction * (second + fraction * third))
