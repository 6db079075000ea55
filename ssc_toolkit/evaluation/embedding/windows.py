"""Windows of a track, and pooling of window embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from ssc_toolkit.data import TrackTable
from ssc_toolkit.errors import InputError

MAX_WINDOWS = 64
"""Maximum number of windows per track."""

WINDOW_RULE = (
    f"non-overlapping, the last partial one dropped, at most {MAX_WINDOWS} spread evenly over the track, "
    "shorter tracks padded, windows that are silent in the clean audio left out of the pooling"
)
"""Description of the choice of windows, which is part of the provenance and of the keys of cached embeddings."""

ALL_WINDOWS_RULE = "non-overlapping, the last partial one dropped, shorter tracks padded, silent windows included"
"""Description of the choice of windows if there is one embedding per window, which is part of the provenance."""

SILENT_BELOW = 1e-4
"""Peak below which a window is silent: 80 dB below full scale, so that the dither of 16-bit audio is silent too."""

WINDOW_POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda windows: windows.mean(dim=1),
    "max": lambda windows: windows.amax(dim=1),
    "mean_std": lambda windows: torch.cat([windows.mean(dim=1), windows.std(dim=1, correction=0)], dim=1),
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
    """Return the number of whole windows in each track. A track that is shorter than a window has one padded window.

    Args:
        tracks: track table with the columns `path` and `seconds`.
        sample_rate: sample rate in hertz.
        window: length of a window in samples.

    Returns:
        (tracks,) integers, at least 1.

    Raises:
        InputError: if a window has no samples, or if the table has no `seconds`.
    """
    if "seconds" not in tracks:
        raise InputError("tracks: expected a column 'seconds', got none; check_audio and AudioStore.tracks add it")
    if window < 1:
        raise InputError(f"window_seconds: expected at least one sample, got {window / sample_rate:g} s")
    return np.maximum(_windows_per_track(tracks, sample_rate, window), 1)


def count_padded(tracks: TrackTable, sample_rate: int, window: int) -> int:
    """Return the number of tracks that are shorter than a window and are padded with zeros."""
    return int((_windows_per_track(tracks, sample_rate, window) < 1).sum())


def spread_windows(count: int) -> np.ndarray:
    """Return the numbers of the windows to embed: all, or 64 that are spread evenly over the track.

    Args:
        count: number of windows in the track.

    Examples:
        >>> spread_windows(3).tolist(), spread_windows(1000)[[0, 1, 2, 62, 63]].tolist()
        ([0, 1, 2], [0, 16, 32, 983, 999])
    """
    return np.arange(count) if count <= MAX_WINDOWS else np.linspace(0, count - 1, MAX_WINDOWS).round().astype(int)


def find_audible(windows: Tensor) -> Tensor:
    """Return which windows are pooled: those that are not silent, or all windows of a track if all are silent.

    Args:
        windows: (tracks, windows, samples) waveforms.

    Returns:
        (tracks, windows) bool.

    Examples:
        >>> find_audible(torch.tensor([[[0.0, 0.0], [0.0, 0.1]], [[0.0, 0.0], [0.0, 1e-5]]])).tolist()
        [[False, True], [True, True]]
    """
    audible = windows.amax(dim=2).maximum(-windows.amin(dim=2)) >= SILENT_BELOW
    return audible | ~audible.any(dim=1, keepdim=True)


def _windows_per_track(tracks: TrackTable, sample_rate: int, window: int) -> np.ndarray:
    # The small offset allows for the rounding of `seconds`.
    return np.floor(tracks["seconds"].to_numpy() * sample_rate / window + 1e-6).astype(int)
