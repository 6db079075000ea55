"""Short-time Fourier transform, its inverse and its spectral peaks, for pitch shift and time stretch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.checks import check_integer

OVERLAP = 4
"""Number of frames that contain each sample. The hop size is the window length divided by this number."""
WINDOW_SECONDS = 0.093
SLICE_SAMPLES = 2**18
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


def analyze(signals: Tensor, window: Tensor) -> Tensor:
    """Compute short-time spectra (N, frames, bins) of signals (N, samples), with a window (n_fft,)."""
    n_fft = len(window)
    hop = n_fft // OVERLAP
    samples = signals.shape[-1]
    left = n_fft - hop
    right = (count_frames(samples, hop) - 1) * hop + n_fft - left - samples
    return torch.fft.rfft(F.pad(signals, (left, right)).unfold(-1, n_fft, hop) * window)


def synthesize(spectrum: Tensor, window: Tensor, samples: int) -> Tensor:
    """Compute signals (N, samples) from spectra (N, frames, bins) by overlap-add, weighted with a window (n_fft,)."""
    n_fft = len(window)
    hop = n_fft // OVERLAP
    # The squared windows that overlap at a sample have the same sum at every sample.
    scaled = window * (hop / window.square().sum())
    frames = torch.fft.irfft(spectrum, n=n_fft) * scaled
    pieces = rearrange(frames, "signals frames (pieces hop) -> signals frames pieces hop", hop=hop)
    count = spectrum.shape[1]
    total = pieces.new_zeros(len(pieces), count + OVERLAP - 1, hop)
    for part in range(OVERLAP):
        total[:, part : part + count] += pieces[:, :, part]
    return rearrange(total, "signals frames hop -> signals (frames hop)")[:, n_fft - hop : n_fft - hop + samples]


@dataclass(frozen=True)
class Regions:
    """Spectral peaks of each frame, and their regions: the bins nearest to each peak.

    Attributes:
        peak: (N, frames, peaks) int64, bins of the peaks in ascending order. The first entry and the entries after the
            last peak are padding and have no region.
        of_bin: (N, frames, bins) int64, index in `peak` of the nearest peak of each bin.
    """

    peak: Tensor
    of_bin: Tensor

    @classmethod
    def around_peaks(cls, spectrum: Tensor) -> Regions:
        """Find peaks and regions of spectra (N, frames, bins). A peak is the largest of the five bins around it."""
        bins = spectrum.shape[-1]
        power = spectrum.real.square() + spectrum.imag.square()
        greatest = power == F.max_pool1d(power, kernel_size=5, stride=1, padding=2)
        before = F.pad(greatest, (2, 0))
        is_peak = greatest & ~(before[..., 1:-1] | before[..., :-2])  # only the first of several equal maxima
        # 32-bit sums are faster; indices have to be int64. Bins that are not peaks are scattered to index 0.
        place = is_peak.cumsum(-1, dtype=torch.int32).mul_(is_peak).long()
        beyond = 4 * bins
        peak = place.new_full((*place.shape[:-1], -(-bins // 3) + 2), beyond)
        peak.scatter_(-1, place, torch.arange(bins, device=place.device).expand_as(place))
        peak[..., 0] = -beyond
        # A region begins halfway between two peaks; the number of regions begun up to a bin is the index of its peak.
        begin = ((peak[..., 1:] + peak[..., :-1]) >> 1).add_(1).clamp_(0, bins)
        begins = begin.new_zeros(*place.shape[:-1], bins + 1, dtype=torch.uint8).scatter_(-1, begin, 1)
        return cls(peak.clamp_(0, bins - 1), begins[..., :bins].cumsum(-1))

    def at_peaks(self, values: Tensor) -> Tensor:
        """Return the values of the bins at the peaks, (N, frames, peaks), given those of all bins (N, frames, bins)."""
        return values.gather(-1, self.peak)

    def to_bins(self, values: Tensor) -> Tensor:
        """Copy a value per peak, (N, frames, peaks), to all bins of the region of the peak, (N, frames, bins)."""
        return values.gather(-1, self.of_bin)

    def accumulate(self, turns: Tensor) -> Tensor:
        """Sum phase rotations of the peaks, (N, frames, peaks) in cycles, over the frames.

        The sum for a peak consists of the rotations of the regions that contain its bin in this and all earlier
        frames. All bins of a region get the same sum.
        """
        return self.at_peaks(self.to_bins(turns - turns.round()).cumsum(1))


def find_peaks(spectrum: Tensor, before: Tensor, first: Tensor, max_first: int) -> tuple[Regions, Tensor]:
    """Find spectral peaks and their regions, and compute the frequency of each peak from its phase advance.

    Frames that overlap the beginning of the signal contain an artificial onset. These frames get the regions and
    frequencies of the first frame that begins within the signal.

    Args:
        spectrum: complex short-time spectra, (N, frames, bins).
        before: (N, frames, bins), spectra of the frames one hop (a quarter of the window) earlier. Frames that
            are missing at the beginning are silent.
        first: (N,) int64, index of the first frame that begins within the signal.
        max_first: upper bound of `first`. It is a Python number, because reading a tensor would wait for the GPU.

    Returns:
        The regions, and the frequencies of the peaks, (N, frames, peaks), in bins.
    """
    regions = Regions.around_peaks(spectrum)
    missing = spectrum.shape[1] - before.shape[1]
    now, then = regions.at_peaks(spectrum), before.gather(-1, regions.peak[:, missing:])
    then = F.pad(then, (0, 0, missing, 0))
    peak = regions.peak.to(spectrum.real.dtype)
    # The phase of now / then; the parts are faster than complex arithmetic.
    cosine = now.real * then.real + now.imag * then.imag
    advance = torch.atan2(now.imag * then.real - now.real * then.imag, cosine)
    deviation = advance / (2 * math.pi) - peak / OVERLAP
    frequency = peak + (deviation - deviation.round()) * OVERLAP
    rows = torch.arange(len(spectrum), device=spectrum.device)[:, None]
    early = torch.arange(min(max_first, spectrum.shape[1]), device=spectrum.device).clamp(min=first[:, None])
    for values in (regions.peak, regions.of_bin, frequency):
        values[:, : early.shape[1]] = values[rows, early]
    return regions, frequency


def rotate_phases(spectrum: Tensor, regions: Regions, angle: Tensor) -> Tensor:
    """Rotate the phases of spectra (N, frames, bins), by one angle for all bins of a region.

    `angle` is (N, frames, peaks) in radians, one per spectral peak.
    """
    return spectrum * regions.to_bins(torch.complex(angle.cos(), angle.sin()))
