"""Gain, polarity inversion and peak normalization."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, db_to_amplitude, per_clip
from ssc_toolkit.augmentations.distortion import measure_peak
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.linear import Scaling
from ssc_toolkit.checks import Range, check_range


class Gain(Scaling):
    """Scale the waveform by a gain in decibels, without clipping.

    Args:
        gain_db: gain in decibels, -200 to 200; a number, or (low, high) to draw from uniformly.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> Gain(gain_db=-20)(torch.ones(1, 1, 3))
        tensor([[[0.1000, 0.1000, 0.1000]]])
    """

    def __init__(self, gain_db: Range = (-15.0, 5.0), *, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.gain_db = check_range("gain_db", gain_db, -200, 200)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"gain_db": generator.uniform(self.gain_db)}

    def factor(self, values: Mapping[str, Tensor], like: Tensor) -> Tensor:
        return db_to_amplitude(values["gain_db"], like.dtype)


class PolarityInversion(Scaling):
    """Invert the sign of the waveform.

    Args:
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> PolarityInversion()(torch.ones(1, 1, 3))
        tensor([[[-1., -1., -1.]]])
    """

    def __init__(self, *, p: float = 1.0) -> None:
        super().__init__(p=p)

    def factor(self, values: Mapping[str, Tensor], like: Tensor) -> Tensor:
        return -like.new_ones(())


class PeakNormalization(Transform):
    """Scale the waveform so that its largest magnitude in any channel has a given level.

    Silent clips are returned unchanged.

    Args:
        peak_db: level of the largest magnitude in decibels relative to full scale, a magnitude of 1; -200 to 200. A
            number, or (low, high) to draw from uniformly.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> PeakNormalization()(torch.tensor([[[0.1, -0.2, 0.0]]]))
        tensor([[[ 0.5000, -1.0000,  0.0000]]])
    """

    def __init__(self, peak_db: Range = 0.0, *, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.peak_db = check_range("peak_db", peak_db, -200, 200)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"peak_db": generator.uniform(self.peak_db)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        peak = measure_peak(waveforms)
        audible = peak >= torch.finfo(peak.dtype).tiny
        factor = torch.where(audible, db_to_amplitude(values["peak_db"], peak.dtype) / peak.where(audible, 1.0), 1.0)
        return waveforms * per_clip(factor)
