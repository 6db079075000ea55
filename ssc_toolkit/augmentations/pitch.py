"""Pitch shifting by any ratio, each example by its own, in one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.augmentations.base import Transform, check_range, need_sample_rate, uniform

WINDOW_SECONDS = 0.093
_OVERLAP = 4


class PitchShift(Transform):
    """Shift pitch and keep duration, by any real number of semitones.

    The peaks of the short-time spectrum move, each with its region of influence, and are rotated so
    that the shifted partials stay coherent from frame to frame (Laroche and Dolson, New phase-vocoder
    techniques for pitch-shifting, harmonizing and other exotic effects, WASPAA 1999). The envelope moves
    with the partials; what would move beyond the Nyquist frequency is dropped. Gradients flow through the spectrum,
    not through the choice of peaks.

    Args:
        shift_semitones: (low, high), drawn uniformly; -48 to 48.
        sample_rate: hertz.
        n_fft: window length in samples, a multiple of 4. By default the power of two nearest to 93 ms
            (2048 at 22 050 Hz); half of it suits percussive material better.
        p: probability for each example.

    Raises:
        ValueError: for a range or a window out of bounds.

    Examples:
        >>> import torch
        >>> shift = PitchShift(shift_semitones=(-4, 4), sample_rate=22050)
        >>> shift(torch.randn(2, 1, 22050)).shape
        torch.Size([2, 1, 22050])
    """

    selective = True

    def __init__(
        self,
        shift_semitones: tuple[float, float] | float = (-4.0, 4.0),
        *,
        sample_rate: int,
        n_fft: int | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=need_sample_rate(sample_rate))
        self.shift_semitones = check_range("shift_semitones", shift_semitones, -48, 48)
        if n_fft is None:
            n_fft = 2 ** round(math.log2(WINDOW_SECONDS * sample_rate))
        if n_fft < 16 or n_fft % _OVERLAP:
            raise ValueError(f"n_fft: expected a multiple of {_OVERLAP}, at least 16, got {n_fft}")
        self.n_fft = n_fft

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"shift_semitones": uniform(count, self.shift_semitones, generator)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        channels = waveforms.shape[1]
        ratio = (2 ** (values["shift_semitones"].to(waveforms.dtype) / 12)).repeat_interleave(channels)
        return shift_pitch(waveforms.flatten(0, 1), ratio, self.n_fft).view_as(waveforms)


def shift_pitch(signals: Tensor, ratio: Tensor, n_fft: int) -> Tensor:
    """Multiply every frequency of each signal by its own ratio.

    Args:
        signals: (N, samples).
        ratio: (N,), above 0.
        n_fft: window length in samples; frames follow each other by a quarter of it.

    Returns:
        (N, samples).
    """
    window = torch.hann_window(n_fft, device=signals.device, dtype=signals.dtype)
    spectrum = _analyse(signals, window)
    peak = _nearest_peak(spectrum.abs())
    hop = n_fft // _OVERLAP
    with torch.no_grad():
        peak_bin = torch.gather(_instantaneous_bin(spectrum, hop, n_fft), 2, peak)
        moved = (ratio[:, None, None] - 1) * peak_bin
        # Rotation that a partial at `moved` bins above its old place needs from frame to frame. A
        # region takes the sum along its peak's bin, so that all its bins turn together.
        turns = moved * (hop / n_fft)
        phase = torch.gather((turns - turns.round()).cumsum(1), 2, peak)
        whole_bins = moved.round()
        # A shift by whole bins turns the middle of a frame by half a cycle for each of them.
        angle = 2 * math.pi * phase + math.pi * whole_bins
        rotation = torch.polar(torch.ones_like(angle), angle)
    shifted = _move_bins(spectrum * rotation, whole_bins.long())
    return _synthesise(shifted, window, signals.shape[-1])


def _analyse(signals: Tensor, window: Tensor) -> Tensor:
    """(N, samples) to (N, frames, bins)."""
    n_fft = len(window)
    hop = n_fft // _OVERLAP
    samples = signals.shape[-1]
    frames = -(-samples // hop) + _OVERLAP - 1  # every sample lies in _OVERLAP frames
    left = n_fft - hop
    padded = F.pad(signals, (left, (frames - 1) * hop + n_fft - left - samples))
    return torch.fft.rfft(padded.unfold(-1, n_fft, hop) * window)


def _synthesise(spectrum: Tensor, window: Tensor, samples: int) -> Tensor:
    """(N, frames, bins) to (N, samples) by weighted overlap-add."""
    n_fft = len(window)
    hop = n_fft // _OVERLAP
    frames = torch.fft.irfft(spectrum, n=n_fft) * window
    pieces = frames.unflatten(-1, (_OVERLAP, hop))
    total = sum(F.pad(pieces[:, :, i], (0, 0, i, _OVERLAP - 1 - i)) for i in range(_OVERLAP))
    # The squared windows that overlap in a sample sum to the same number everywhere.
    scale = hop / window.square().sum()
    return (total.flatten(1) * scale)[:, n_fft - hop : n_fft - hop + samples]  # type: ignore[union-attr]


def _instantaneous_bin(spectrum: Tensor, hop: int, n_fft: int) -> Tensor:
    """Frequency of each bin's content in bins, from the phase advance since the frame before."""
    bins = torch.arange(spectrum.shape[-1], device=spectrum.device, dtype=spectrum.real.dtype)
    advance = torch.angle(spectrum[:, 1:] * spectrum[:, :-1].conj()) / (2 * math.pi)
    expected = bins * (hop / n_fft)
    deviation = advance - expected
    deviation = deviation - deviation.round()
    measured = bins + deviation * (n_fft / hop)
    return torch.cat([bins.expand_as(measured[:, :1]), measured], dim=1)


def _nearest_peak(magnitude: Tensor) -> Tensor:
    """Bin of the nearest local maximum for each bin, (N, frames, bins) int64."""
    bins = magnitude.shape[-1]
    highest = F.max_pool1d(magnitude, kernel_size=5, stride=1, padding=2)
    index = torch.arange(bins, device=magnitude.device).expand(magnitude.shape)
    is_peak = magnitude == highest
    below = torch.where(is_peak, index, -bins).cummax(dim=-1).values
    above = torch.where(is_peak, index, 2 * bins).flip(-1).cummin(dim=-1).values.flip(-1)
    # A spectrum without a peak, of NaN for one, leaves every bin to itself.
    found = torch.where(index - below <= above - index, below, above)
    return torch.where((found >= 0) & (found < bins), found, index)


def _move_bins(spectrum: Tensor, shift: Tensor) -> Tensor:
    """Add each bin to the bin `shift` above it; what leaves the spectrum is dropped."""
    bins = spectrum.shape[-1]
    target = torch.arange(bins, device=spectrum.device) + shift
    outside = (target < 0) | (target >= bins)
    target = torch.where(outside, bins, target)  # one bin more, cut off below
    parts = torch.view_as_real(spectrum)
    moved = parts.new_zeros(*parts.shape[:2], bins + 1, 2)
    moved = moved.scatter_add(2, target[..., None].expand_as(parts), parts)
    return torch.view_as_complex(moved[:, :, :bins].contiguous())
