"""Fourier helpers that the transforms share."""

from __future__ import annotations

import torch
from torch import Tensor


def fast_length(samples: int) -> int:
    """Smallest product of powers of 2, 3 and 5 that is at least `samples`: quick to transform."""
    best = 1 << (samples - 1).bit_length()
    fives = 1
    while fives < best:
        threes = fives
        while threes < best:
            twos = -(-samples // threes)
            best = min(best, threes << (twos - 1).bit_length())
            threes *= 3
        fives *= 5
    return best


def filter_by_response(waveforms: Tensor, response: Tensor, length: int) -> Tensor:
    """Multiply the spectrum of zero-padded waveforms by a response.

    Args:
        waveforms: (N, channels, samples).
        response: (N, length // 2 + 1), real or complex.
        length: FFT length, at least samples plus the length of the impulse response, so that
            nothing wraps round.
    """
    spectrum = torch.fft.rfft(waveforms, n=length)
    return torch.fft.irfft(spectrum * response[:, None], n=length)[..., : waveforms.shape[-1]]
