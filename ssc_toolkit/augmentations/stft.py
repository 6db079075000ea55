"""Short-time Fourier transform, its inverse and its spectral peaks, for pitch shift and time stretch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.checks import check_integer

OVERLAP = 4
"""Number of frames that contain each sample. The hop size is the window length divided by this number."""
WINDOW_SECONDS = 0.093
SLICE_SAMPLES = 2**16
"""Number of samples that are processed at once on a CPU, so that their spectra fit in the cache."""


def apply_in_slices(change: Callable[..., Tensor], signals: Tensor, *values: Tensor) -> Tensor:
    """Apply a function to signals (N, samples) and their values (N, ...), on a CPU to a few signals at a time."""
    size = max(1, SLICE_SAMPLES // signals.shape[-1])
    if signals.device.type != "cpu" or torch.compiler.is_compiling() or len(signals) <= size:
        return change(signals, *values)
    slices = zip(*(tensor.split(size) for tensor in (signals, *values)), strict=True)
    return torch.cat([change(*some) for some in slices])


def choose_window_length(sample_rate: int, n_fft: int | None) -> int:
    """Check and return the window length `n_fft` in samples. For None, return the power of two nearest to 93 ms."""
    if n_fft is None:
        return 2 ** max(4, round(math.log2(WINDOW_SECONDS * sample_rate)))
    n_fft = check_integer("n_fft", n_fft, 16, 2**20)
    if n_fft % OVERLAP:
        raise ValueError(f"n_fft: expected a multiple of {OVERLAP}, at least 16, got {n_fft}")
    return n_fft


def hann_window(n_fft: int, like: Tensor) -> Tensor:
    """Return a periodic Hann window, (n_fft,), in the dtype and on the device of the tensor `like`."""
    return torch.hann_window(n_fft, device=like.device, dtype=like.dtype)


def count_frames(samples: int, hop: int) -> int:
    """Return the number of frames of a signal in which every sample is contained in `OVERLAP` frames.

    Args:
        samples: length of the signal in samples.
        hop: number of samples between the beginnings of two frames.
    """
    return -(-samples // hop) + OVERLAP - 1


def analyze(signals: Tensor, window: Tensor, frames: int) -> Tensor:
    """Compute short-time spectra (N, frames, bins) of signals (N, samples), with a window (n_fft,)."""
    n_fft = len(window)
    hop = n_fft // OVERLAP
    left = n_fft - hop
    right = (frames - 1) * hop + n_fft - left - signals.shape[-1]
    return torch.fft.rfft(F.pad(signals, (left, right)).unfold(-1, n_fft, hop) * window)


def synthesize(spectrum: Tensor, window: Tensor, samples: int) -> Tensor:
    """Compute signals (N, samples) from spectra (N, frames, bins) by overlap-add, weighted with a window (n_fft,)."""
    n_fft = len(window)
    hop = n_fft // OVERLAP
    # The squared windows that overlap at a sample have the same sum at every sample.
    scaled = window * (hop / window.square().sum())
    frames = torch.fft.irfft(spectrum, n=n_fft).mul_(scaled)
    pieces = rearrange(frames, "signals frames (pieces hop) -> signals frames pieces hop", hop=hop)
    count = spectrum.shape[1]
    total = pieces.new_zeros(len(pieces), count + OVERLAP - 1, hop)
    for part in range(OVERLAP):
        total[:, part : part + count] += pieces[:, :, part]
    return rearrange(total, "signals frames hop -> signals (frames hop)")[:, n_fft - hop : n_fft - hop + samples]


@dataclass(frozen=True)
class Peaks:
    """Spectral peaks of each frame. The region of a peak consists of the bins to which it is the nearest peak.

    Peaks are at least 3 bins apart. The phases of a frame are therefore computed for one peak in each group of
    3 neighboring bins. A group without a peak of its own has that of the region of its middle bin.

    Attributes:
        of_bin: (N, frames, bins) integers, the peak nearest to each bin.
        of_group: (N, frames, groups) int64, the peak nearest to the middle bin of each group.
        group: (N, frames, bins) int64, the group that contains the peak nearest to each bin.
    """

    of_bin: Tensor

    @classmethod
    def find(cls, *spectra: Tensor) -> Peaks:
        """Find the peaks of the sum of power spectra. A peak is the largest of the five bins around it.

        The arguments are complex spectra (N, frames, bins).
        """
        bins = spectra[0].shape[-1]
        parts = [part.square() for some in spectra for part in (some.real, some.imag)]
        power = F.pad(reduce(torch.Tensor.add_, parts), (2, 2))
        of_two = torch.maximum(power[..., 1:], power[..., :-1])
        own = power[..., 2:-2]
        is_peak = (own > of_two[..., :bins]) & (own >= of_two[..., 3:])  # only the first of several equal maxima
        # Small integers and operations without branches are several times as fast.
        number = torch.arange(bins, device=power.device, dtype=torch.int16 if bins < 2**13 else torch.int32)
        beyond = 2 * bins  # the distance of a missing peak
        marked = number + beyond
        before = (is_peak * marked).cummax(-1).values - beyond
        after = bins - 1 + beyond - (is_peak.flip(-1) * marked).cummax(-1).values.flip(-1)
        is_after_nearer = before + after < 2 * number
        return cls((before + (after - before) * is_after_nearer).clamp_(0, bins - 1))

    def at_frames(self, frames: Tensor) -> Peaks:
        """Return the peaks of the frames of the given indices (frames,)."""
        return Peaks(self.of_bin[:, frames])

    @property
    def of_group(self) -> Tensor:
        bins = self.of_bin.shape[-1]
        middle = torch.arange(1, bins + 2, 3, device=self.of_bin.device).clamp_(max=bins - 1)
        return self.of_bin[..., middle].long()

    @property
    def group(self) -> Tensor:
        number = torch.arange(self.of_bin.shape[-1], device=self.of_bin.device).div_(3, rounding_mode="floor")
        return number.expand_as(self.of_bin).gather(-1, self.of_bin.long())

    def frequencies(self, spectrum: Tensor, before: Tensor) -> Tensor:
        """Compute the frequencies of the peaks from their phase advance.

        Args:
            spectrum: spectra in which the peaks were found, (N, frames, bins).
            before: (N, frames, bins), spectra of the frames one hop (a quarter of the window) earlier.

        Returns:
            Frequencies in bins, (N, frames, groups).
        """
        bins = self.of_group
        now, then = (values.gather(-1, bins) for values in (spectrum, before))
        peak = bins.to(now.real.dtype)
        # The phase of now / then; the parts are faster than complex arithmetic.
        cosine = now.real * then.real + now.imag * then.imag
        advance = torch.atan2(now.imag * then.real - now.real * then.imag, cosine)
        deviation = advance / (2 * math.pi) - peak / OVERLAP
        return peak + (deviation - deviation.round()) * OVERLAP


def unit_phasors(turns: Tensor) -> Tensor:
    """Return complex numbers of magnitude 1 with the given phases in cycles."""
    angle = 2 * math.pi * turns
    return torch.complex(angle.cos(), angle.sin())
