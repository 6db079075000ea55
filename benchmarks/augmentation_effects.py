"""Measures that check that two transforms have the same effect on a signal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SAMPLES, RATE = 59535, 22050
Measure = Callable[[Tensor, Tensor], Tensor]
"""Function that takes input and output of a transform. Its result must agree between all libraries."""


def noise() -> Tensor:
    """Return white noise."""
    return 0.1 * torch.randn(4, 1, SAMPLES, generator=torch.Generator().manual_seed(0))


def tone() -> Tensor:
    """Return a sine of 440 Hz."""
    return 0.5 * torch.sin(2 * np.pi * 440 * torch.arange(SAMPLES) / RATE).expand(4, 1, -1)


SIGNALS = {"noise": noise, "tone": tone}


def samples(before: Tensor, after: Tensor) -> Tensor:
    """Return the output samples."""
    return after


def band_levels(before: Tensor, after: Tensor) -> Tensor:
    """Return the gain in dB in four frequency bands that exclude the filters' cutoffs. Lower gains become -20 dB."""
    power = [torch.fft.rfft(x, dim=-1).abs().square() for x in (before, after)]
    frequencies = torch.fft.rfftfreq(SAMPLES, 1 / RATE)
    levels = []
    for low, high in ((100, 400), (900, 1100), (1700, 2300), (5000, 9000)):
        inside = (frequencies > low) & (frequencies < high)
        levels.append(10 * torch.log10(power[1][..., inside].mean(-1) / power[0][..., inside].mean(-1)))
    return torch.stack(levels, -1).clamp(min=-20)


def noise_ratio(before: Tensor, after: Tensor) -> Tensor:
    """Return the signal-to-noise ratio in dB."""
    return 10 * torch.log10(before.square().sum(-1) / (after - before).square().sum(-1))


def strongest_hz(before: Tensor, after: Tensor) -> Tensor:
    """Return the frequency of the strongest partial in hertz."""
    middle = after[..., 8000:40000]
    spectrum = torch.fft.rfft(middle * torch.hann_window(middle.shape[-1]), n=2**19).abs()
    return spectrum.argmax(-1) * (RATE / 2**19)


def error_db(before: Tensor, after: Tensor) -> Tensor:
    """Return the ratio of signal to coding error in dB, after the levels are matched."""
    gain = (before * after).sum(-1, keepdim=True) / after.square().sum(-1, keepdim=True)
    return 10 * torch.log10(before.square().sum(-1) / (gain * after - before).square().sum(-1))


def peak(before: Tensor, after: Tensor) -> Tensor:
    """Return the largest magnitude of the output."""
    return after.abs().amax(-1)


def level(before: Tensor, after: Tensor) -> Tensor:
    """Return the change of the level of a steady tone in dB."""
    middle = slice(20000, 50000)
    return 20 * torch.log10(after[..., middle].std(-1) / before[..., middle].std(-1))


def zeros(before: Tensor, after: Tensor) -> Tensor:
    """Return the percentage of samples that are zero."""
    return 100 * (after == 0).float().mean()
