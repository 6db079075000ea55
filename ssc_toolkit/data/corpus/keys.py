"""Estimation of the key of a piece, which returns a key only if several criteria agree."""

from __future__ import annotations

import numpy as np

# Krumhansl & Kessler, Psychological Review 89 (1982), probe-tone ratings, tonic first.
KRUMHANSL_KESSLER = np.array(
    [
        [6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88],
        [6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17],
    ]
)
# Key profiles of the Kostka & Payne corpus, from Temperley, Music and Probability (2007), table 6.2.
KOSTKA_PAYNE = np.array(
    [
        [0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400],
        [0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330],
    ]
)
# Indices that rotate a profile to each of the twelve tonics.
_ROTATIONS = (np.arange(12) - np.arange(12)[:, None]) % 12


def pitch_class_histogram(pitches: np.ndarray, durations: np.ndarray) -> np.ndarray:
    """Return the total duration of each pitch class (12,), from MIDI pitches (notes,) and durations (notes,)."""
    return np.bincount(np.asarray(pitches, dtype=int) % 12, weights=durations, minlength=12)


def find_best_key(histogram: np.ndarray, profiles: np.ndarray) -> int:
    """Return the index of the key whose rotated profile correlates best with a pitch-class histogram.

    Keys are numbered as in `KEYS`. The Pearson correlation is computed for all 24 keys, as in the Krumhansl algorithm.

    Args:
        histogram: (12,) duration of each pitch class.
        profiles: (2, 12) key profiles of major and minor. The first value is that of the tonic.
    """
    rotated = profiles[:, _ROTATIONS].reshape(24, 12)
    rotated = rotated - rotated.mean(axis=1, keepdims=True)
    centered = histogram - histogram.mean()
    return int(np.argmax(rotated @ centered / np.linalg.norm(rotated, axis=1)))


def find_sure_key(
    onsets: np.ndarray,
    durations: np.ndarray,
    pitches: np.ndarray,
    stated_tonic: int | None = None,
    stated_mode: int | None = None,
) -> int | None:
    """Return the index of the key of a piece in `KEYS`, or None if the criteria do not agree.

    The Krumhansl-Kessler and Kostka-Payne profiles must give the same key. The lowest note at the end of the piece must
    be the tonic of this key. The tonic and mode that the score states, if any, must also be those of this key.

    Args:
        onsets: (notes,) onsets in beats.
        durations: (notes,) durations in beats.
        pitches: (notes,) MIDI pitches.
        stated_tonic: pitch class of the tonic that the score states. None if it states no tonic.
        stated_mode: mode that the score states: 0 for major, 1 for minor. None if it states no mode.
    """
    histogram = pitch_class_histogram(pitches, durations)
    key = find_best_key(histogram, KRUMHANSL_KESSLER)
    if key != find_best_key(histogram, KOSTKA_PAYNE):
        return None
    ends = np.asarray(onsets) + np.asarray(durations)
    final = np.asarray(pitches)[ends >= ends.max() - 1e-3]
    tonic, mode = key % 12, key // 12
    if int(final.min()) % 12 != tonic:
        return None
    if stated_tonic is not None and stated_tonic != tonic:
        return None
    if stated_mode is not None and stated_mode != mode:
        return None
    return key
