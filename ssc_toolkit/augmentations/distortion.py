"""Distortion, clipping and bit reduction."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, db_to_amplitude, per_clip
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.checks import Range, check_integer_range, check_range


class Distortion(Transform):
    """Distort the waveform by a hyperbolic tangent: y = tanh(10^(drive_db / 20) x).

    Samples of small magnitude are amplified by about `drive_db`. The magnitude of the result is at most 1.

    Args:
        drive_db: gain before the hyperbolic tangent in decibels, -60 to 60; a number, or (low, high) to draw from
            uniformly.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> Distortion(drive_db=20)(torch.tensor([[[0.01, 0.1, 1.0]]]))
        tensor([[[0.0997, 0.7616, 1.0000]]])
    """

    def __init__(self, drive_db: Range = (3.0, 15.0), *, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.drive_db = check_range("drive_db", drive_db, -60, 60)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"drive_db": generator.uniform(self.drive_db)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return torch.tanh(waveforms * per_clip(db_to_amplitude(values["drive_db"], waveforms.dtype)))


class Clipping(Transform):
    """Limit the magnitude of samples to a threshold relative to the peak of the waveform.

    Args:
        threshold_db: threshold in decibels relative to the largest magnitude in any channel, -60 to 0; a number, or
            (low, high) to draw from uniformly.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> Clipping(threshold_db=-20)(torch.tensor([[[0.02, 0.5, -1.0]]]))
        tensor([[[ 0.0200,  0.1000, -0.1000]]])
    """

    def __init__(self, threshold_db: Range = (-12.0, -3.0), *, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.threshold_db = check_range("threshold_db", threshold_db, -60, 0)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"threshold_db": generator.uniform(self.threshold_db)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        limit = per_clip(measure_peak(waveforms) * db_to_amplitude(values["threshold_db"], waveforms.dtype))
        return torch.clamp(waveforms, min=-limit, max=limit)


class BitCrush(Transform):
    """Round samples to the levels of b-bit integers: y = round(2^(b - 1) x) / 2^(b - 1).

    The backward pass treats the rounding as the identity (straight-through estimator).

    Args:
        bits: number of bits b, 1 to 24; an integer, or (low, high) to draw from uniformly, both ends included.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> BitCrush(bits=3)(torch.tensor([[[0.1, 0.2, -0.7]]]))
        tensor([[[ 0.0000,  0.2500, -0.7500]]])
    """

    def __init__(self, bits: Range = (4, 8), *, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.bits = check_integer_range("bits", bits, 1, 24)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"bits": generator.integers(self.bits)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        levels = per_clip(2 ** (values["bits"].to(waveforms.dtype) - 1))
        with torch.no_grad():
            crushed = (waveforms * levels).round_().div_(levels)
        return straight_through(waveforms, crushed)


def measure_peak(waveforms: Tensor) -> Tensor:
    """Return the largest magnitude in each clip, (N,), of waveforms (N, channels, samples)."""
    lowest, highest = waveforms.flatten(1).aminmax(dim=1)
    return torch.maximum(highest, -lowest)


def straight_through(waveforms: Tensor, changed: Tensor) -> Tensor:
    """Return `changed`, with the gradient of the identity with respect to `waveforms` (straight-through estimator)."""
    if torch.is_grad_enabled() and waveforms.requires_grad:
        return waveforms + (changed - waveforms).detach()
    return changed
