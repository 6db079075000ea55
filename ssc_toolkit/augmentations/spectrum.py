"""Fourier helpers that the transforms share."""

from __future__ import annotations


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
