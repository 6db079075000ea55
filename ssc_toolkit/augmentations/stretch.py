"""Tempo without pitch, each example by its own rate, in one batch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.augmentations.base import Transform, need_sample_rate, uniform
from ssc_toolkit.augmentations.stft import (
    OVERLAP,
    frame_count,
    hann_window,
    peaks_and_frequencies,
    rotated,
    synthesise,
    window_length,
)
from ssc_toolkit.checks import Range, check_range


class TimeStretch(Transform):
    """Play faster or slower at the same pitch; the result is cut or padded with zeros to the input's length.

    A phase vocoder with phases locked to the peaks of the spectrum (Laroche and Dolson, Improved phase vocoder
    time-scale modification of audio, IEEE Transactions on Speech and Audio Processing 7(3), 1999). Gradients flow
    through the spectrum, not through the choice of peaks.

    Args:
        rate: (low, high) of the speed, 0.1 to 10, drawn uniformly; 2 is twice as fast.
        sample_rate: hertz.
        n_fft: window length in samples, a multiple of 4, at least 16. By default the power of two nearest to 93 ms
            (2048 at 22 050 Hz); half of it suits percussive material better.
        p: probability for each example.

    Raises:
        ValueError: for a range or a window out of bounds.

    Examples:
        >>> import torch
        >>> stretch = TimeStretch(rate=(0.8, 1.25), sample_rate=22050)
        >>> stretch(torch.randn(2, 1, 22050)).shape
        torch.Size([2, 1, 22050])
    """

    selective = True

    def __init__(
        self,
        rate: Range = (0.8, 1.25),
        *,
        sample_rate: int,
        n_fft: int | None = None,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=need_sample_rate(sample_rate))
        self.rate = check_range("rate", rate, 0.1, 10)
        self.n_fft = window_length(sample_rate, n_fft)

    def draw_values(self, count: int, generator: torch.Generator | None) -> dict[str, Tensor]:
        return {"rate": uniform(count, self.rate, generator)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        rate = values["rate"].repeat_interleave(waveforms.shape[1])
        return stretch_time(waveforms.flatten(0, 1), rate, self.n_fft, self.rate[0]).view_as(waveforms)


def stretch_time(signals: Tensor, rate: Tensor, n_fft: int, slowest: float) -> Tensor:
    """Play each signal at its own rate.

    Args:
        signals: (N, samples).
        rate: (N,), above 0.
        n_fft: window length in samples; frames of the result follow each other by a quarter of it.
        slowest: lower bound of the rates that the host knows.

    Returns:
        (N, samples): the beginning of the result, or all of it and zeros.
    """
    samples = signals.shape[-1]
    hop = n_fft // OVERLAP
    window = hann_window(n_fft, signals)
    # Middle of each frame of the result, and of the frame of the signal that it shows.
    middle = torch.arange(frame_count(samples, hop), device=signals.device) * hop + (hop - n_fft // 2)
    source = (middle * rate.double()[:, None]).round().long()
    current, before = (_frames(signals, source - early, window) for early in (0, hop))
    with torch.no_grad():
        most = min(source.shape[1] - 1, math.ceil(OVERLAP / 2 / slowest) + 1)
        first = (source < n_fft // 2).sum(1).clamp(max=most)
        regions, frequency = peaks_and_frequencies(current, before, first, most)
        # Since the beginning of the signal, a partial has gone on in the result for longer than in its source.
        lag = (middle - source).to(signals.dtype) / hop
        missing = torch.diff(lag, dim=1, prepend=torch.zeros_like(lag[:, :1])) / OVERLAP
        turns = regions.accumulate(frequency * missing[:, :, None])
    return synthesise(rotated(current, regions, 2 * math.pi * turns), window, samples)


def _frames(signals: Tensor, middle: Tensor, window: Tensor) -> Tensor:
    """Spectra (N, frames, bins) of the windows about given samples (N, frames)."""
    n_fft, samples = len(window), signals.shape[-1]
    padded = F.pad(signals, (n_fft, n_fft)).unfold(-1, n_fft, 1)
    begin = (middle + n_fft // 2).clamp(0, samples + n_fft)  # beyond either end there is silence
    rows = torch.arange(len(signals), device=signals.device)[:, None]
    return torch.fft.rfft(padded[rows, begin] * window)
