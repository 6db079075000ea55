"""Noise whose spectrum falls or rises with frequency."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, check_range, need_sample_rate, per_clip, uniform
from ssc_toolkit.augmentations.spectrum import fast_length

FLOOR_HZ = 20.0


class ColoredNoise(Transform):
    """Add noise of power spectral density 1 / f^spectral_decay at a given signal-to-noise ratio.

    The noise is Gaussian, as long as the clip, and drawn as a spectrum; a decay of 0 is white, 1 pink,
    2 brown, -1 blue, -2 violet: -3.01 dB per octave for each unit of decay. Below 20 Hz the density
    stays level. The ratio is exact: of the energy of the clip to that of the noise, over all channels;
    silence stays silent. The channels of a clip get the same noise.

    Args:
        snr_db: (low, high) signal-to-noise ratio in decibels, drawn uniformly.
        spectral_decay: (low, high) exponent, drawn uniformly.
        sample_rate: hertz.
        p: probability for each example.

    Examples:
        >>> import torch
        >>> noise = ColoredNoise(snr_db=(3, 30), spectral_decay=(-2, 2), sample_rate=16000)
        >>> noise(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    selective = True

    def __init__(
        self,
        snr_db: tuple[float, float] | float = (3.0, 30.0),
        spectral_decay: tuple[float, float] | float = (-2.0, 2.0),
        *,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=need_sample_rate(sample_rate))
        self.snr_db = check_range("snr_db", snr_db, -200, 200)
        self.spectral_decay = check_range("spectral_decay", spectral_decay, -10, 10)

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {
            "snr_db": uniform(count, self.snr_db, generator),
            "spectral_decay": uniform(count, self.spectral_decay, generator),
            "seed": torch.randint(2**31, (count,), generator=generator),
        }

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        samples = waveforms.shape[-1]
        noise = self._noise(samples, values, waveforms.dtype)
        signal_rms = waveforms.square().mean(dim=(1, 2)).sqrt()
        noise_rms = noise.square().mean(dim=1).sqrt().clamp(min=torch.finfo(noise.dtype).tiny)
        scale = signal_rms / noise_rms * 10 ** (-values["snr_db"].to(waveforms.dtype) / 20)
        return waveforms + per_clip(scale) * noise[:, None]

    def _noise(self, samples: int, values: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        length = fast_length(samples)
        seed = values["seed"]
        frequencies = torch.fft.rfftfreq(
            length, 1 / need_sample_rate(self.sample_rate), device=seed.device, dtype=dtype
        )
        log_frequencies = frequencies.clamp(min=FLOOR_HZ).log()
        amplitudes = torch.exp(-0.5 * values["spectral_decay"].to(dtype)[:, None] * log_frequencies)
        amplitudes = amplitudes * (frequencies > 0)
        real, imaginary = gaussian_pairs(seed, len(frequencies), dtype)
        return torch.fft.irfft(torch.complex(real * amplitudes, imaginary * amplitudes), n=length)[:, :samples]


def gaussian_pairs(seed: Tensor, count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two independent (N, count) blocks of standard normal numbers that depend on each row's seed alone.

    A counter-based generator: a 32-bit integer hash (the finaliser of MurmurHash3) of seed and
    position, then Box-Muller. The same on every device up to rounding, and in any slice of a batch.

    Args:
        seed: (N,) int64, 0 to 2**31 - 1.
        count: numbers in each row.
        dtype: of the result.
    """
    position = torch.arange(count, device=seed.device)
    start = _hash32(seed[:, None] ^ 0x9E3779B9)
    first = _hash32((position * 2 + start) & 0xFFFFFFFF)
    second = _hash32((position * 2 + 1 + start) & 0xFFFFFFFF)
    radius = torch.sqrt(-2 * torch.log(_unit_interval(first, dtype)))
    angle = 2 * math.pi * _unit_interval(second, dtype)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def _hash32(value: Tensor) -> Tensor:
    value = ((value ^ (value >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    value = ((value ^ (value >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return value ^ (value >> 16)


def _unit_interval(value: Tensor, dtype: torch.dtype) -> Tensor:
    """32-bit integers to numbers strictly between 0 and 1."""
    return (value >> 8).to(dtype).add_(0.5).mul_(2.0**-24)
