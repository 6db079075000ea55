"""Pitch shifting of a batch, with a separate ratio for each clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.stft import (
    OVERLAP,
    analyze,
    apply_in_slices,
    choose_window_length,
    find_peaks,
    hann_window,
    rotate_phases,
    synthesize,
)
from ssc_toolkit.checks import Range, check_range


class PitchShift(Transform):
    """Shift the pitch by a whole or fractional number of semitones, and keep the duration.

    Each peak of the short-time spectrum is moved together with the bins around it. Its phase is rotated so that the
    shifted partials are continuous from frame to frame (Laroche and Dolson, New phase-vocoder techniques for
    pitch-shifting, harmonizing and other exotic effects, WASPAA 1999). The spectral envelope is shifted too. Partials
    that would exceed the Nyquist frequency are removed. Gradients flow through the spectrum, but not through the
    selection of peaks.

    Args:
        shift_semitones: shift in semitones, -48 to 48; a number, or (low, high) to draw from uniformly.
        sample_rate: sample rate of the waveforms in hertz.
        n_fft: window length in samples, a multiple of 4, at least 16. If None, the power of two nearest to 93 ms
            (2048 at 22 050 Hz). For percussive music, half of this length is better.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if the range or the window length is out of bounds.

    Examples:
        >>> import torch
        >>> shift = PitchShift(shift_semitones=(-4, 4), sample_rate=22050)
        >>> shift(torch.randn(2, 1, 22050)).shape
        torch.Size([2, 1, 22050])
    """

    selective = True

    def __init__(
        self,
        shift_semitones: Range = (-4.0, 4.0),
        *,
        sample_rate: int,
        n_fft: int | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.shift_semitones = check_range("shift_semitones", shift_semitones, -48, 48)
        self.n_fft = choose_window_length(sample_rate, n_fft)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"shift_semitones": generator.uniform(self.shift_semitones)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        signals = rearrange(waveforms, "clips channels samples -> (clips channels) samples")
        ratio = 2 ** (values["shift_semitones"].to(waveforms.dtype) / 12)
        ratio = repeat(ratio, "clips -> (clips channels)", channels=waveforms.shape[1])
        return apply_in_slices(partial(shift_pitch, n_fft=self.n_fft), signals, ratio).view_as(waveforms)


def shift_pitch(signals: Tensor, ratio: Tensor, n_fft: int) -> Tensor:
    """Multiply all frequencies in a signal by a ratio, separately for each of N signals.

    Args:
        signals: (N, samples).
        ratio: (N,) frequency ratios, above 0.
        n_fft: window length in samples; the hop size is a quarter of it.

    Returns:
        The shifted signals, (N, samples).
    """
    window = hann_window(n_fft, signals)
    spectrum = analyze(signals, window)
    with torch.no_grad():
        hanging = OVERLAP - 1
        first = torch.full((len(signals),), hanging, device=signals.device)
        regions, frequency = find_peaks(spectrum, spectrum[:, :-1], first, hanging)
        moved = (ratio[:, None, None] - 1) * frequency
        whole_bins = moved.round()
        # The phase of a partial that is moved up by `moved` bins advances by moved / OVERLAP more cycles per frame.
        # It is counted from the second frame, whose middle is the beginning of the signal. In addition, a shift by
        # whole bins rotates the phase in the middle of a frame by half a cycle per bin.
        steps = moved / OVERLAP
        steps[:, 0] *= -1
        angle = math.pi * (2 * regions.accumulate(steps) + whole_bins)
        shift = regions.to_bins(whole_bins.long())
    return synthesize(_move_bins(rotate_phases(spectrum, regions, angle), shift), window, signals.shape[-1])


def _move_bins(spectrum: Tensor, shift: Tensor) -> Tensor:
    """Move the bins of spectra (N, frames, bins) up by `shift` bins, (N, frames, bins).

    Bins that move to the same place are added. Bins that leave the spectrum are dropped.
    """
    bins = spectrum.shape[-1]
    numbers = torch.arange(1, bins + 1, device=spectrum.device)
    target = (shift + numbers).clamp_(0, bins + 1)  # one extra bin at either end, removed below
    moved = spectrum.new_zeros(*spectrum.shape[:2], bins + 2)
    return moved.scatter_add_(2, target, spectrum)[:, :, 1:-1]
