"""Loudness and sign."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, check_range, per_clip, uniform


class Gain(Transform):
    """Scale the waveform by a gain in decibels; nothing is clipped.

    Args:
        gain_db: (low, high) in decibels, drawn uniformly.
        p: probability for each example.

    Examples:
        >>> import torch
        >>> Gain(gain_db=-20)(torch.ones(1, 1, 3))
        tensor([[[0.1000, 0.1000, 0.1000]]])
    """

    def __init__(self, gain_db: tuple[float, float] | float = (-15.0, 5.0), *, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.gain_db = check_range("gain_db", gain_db, -200, 200)

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"gain_db": uniform(count, self.gain_db, generator)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return waveforms * per_clip(10 ** (values["gain_db"] / 20)).to(waveforms.dtype)


class PolarityInversion(Transform):
    """Flip the sign of the waveform.

    Args:
        p: probability for each example.

    Examples:
        >>> import torch
        >>> PolarityInversion()(torch.ones(1, 1, 3))
        tensor([[[-1., -1., -1.]]])
    """

    def __init__(self, *, p: float = 1.0) -> None:
        super().__init__(p=p)

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        return -waveforms
