"""Number of windows of a track, and pooling of window embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ssc_toolkit.data import TrackTable
from ssc_toolkit.errors import InputError

MAX_WINDOWS = 64
"""Maximum number of windows of a track. Only the first ones are used (Guinot, Quinton and Fazekas, ISMIR 2024)."""

WINDOW_POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda windows: windows.mean(dim=1),
    "max": lambda windows: windows.amax(dim=1),
    "mean+std": lambda windows: torch.cat([windows.mean(dim=1), windows.std(dim=1, correction=0)], dim=1),
}
"""Pooling functions by name. Each maps window embeddings (tracks, windows, dim) to track embeddings (tracks, dim)."""


def find_window_pooling(name: str) -> Callable[[Tensor], Tensor]:
    """Return the function that pools the embeddings of the windows of a track, by its name such as "mean".

    Raises:
        InputError: if the name is unknown.
    """
    if name not in WINDOW_POOLINGS:
        raise InputError(f"window_pooling: expected one of {', '.join(WINDOW_POOLINGS)}, got {name!r}")
    return WINDOW_POOLINGS[name]


def count_windows(tracks: TrackTable, sample_rate: int, window: int) -> np.ndarray:
    """Return the number of windows of each track, at most 64.

    Args:
        tracks: track table with the columns `path` and `seconds`.
        sample_rate: sample rate in hertz.
        window: length of a window in samples.

    Returns:
        (tracks,) numbers of windows.

    Raises:
        InputError: if a track is shorter than a window, or if the table has no `seconds`.
    """
    if "seconds" not in tracks:
        raise InputError("tracks: expected a column 'seconds', got none; check_audio and AudioStore.tracks add it")
    if window < 1:
        raise InputError(f"window_seconds: expected at least one sample, got {window / sample_rate:g} s")
    # The small offset allows for the rounding of `seconds`.
    counts = np.floor(tracks["seconds"].to_numpy() * sample_rate / window + 1e-6).astype(int)
    if (counts < 1).any():
        short = tracks["path"].iloc[int((counts < 1).argmax())]
        raise InputError(
            f"tracks: {int((counts < 1).sum())} tracks are shorter than a window of {window / sample_rate:.2f} s, "
            f"such as {short}; remove them (check_audio does) or choose a shorter window"
        )
    return np.minimum(counts, MAX_WINDOWS)
