"""Short-time spectra, their peaks, and the way back: what pitch shift and time stretch share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.checks import check_whole

OVERLAP = 4
"""Frames that every sample lies in: frames follow each other by a quarter of their length."""
WINDOW_SECONDS = 0.093


def window_length(sample_rate: int, n_fft: int | None) -> int:
    """Checked length of the window: by default the power of two nearest to 93 ms."""
    if n_fft is None:
        return 2 ** max(4, round(math.log2(WINDOW_SECONDS * sample_rate)))
    n_fft = check_whole("n_fft", n_fft, 16, 2**20)
    if n_fft % OVERLAP:
        raise ValueError(f"n_fft: expected a multiple of {OVERLAP}, at least 16, got {n_fft}")
    return n_fft


def hann_window(n_fft: int, like: Tensor) -> Tensor:
    """Periodic Hann window in the dtype and on the device of a tensor."""
    return torch.hann_window(n_fft, device=like.device, dtype=like.dtype)


def frame_count(samples: int, hop: int) -> int:
    """Frames that cover a signal so that every sample lies in `OVERLAP` of them."""
    return -(-samples // hop) + OVERLAP - 1


def analyse(signals: Tensor, window: Tensor) -> Tensor:
    """(N, samples) to (N, frames, bins)."""
    n_fft = len(window)
    hop = n_fft // OVERLAP
    samples = signals.shape[-1]
    left = n_fft - hop
    right = (frame_count(samples, hop) - 1) * hop + n_fft - left - samples
    return torch.fft.rfft(F.pad(signals, (left, right)).unfold(-1, n_fft, hop) * window)


def synthesise(spectrum: Tensor, window: Tensor, samples: int) -> Tensor:
    """(N, frames, bins) to (N, samples) by weighted overlap-add."""
    n_fft = len(window)
    hop = n_fft // OVERLAP
    # The squared windows that overlap in a sample sum to the same number everywhere.
    scaled = window * (hop / window.square().sum())
    pieces = (torch.fft.irfft(spectrum, n=n_fft) * scaled).unflatten(-1, (OVERLAP, hop))
    count = spectrum.shape[1]
    total = pieces.new_zeros(len(pieces), count + OVERLAP - 1, hop)
    for part in range(OVERLAP):
        total[:, part : part + count] += pieces[:, :, part]
    return total.flatten(1)[:, n_fft - hop : n_fft - hop + samples]


@dataclass(frozen=True)
class Regions:
    """The local maxima of each frame's spectrum, and for each bin the nearest of them.

    Attributes:
        peak: (N, frames, P) int64, bins of the maxima in ascending order; the first, and what follows them, is
            no maximum, and no bin's.
        of_bin: (N, frames, bins) int64, place in `peak` of each bin's maximum.
    """

    peak: Tensor
    of_bin: Tensor

    @classmethod
    def around_peaks(cls, spectrum: Tensor) -> Regions:
        """Regions of (N, frames, bins) complex spectra; a peak is the greatest of five bins."""
        bins = spectrum.shape[-1]
        power = spectrum.real.square() + spectrum.imag.square()
        greatest = power == F.max_pool1d(power, kernel_size=5, stride=1, padding=2)
        before = F.pad(greatest, (2, 0))
        is_peak = greatest & ~(before[..., 1:-1] | before[..., :-2])  # of several that are equal, the first
        place = is_peak.cumsum(-1).mul_(is_peak)  # place 0 takes the bins that are no maximum
        beyond = 4 * bins
        peak = place.new_full((*place.shape[:-1], -(-bins // 3) + 2), beyond)
        peak.scatter_(-1, place, torch.arange(bins, device=place.device).expand_as(place))
        peak[..., 0] = -beyond
        # A region begins halfway between two peaks; how many began up to a bin is the place of its peak.
        begin = ((peak[..., 1:] + peak[..., :-1]) >> 1).add_(1).clamp_(0, bins)
        begins = place.new_zeros(*place.shape[:-1], bins + 1).scatter_(-1, begin, 1)
        return cls(peak.clamp_(0, bins - 1), begins[..., :bins].cumsum(-1))

    def at_peaks(self, values: Tensor) -> Tensor:
        """(N, frames, bins) values to (N, frames, P), those at the peaks."""
        return values.gather(-1, self.peak)

    def to_bins(self, values: Tensor) -> Tensor:
        """(N, frames, P) values of the peaks to (N, frames, bins)."""
        return values.gather(-1, self.of_bin)

    def accumulate(self, turns: Tensor) -> Tensor:
        """Sums over the frames of the turns of peaks, (N, frames, P).

        A peak takes the sum along its bin over the regions that held the bin, so that all bins of its
        region turn together.
        """
        return self.at_peaks(self.to_bins(turns - turns.round()).cumsum(1))


def peaks_and_frequencies(spectrum: Tensor, before: Tensor, first: Tensor, most: int) -> tuple[Regions, Tensor]:
    """Regions about the peaks, and the frequency of each peak in bins, from its phase advance.

    Frames that hang over the beginning of the signal see an onset that is none: they have the regions and
    frequencies of the first frame that does not.

    Args:
        spectrum: (N, frames, bins).
        before: spectra one hop, a quarter of the window, before those.
        first: (N,) int64, number of the first frame that begins within the signal.
        most: upper bound of `first` that the host knows.

    Returns:
        The regions, and (N, frames, P).
    """
    regions = Regions.around_peaks(spectrum)
    now, then = regions.at_peaks(spectrum), regions.at_peaks(before)
    peak = regions.peak.to(spectrum.real.dtype)
    deviation = torch.angle(now * then.conj()) / (2 * math.pi) - peak / OVERLAP
    frequency = peak + (deviation - deviation.round()) * OVERLAP
    rows = torch.arange(len(spectrum), device=spectrum.device)[:, None]
    early = torch.arange(min(most, spectrum.shape[1]), device=spectrum.device).clamp(min=first[:, None])
    for values in (regions.peak, regions.of_bin, frequency):
        values[:, : early.shape[1]] = values[rows, early]
    return regions, frequency


def rotated(spectrum: Tensor, regions: Regions, angle: Tensor) -> Tensor:
    """Spectra whose regions are turned by the angles of their peaks, (N, frames, P) in radians."""
    return spectrum * regions.to_bins(torch.polar(torch.ones_like(angle), angle))
