"""Pitch shifting of a batch, with a separate ratio for each clip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor

from ssc_toolkit.augmentations.base import Transform, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.stft import (
    OVERLAP,
    Peaks,
    analyze,
    apply_in_slices,
    choose_window_length,
    count_frames,
    hann_window,
    synthesize,
    unit_phasors,
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
    frames = count_frames(signals.shape[-1], n_fft // OVERLAP)
    spectrum = analyze(signals, window, frames + frames % 2)
    with torch.no_grad():
        peaks, frequency = _peaks_of_pairs(spectrum, frames)
        moved = (ratio[:, None, None] - 1) * frequency
        whole_bins = moved.round()
        # The phase of a partial that is moved up by `moved` bins advances by moved / OVERLAP more cycles per frame.
        # It is counted from the second frame, whose middle is the beginning of the signal. In addition, a shift by
        # whole bins rotates the phase in the middle of a frame by half a cycle per bin.
        steps = moved / OVERLAP
        steps = steps - steps.round()
        turns = 2 * steps.cumsum(1)
        turns = turns - turns[:, :1] + whole_bins / 2
        group = peaks.group
        rotation = unit_phasors(torch.stack([turns - steps, turns], 2)).gather(-1, _for_both(group))
        target = _target_bins(group, whole_bins, peaks.of_bin.dtype)
    pairs = rearrange(spectrum, "signals (pairs two) bins -> signals pairs two bins", two=2)
    moved_pairs = _move_bins(pairs * rotation, target)
    return synthesize(moved_pairs.flatten(1, 2), window, signals.shape[-1])


def _peaks_of_pairs(spectrum: Tensor, frames: int) -> tuple[Peaks, Tensor]:
    """Find the common peaks of each pair of neighboring frames, and their frequencies.

    Frames that overlap the beginning or the end contain an artificial onset or offset. Their pairs get the peaks and
    frequencies of the nearest pair within the signal.

    Args:
        spectrum: (N, 2 * pairs, bins) spectra.
        frames: number of frames of the signal. The spectrum may have one more.

    Returns:
        The peaks of the pairs, and their frequencies in bins, (N, pairs, groups).
    """
    hanging = OVERLAP - 1
    end = max(hanging + 1, frames - hanging)
    second, first = spectrum[:, hanging:end:2], spectrum[:, hanging - 1 : end - 1 : 2]
    peaks = Peaks.find(first, second)
    frequency = peaks.frequencies(second, first)
    pair = torch.arange(spectrum.shape[1] // 2, device=spectrum.device) - hanging // 2
    pair = pair.clamp_(0, second.shape[1] - 1)
    return peaks.at_frames(pair), frequency[:, pair]


def _target_bins(group: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the numbers of the bins to which bins move, (N, pairs, bins), as for `_move_bins`.

    `group` is that of `Peaks`, and `shift` is (N, pairs, groups) in whole bins. `dtype` is that of small integers.
    """
    bins = group.shape[-1]
    numbers = torch.arange(1, bins + 1, device=shift.device, dtype=dtype)
    moves = shift.clamp(-bins, bins).to(dtype).gather(-1, group)
    return (moves + numbers).clamp_(0, bins + 1).long()


def _move_bins(pairs: Tensor, target: Tensor) -> Tensor:
    """Move the bins of pairs of spectra (N, pairs, 2, bins) to the bins `target`, (N, pairs, bins).

    Bins are numbered from 1. Bins that move to the same bin are added. Bin 0 and the bin after the last are dropped.
    """
    moved = pairs.new_zeros(*pairs.shape[:3], pairs.shape[3] + 2)
    return moved.scatter_add_(-1, _for_both(target), pairs)[..., 1:-1]


def _for_both(values: Tensor) -> Tensor:
    """Repeat values (N, pairs, bins) for both frames of a pair, (N, pairs, 2, bins)."""
    return values[:, :, None].expand(-1, -1, 2, -1)
