"""Choice of the FFT length."""

from __future__ import annotations


def find_fast_length(samples: int) -> int:
    """Return the smallest FFT length that is at least `samples` and has no prime factors other than 2, 3 and 5."""
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
