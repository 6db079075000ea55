"""Time stretching of a batch, with a separate rate for each clip."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.augmentations.base import Transform, require_sample_rate
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.stft import (
    OVERLAP,
    Peaks,
    apply_in_slices,
    choose_window_length,
    count_frames,
    hann_window,
    synthesize,
    unit_phasors,
)
from ssc_toolkit.checks import Range, check_range


class TimeStretch(Transform):
    """Change the tempo and keep the pitch. The result is cut or zero-padded to the length of the input.

    This is a phase vocoder with phases locked to spectral peaks (Laroche and Dolson, Improved phase vocoder
    time-scale modification of audio, IEEE Transactions on Speech and Audio Processing 7(3), 1999). Gradients flow
    through the spectrum, but not through the selection of peaks.

    Args:
        rate: speed, 0.1 to 10, where 2 is twice as fast; a number, or (low, high) to draw from uniformly.
        sample_rate: sample rate of the waveforms in hertz.
        n_fft: window length in samples, a multiple of 4, at least 16. If None, the power of two nearest to 93 ms
            (2048 at 22 050 Hz). For percussive music, half of this length is better.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if the range or the window length is out of bounds.

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
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        self.rate = check_range("rate", rate, 0.1, 10)
        self.n_fft = choose_window_length(sample_rate, n_fft)

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        return {"rate": generator.uniform(self.rate)}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        signals = rearrange(waveforms, "clips channels samples -> (clips channels) samples")
        rate = repeat(values["rate"], "clips -> (clips channels)", channels=waveforms.shape[1])
        stretch = partial(stretch_time, n_fft=self.n_fft, min_rate=self.rate[0])
        return apply_in_slices(stretch, signals, rate).view_as(waveforms)


def stretch_time(signals: Tensor, rate: Tensor, n_fft: int, min_rate: float) -> Tensor:
    """Change the tempo of each signal by a separate rate.

    Args:
        signals: N signals, (N, samples).
        rate: (N,) speeds, above 0; 2 is twice as fast.
        n_fft: window length in samples; the hop size of the result is a quarter of it.
        min_rate: lower bound of the rates. It is a Python number, because reading a tensor would wait for the GPU.

    Returns:
        The stretched signals, cut or zero-padded to (N, samples).
    """
    samples = signals.shape[-1]
    hop = n_fft // OVERLAP
    window = hann_window(n_fft, signals)
    # Middle of each frame of the result, and of the corresponding frame of the signal.
    middle = torch.arange(count_frames(samples, hop), device=signals.device) * hop + (hop - n_fft // 2)
    source = (middle * rate.double()[:, None]).round().long()
    current, before = (_frames(signals, source - early, window) for early in (0, hop))
    with torch.no_grad():
        # Frames that overlap the beginning contain an artificial onset. They get the peaks and frequencies of the
        # first frame that begins within the signal.
        most = min(source.shape[1] - 1, math.ceil(OVERLAP / 2 / min_rate) + 1)
        first = (source < n_fft // 2).sum(1).clamp(max=most)
        number = torch.arange(source.shape[1], device=signals.device).maximum(first[:, None])[..., None]
        peaks = Peaks.find(current)
        frequency = peaks.frequencies(current, before)
        frequency = frequency.gather(1, number.expand_as(frequency))
        peaks = Peaks(peaks.of_bin.gather(1, number.expand_as(peaks.of_bin)))
        # The result is later than its source by `lag` hops. Partials need the phase advance of this additional time.
        lag = (middle - source).to(signals.dtype) / hop
        missing = torch.diff(lag, dim=1, prepend=torch.zeros_like(lag[:, :1])) / OVERLAP
        turns = frequency * missing[:, :, None]
        rotation = unit_phasors((turns - turns.round()).cumsum(1)).gather(-1, peaks.group)
    return synthesize(current * rotation, window, samples)


def _frames(signals: Tensor, middle: Tensor, window: Tensor) -> Tensor:
    """Compute spectra (N, frames, bins) of signals (N, samples). `middle`, (N, frames), are the centers of windows."""
    n_fft, samples = len(window), signals.shape[-1]
    padded = F.pad(signals, (n_fft, n_fft)).unfold(-1, n_fft, 1)
    begin = (middle + n_fft // 2).clamp(0, samples + n_fft)  # beyond either end the signal is 0
    rows = torch.arange(len(signals), device=signals.device)[:, None]
    return torch.fft.rfft(padded[rows, begin] * window)
