"""Transforms that follow the published code of SemiSupCon where it differs from the paper.

The code is github.com/Pliploop/SemiSupCon by Guinot, Quinton and Fazekas, ISMIR 2024, which uses torch-audiomentations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import per_clip, require_sample_rate
from ssc_toolkit.augmentations.delay import Delay, compute_echo_response, shift_right
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.linear import Grid, Reach
from ssc_toolkit.augmentations.noise import ColoredNoise, draw_spectrum
from ssc_toolkit.augmentations.pitch import PitchShift
from ssc_toolkit.checks import Range

SPREAD = 0.2
"""Amount by which `PublishedDelay` increases or decreases volume and attenuation at random."""


class PublishedDelay(Delay):
    """Add echoes to the waveform, the first of them without a delay, and divide the sum by 2.

        y[n] = (x[n] + volume * sum over r = 0 ... repeats - 1 of attenuation^r * x[n - r * delay]) / 2

    For each clip, the volume and the attenuation are changed by .2 or -.2 and the number of echoes by 1 or -1, each at
    random. A single echo has no delay, so the result is the waveform times (1 + volume) / 2.

    Args:
        delay_ms: delay in milliseconds, up to 10 seconds; a number, or (low, high) to draw a whole number of samples
            from uniformly.
        volume: amplitude of the first echo before the random change, 0 to 2.
        repeats: number of echoes before the random change, 0 to 1000. After the change, it is at least 0.
        attenuation: amplitude of each echo divided by that of the previous echo, before the random change, 0 to 1.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> click = torch.zeros(1, 1, 8)
        >>> click[..., 0] = 1
        >>> delay = PublishedDelay(delay_ms=2, volume=0.5, repeats=2, attenuation=0.5, sample_rate=1000)
        >>> echo, draw = delay(click, generator=torch.Generator().manual_seed(4), return_draw=True)
        >>> draw.describe()
        ['PublishedDelay(delay_samples=2, volume=0.7, repeats=3, attenuation=0.3)']
        >>> echo
        tensor([[[0.8500, 0.0000, 0.1050, 0.0000, 0.0315, 0.0000, 0.0000, 0.0000]]])
    """

    min_delay_samples = 0
    max_delay_ms = 10_000.0
    max_volume = 2.0
    min_repeats = 0

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        def either(low: float, high: float) -> Tensor:
            return torch.tensor([low, high])[generator.integers((0, 1))]

        return {
            "delay_samples": generator.integers(self._samples()),
            "volume": either(self.volume - SPREAD, self.volume + SPREAD),
            "repeats": either(max(0, self.repeats - 1), self.repeats + 1),
            "attenuation": either(self.attenuation - SPREAD, self.attenuation + SPREAD),
        }

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        delay, longest = values["delay_samples"], self._samples()[1]
        result = waveforms
        for echo, level in self._levels(values, waveforms.dtype):
            late = shift_right(waveforms, delay * echo, longest * echo) if echo else waveforms
            result = torch.addcmul(result, per_clip(level[:, 0]), late)
        return result / 2

    def reach(self, samples: int) -> Reach:
        return Reach(0, min(samples, self._samples()[1] * self.repeats))

    def response(self, values: Mapping[str, Tensor], grid: Grid) -> Tensor:
        echoes = self._levels(values, grid.cycles.dtype)
        return compute_echo_response(values["delay_samples"], echoes, grid) / 2

    def _levels(self, values: Mapping[str, Tensor], dtype: torch.dtype) -> Iterator[tuple[int, Tensor]]:
        """Yield pairs (r, amplitudes) for all possible echoes r = 0, 1, ... of N clips.

        The amplitudes are (N, 1), and 0 for a clip that has no echo r. `values` are as from `draw_values`.
        """
        volume, attenuation = values["volume"].to(dtype), values["attenuation"].to(dtype)
        for echo in range(self.repeats + 1):
            yield echo, torch.where(values["repeats"] > echo, volume * attenuation**echo, 0.0)[:, None]

    def _samples(self) -> tuple[int, int]:
        """Return the shortest and longest delay between two echoes that can be drawn, in samples."""
        low, high = (int(ms * require_sample_rate(self.sample_rate) / 1000) for ms in self.delay_ms)
        return low, high


class PublishedNoise(ColoredNoise):
    """Add noise that repeats every second, with the spectrum of the colored noise of torch-audiomentations.

    At f hertz and a sample rate of r hertz, the amplitude is (1 + f (sqrt(r / 2) - 1) / (r / 2))^-spectral_decay. It is
    nearly constant up to about 100 Hz. Far above 100 Hz, each unit of decay changes it by -6.02 dB per octave. The
    level is set as in `ColoredNoise`.

    Args:
        snr_db: as for `ColoredNoise`.
        spectral_decay: as for `ColoredNoise`.
        sample_rate: as for `ColoredNoise`.
        p: as for `ColoredNoise`.

    Examples:
        >>> import torch
        >>> noise = PublishedNoise(snr_db=(3, 30), spectral_decay=(-2, 2), sample_rate=16000)
        >>> noise(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    def _noise(self, samples: int, values: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        seed, rate = values["seed"], require_sample_rate(self.sample_rate)
        bins = torch.linspace(1, math.sqrt(rate / 2), rate // 2 + 1, device=seed.device, dtype=dtype)
        amplitudes = bins ** -values["spectral_decay"].to(dtype)[:, None]
        second = torch.fft.irfft(draw_spectrum(seed, len(bins), dtype) * amplitudes, n=rate)
        return second.repeat(1, -(-samples // rate))[:, :samples]


class PublishedPitchShift(PitchShift):
    """Shift the pitch by one of the frequency ratios that are fast in torch-pitch-shift, with equal probabilities.

    A ratio a / b is fast if a and b are two different divisors of the sample rate, both above 1. At 22 050 Hz, there
    are 14 fast ratios within 4 semitones, from -3.16 to 3.16 semitones. The shift is computed as in `PitchShift`.

    Args:
        shift_semitones: (low, high) range of the ratios in semitones, -48 to 48.
        sample_rate: as for `PitchShift`.
        n_fft: as for `PitchShift`.
        p: as for `PitchShift`.

    Raises:
        ValueError: as for `PitchShift`, or if there is no fast ratio in the range.

    Examples:
        >>> shift = PublishedPitchShift(shift_semitones=(-4, 4), sample_rate=22050)
        >>> len(shift.steps), round(max(shift.steps), 2)
        (14, 3.16)
    """

    def __init__(
        self,
        shift_semitones: Range = (-4.0, 4.0),
        *,
        sample_rate: int,
        n_fft: int | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(shift_semitones, sample_rate=sample_rate, n_fft=n_fft, p=p)
        low, high = self.shift_semitones
        self.steps = [step for step in _fast_steps(require_sample_rate(sample_rate)) if low <= step <= high]
        if not self.steps:
            raise ValueError(
                f"sample_rate: expected one with a ratio of two divisors within {low:g} to {high:g} semitones, "
                f"got {sample_rate}"
            )

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"shift_semitones": torch.tensor(self.steps)[generator.integers((0, len(self.steps) - 1))]}


def _fast_steps(sample_rate: int) -> list[float]:
    """Return the pitch shifts in semitones, in ascending order, that are fast in torch-pitch-shift.

    Their frequency ratios are a / b for two different divisors a and b of the sample rate, both above 1.
    """
    divisors = [number for number in range(2, sample_rate + 1) if sample_rate % number == 0]
    ratios = {Fraction(a, b) for a in divisors for b in divisors if a != b}
    return sorted(12 * math.log2(ratio) for ratio in ratios)
