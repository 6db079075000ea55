"""Colored noise, which has a power-law spectrum."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, db_to_amplitude, per_clip, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.spectrum import find_fast_length
from ssc_toolkit.checks import Range, check_range

FLOOR_HZ = 20.0


class ColoredNoise(Transform):
    """Add noise of power spectral density 1 / f^spectral_decay at a given signal-to-noise ratio.

    A decay of 0 gives white noise, 1 pink noise, 2 brown noise, -1 blue noise and -2 violet noise. Each unit of decay
    changes the density by -3.01 dB per octave. Below 20 Hz, the density is constant. The noise is Gaussian and differs
    between the clips of a batch. All channels of a clip get the same noise. The energy of the clip divided by the
    energy of the noise, both over all channels, is exactly the drawn ratio. Silent clips stay silent.

    Args:
        snr_db: signal-to-noise ratio in decibels, -200 to 200; a number, or (low, high) to draw from uniformly.
        spectral_decay: exponent, -10 to 10; a number, or (low, high) to draw from uniformly.
        sample_rate: sample rate of the waveforms in hertz.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Examples:
        >>> import torch
        >>> noise = ColoredNoise(snr_db=(3, 30), spectral_decay=(-2, 2), sample_rate=16000)
        >>> noise(torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    selective = True

    def __init__(
        self,
        snr_db: Range = (3.0, 30.0),
        spectral_decay: Range = (-2.0, 2.0),
        *,
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.snr_db = check_range("snr_db", snr_db, -200, 200)
        self.spectral_decay = check_range("spectral_decay", spectral_decay, -10, 10)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {
            "snr_db": generator.uniform(self.snr_db),
            "spectral_decay": generator.uniform(self.spectral_decay),
            "seed": generator.integers((0, 2**31 - 1)),
        }

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        noise = self._noise(waveforms.shape[-1], values, waveforms.dtype)
        return add_at_ratio(waveforms, noise[:, None], values["snr_db"])

    def _noise(self, samples: int, values: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
        length = find_fast_length(samples)
        seed = values["seed"]
        rate = require_sample_rate(self.sample_rate)
        frequencies = torch.fft.rfftfreq(length, 1 / rate, device=seed.device, dtype=dtype)
        log_frequencies = frequencies.clamp(min=FLOOR_HZ).log()
        amplitudes = torch.exp(log_frequencies * (-0.5 * values["spectral_decay"].to(dtype)[:, None]))
        if length > 1:
            amplitudes[:, 0] = 0  # no DC offset
        spectrum = draw_spectrum(seed, len(frequencies), dtype) * amplitudes
        return torch.fft.irfft(spectrum, n=length)[:, :samples]


def add_at_ratio(waveforms: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Scale noise to a signal-to-noise ratio over all channels, and add it to waveforms.

    Args:
        waveforms: (N, channels, samples).
        noise: (N, channels, samples), or (N, 1, samples) to use the same noise for all channels.
        snr_db: (N,) signal-to-noise ratios in decibels.

    Returns:
        Waveforms with noise, (N, channels, samples).
    """
    dimensions = (1, 2)
    signal_rms = torch.linalg.vector_norm(waveforms, dim=dimensions) / math.sqrt(waveforms.shape[1:].numel())
    noise_rms = torch.linalg.vector_norm(noise, dim=dimensions) / math.sqrt(noise.shape[1:].numel())
    audible = noise_rms > 0
    scale = torch.where(
        audible, signal_rms / noise_rms.where(audible, 1.0) * db_to_amplitude(-snr_db, noise.dtype), 0.0
    )
    return torch.addcmul(waveforms, per_clip(scale), noise)


def draw_spectrum(seed: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Return random complex numbers of mean 0, (N, count), as the spectra of N noises.

    `seed` is (N,) int64, and `dtype` is the dtype of the real and imaginary parts, which come from `draw_numbers`.

    Each sample of the inverse FFT is a sum of thousands of these numbers and is therefore approximately Gaussian.
    """
    return torch.view_as_complex(draw_numbers(seed, 2 * count, dtype).unflatten(-1, (count, 2)))


def draw_numbers(seed: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """Return (N, count) independent random numbers, uniformly distributed between -32768 and 32768.

    This is a counter-based generator: each number is a 32-bit integer hash (the finalizer of MurmurHash3) of the seed
    of its row and its position in the row. The numbers are the same on every device and in any slice of a batch.

    Args:
        seed: (N,) int64, 0 to 2**31 - 1.
        count: number of columns, which is even.
        dtype: dtype of the numbers.
    """
    position = torch.arange(count // 2, device=seed.device, dtype=torch.int32)
    start = _hash32(seed.int() ^ -0x61C88647)
    bits = _hash32(_hash32(position) ^ start[:, None])
    return bits.view(torch.int16).to(dtype).add_(0.5)


def _hash32(value: Tensor) -> Tensor:
    """Hash 32-bit integers (the finalizer of MurmurHash3)."""
    value = (value ^ ((value >> 16) & 0xFFFF)) * -0x7A143595
    value = (value ^ ((value >> 13) & 0x7FFFF)) * -0x3D4D51CB
    return value ^ ((value >> 16) & 0xFFFF)
