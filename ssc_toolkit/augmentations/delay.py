"""Echoes at multiples of a delay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.augmentations.base import require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.linear import Grid, Linear, Reach
from ssc_toolkit.checks import Range, check_integer, check_number, check_range


class Delay(Linear):
    """Add echoes to the waveform. Each echo follows the previous one by the same delay.

        y[n] = x[n] + sum over r = 1 ... repeats of volume * attenuation^(r - 1) * x[n - r * delay]

    Args:
        delay_ms: delay in milliseconds, one sample to one minute; a number, or (low, high) to draw from uniformly. The
            delay is rounded to whole samples.
        volume: amplitude of the first echo relative to the waveform, 0 to 1.
        repeats: number of echoes, 1 to 1000.
        attenuation: amplitude of each echo divided by that of the previous echo, 0 to 1.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> click = torch.zeros(1, 1, 8)
        >>> click[..., 0] = 1
        >>> Delay(delay_ms=2, volume=0.5, repeats=2, attenuation=0.5, sample_rate=1000)(click)
        tensor([[[1.0000, 0.0000, 0.5000, 0.0000, 0.2500, 0.0000, 0.0000, 0.0000]]])
    """

    direct = True
    min_delay_samples: ClassVar[int] = 1
    max_delay_ms: ClassVar[float] = 60_000.0
    max_volume: ClassVar[float] = 1.0
    min_repeats: ClassVar[int] = 1

    def __init__(
        self,
        delay_ms: Range = (100.0, 500.0),
        *,
        volume: float = 0.5,
        repeats: int = 2,
        attenuation: float = 0.5,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.delay_ms = check_range(
            "delay_ms", delay_ms, self.min_delay_samples * 1000 / sample_rate, self.max_delay_ms
        )
        self.volume = check_number("volume", volume, 0, self.max_volume)
        self.attenuation = check_number("attenuation", attenuation, 0, 1)
        self.repeats = check_integer("repeats", repeats, self.min_repeats, 1000)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"delay_ms": generator.uniform(self.delay_ms)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        delay, longest = self._delay(values), self._longest()
        result = waveforms
        for echo, level in self._echoes(waveforms.shape[-1]):
            result = torch.add(result, shift_right(waveforms, delay * echo, longest * echo), alpha=level)
        return result

    def reach(self, samples: int) -> Reach:
        return Reach(0, min(samples, self._longest() * self.repeats))

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        return compute_echo_response(self._delay(values), self._echoes(grid.samples), grid)

    def _echoes(self, samples: int) -> Iterator[tuple[int, float]]:
        """Yield a pair (r, amplitude) for each echo r = 1, 2, ... that can begin within a clip of `samples` samples."""
        shortest = math.floor(self.delay_ms[0] * require_sample_rate(self.sample_rate) / 1000)
        most = min(self.repeats, samples // max(1, shortest) + 1)
        return ((echo, self.volume * self.attenuation ** (echo - 1)) for echo in range(1, most + 1))

    def _longest(self) -> int:
        """Return the longest delay between two echoes that can be drawn, in samples."""
        return math.ceil(self.delay_ms[1] * require_sample_rate(self.sample_rate) / 1000)

    def _delay(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the delays of N clips, (N,) int64 in samples, from parameters as from `draw_values`."""
        return (values["delay_ms"] * (require_sample_rate(self.sample_rate) / 1000)).round().long()


def compute_echo_response(delay: Tensor, echoes: Iterable[tuple[int, float | Tensor]], grid: Grid) -> Tensor:
    """Compute the frequency responses of echoes that are added to N clips.

    Echoes that begin after the end of the clip are left out.

    Args:
        delay: (N,) delays between two echoes in whole samples.
        echoes: pairs (r, amplitude), one per echo. The delay of echo r is r times `delay`. The amplitude is a number or
            a tensor (N, 1).
        grid: frequencies of the response.

    Returns:
        (N, frequencies) complex responses.
    """
    # Count the phase in integer steps, because a large angle would be inexact in single precision.
    step = -2 * math.pi / grid.length
    angles = torch.arange(grid.length, device=grid.cycles.device, dtype=grid.cycles.dtype) * step
    circle = torch.polar(torch.ones_like(angles), angles)
    delay = delay[:, None]
    steps = delay * torch.arange(len(grid.cycles), device=delay.device)
    total = torch.ones_like(circle[:1])
    for echo, level in echoes:
        audible = delay * echo < grid.samples
        total = total + (level * audible) * circle[(steps * echo) % grid.length]
    return total


def shift_right(waveforms: Tensor, shift: Tensor, max_shift: int) -> Tensor:
    """Delay each of N clips by a separate number of samples, and fill its beginning with zeros.

    Args:
        waveforms: (N, channels, samples).
        shift: (N,) delays in whole samples, 0 to `max_shift`.
        max_shift: upper bound of `shift`. It is a Python number, because reading a tensor would wait for the GPU.

    Returns:
        The delayed clips, (N, channels, samples).
    """
    samples = waveforms.shape[-1]
    padding = min(max_shift, samples)
    # Indexing one window per clip of the padded waveform is about three times as fast as a gather.
    windows = F.pad(waveforms, (padding, 0)).unfold(-1, samples, 1)
    rows = torch.arange(len(waveforms), device=waveforms.device)
    return windows[rows, :, padding - shift.clamp(max=padding)]
