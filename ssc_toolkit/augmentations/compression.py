"""Dynamic range compression."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.checks import Range, check_range


class Compression(Transform):
    """Reduce the level of samples that are louder than a threshold.

    The level of a sample is 20 log10 |x| decibels, where |x| is the largest magnitude over the channels. A level of
    e decibels above the threshold requires a reduction of e (1 - 1 / ratio) decibels. If the required reduction
    increases, the applied reduction follows immediately. If it decreases, the applied reduction decays exponentially
    with the release time. The applied reduction is then smoothed by a one-pole filter with the attack time. This is the
    decoupled peak detector in the log domain of Giannoulis, Massberg and Reiss, Digital Dynamic Range Compressor
    Design, Journal of the Audio Engineering Society 60(6), 2012. A steady tone whose peaks are e decibels above the
    threshold is reduced by e (1 - 1 / ratio) decibels.

    Each of the first five arguments is a number, or (low, high) to draw from uniformly.

    Args:
        threshold_db: threshold in decibels relative to full scale, a magnitude of 1; -120 to 0.
        ratio: compression ratio, 1 to 100.
        attack_ms: time constant of the smoothing of the reduction, 0.01 to 1000 ms.
        release_ms: time constant with which the reduction decays, 0.01 to 10000 ms.
        make_up_db: gain after the compression in decibels, -60 to 60.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> compress = Compression(threshold_db=-20, ratio=4, sample_rate=16000)
        >>> compress(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    selective = True

    def __init__(
        self,
        threshold_db: Range = (-40.0, -10.0),
        ratio: Range = (2.0, 8.0),
        attack_ms: Range = 1.0,
        release_ms: Range = 100.0,
        make_up_db: Range = 0.0,
        *,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.threshold_db = check_range("threshold_db", threshold_db, -120, 0)
        self.ratio = check_range("ratio", ratio, 1, 100)
        self.attack_ms = check_range("attack_ms", attack_ms, 0.01, 1000)
        self.release_ms = check_range("release_ms", release_ms, 0.01, 10000)
        self.make_up_db = check_range("make_up_db", make_up_db, -60, 60)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        names = ("threshold_db", "ratio", "attack_ms", "release_ms", "make_up_db")
        return {name: generator.uniform(getattr(self, name)) for name in names}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        per_sample = {name: value.to(waveforms.dtype)[:, None] for name, value in values.items()}
        samples_per_ms = require_sample_rate(self.sample_rate) / 1000
        level_db = _DECIBELS * waveforms.abs().amax(1).clamp(min=1e-6).log()
        excess_db = (level_db - per_sample["threshold_db"]).clamp(min=0) * (1 - 1 / per_sample["ratio"])
        held = apply_release(excess_db, per_sample["release_ms"] * samples_per_ms)
        longest_attack = self.attack_ms[1] * samples_per_ms
        reduction_db = smooth(held, per_sample["attack_ms"] * samples_per_ms, longest_attack)
        gain = torch.exp((per_sample["make_up_db"] - reduction_db) / _DECIBELS)
        return waveforms * gain[:, None]


_DECIBELS = 20 / math.log(10)
_NEGLIGIBLE = 16.0  # number of time constants after which an exponential decay is below single precision


def apply_release(signal: Tensor, time_constant: Tensor) -> Tensor:
    """Compute y[n] = max(x[n], e^(-1 / time_constant) y[n - 1]) without a loop over the samples.

    The logarithm of an exponential decay is linear in n. Therefore, log y[n] + n / time_constant is the running maximum
    of log x[n] + n / time_constant.

    Args:
        signal: N signals x, (N, samples), with values of at least 0.
        time_constant: (N, 1) time constant of each signal, in samples.

    Returns:
        (N, samples) signals y.
    """
    line = torch.arange(signal.shape[-1], device=signal.device, dtype=signal.dtype) / time_constant
    highest = (signal.clamp(min=1e-20).log() + line).cummax(-1).values
    return torch.exp(highest - line)


def smooth(signal: Tensor, time_constant: Tensor, max_time_constant: float) -> Tensor:
    """Compute y[n] = a y[n - 1] + (1 - a) x[n], a = e^(-1 / time_constant), without a loop over the samples.

    The result is the sum of (1 - a) a^k x[n - k] over k = 0, 1, 2, ... The loop doubles the number of terms until the
    remaining terms are negligible.

    Args:
        signal: N signals x, (N, samples).
        time_constant: (N, 1) time constant of each signal, in samples.
        max_time_constant: upper bound of the time constants. It is a Python number, because reading a tensor would
            wait for the GPU.

    Returns:
        (N, samples) signals y.
    """
    total = signal * -torch.expm1(-1 / time_constant)
    covered = 1
    while covered < min(_NEGLIGIBLE * max_time_constant, signal.shape[-1]):
        weight = torch.exp(-covered / time_constant)
        total = torch.cat([total[:, :covered], torch.addcmul(total[:, covered:], weight, total[:, :-covered])], dim=1)
        covered *= 2
    return total
