"""Acoustic fingerprints, which recognize a recording after a change of level, format, sample rate or start.

A fingerprint is a set of landmarks. A landmark is a pair of peaks of the spectrogram, described by the frequency of the
first peak and by the distance of the second peak in frequency and time (Wang, An Industrial-Strength Audio Search
Algorithm, ISMIR 2003). A set of landmarks is a sparse binary embedding of the recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FINGERPRINT_RATE = 8000
"""Sample rate in hertz of the audio that `fingerprint` takes."""
MAX_LANDMARKS = 256
"""Maximum number of landmarks in a fingerprint."""
MAX_SECONDS = 600.0
"""Length in seconds of the beginning of a track that its fingerprint describes."""

_WINDOW, _HOP = 1024, 256  # samples
_LOWEST_BIN, _HIGHEST_BIN = 8, 440  # 62 Hz to 3.4 kHz
_REACH_FRAMES, _REACH_BINS = 5, 12  # a peak is the maximum of its neighborhood
_FLOOR = 3e-3  # magnitude of the weakest peak, relative to the strongest
_FAN_OUT = 4  # number of landmarks that begin at a peak
_MAX_DISTANCE_FRAMES, _MAX_DISTANCE_BINS = 60, 64
_BINS_PER_STEP = 2
_BLOCK_FRAMES = 4096  # limits the memory for long tracks


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of several tracks.

    Attributes:
        landmarks: (landmarks,) uint32, the landmarks of all tracks, one track after the other.
        frames: (landmarks,) uint16, position of each landmark in its track, in frames of 32 ms.
        counts: (tracks,) number of landmarks of each track.
    """

    landmarks: np.ndarray
    frames: np.ndarray
    counts: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> Fingerprints:
        """Join the results of `fingerprint` for several tracks."""
        landmarks = [part[0] for part in parts] or [np.zeros(0, dtype=np.uint32)]
        frames = [part[1] for part in parts] or [np.zeros(0, dtype=np.uint16)]
        counts = np.array([len(part[0]) for part in parts], dtype=np.int64)
        return cls(np.concatenate(landmarks), np.concatenate(frames), counts)

    @classmethod
    def of_nothing(cls, tracks: int) -> Fingerprints:
        """Return empty fingerprints of several tracks."""
        return cls.joined([(np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint16))] * tracks)

    def check(self) -> None:
        """Raise ValueError unless shapes and types are those of fingerprints."""
        kinds = (self.landmarks, np.uint32), (self.frames, np.uint16), (self.counts, np.int64)
        if any(values.ndim != 1 or values.dtype != kind for values, kind in kinds):
            raise ValueError("expected vectors of uint32, uint16 and int64")
        if (self.counts < 0).any() or not self.counts.sum() == len(self.landmarks) == len(self.frames):
            raise ValueError("the numbers of landmarks differ")

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def rows(self) -> np.ndarray:
        """Row number of the track of each landmark, (landmarks,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def select(self, rows: np.ndarray) -> Fingerprints:
        """Return the fingerprints of tracks, given their row numbers (selected,)."""
        starts = np.cumsum(self.counts) - self.counts
        counts = self.counts[rows]
        first = np.cumsum(counts) - counts
        places = np.arange(counts.sum()) - np.repeat(first - starts[rows], counts)
        return Fingerprints(self.landmarks[places], self.frames[places], counts)


def fingerprint(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the fingerprint of a mono recording.

    At most `MAX_LANDMARKS` landmarks are kept. They are chosen by a hash of the landmark, so that two versions of a
    recording keep the same ones.

    Args:
        samples: (samples,) signal at `FINGERPRINT_RATE`.

    Returns:
        The landmarks in ascending order, uint32, and the frame of each landmark, uint16.

    Examples:
        >>> noise = np.random.default_rng(0).normal(size=24000).astype(np.float32)
        >>> landmarks, frames = fingerprint(noise)
        >>> len(landmarks), (landmarks == fingerprint(0.1 * noise)[0]).all().item()
        (256, True)
    """
    samples = np.asarray(samples, dtype=np.float32)[: round(MAX_SECONDS * FINGERPRINT_RATE)]
    frames, bins = _find_peaks(samples)
    if len(frames) < 2:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.uint16)
    landmarks, frames = _pair_peaks(frames, bins)
    hashed = _mix(landmarks)
    kept = np.lexsort((frames, hashed))[:MAX_LANDMARKS]
    return hashed[kept], frames[kept].astype(np.uint16)


def _find_peaks(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames and frequency bins of the peaks of the spectrogram of (samples,), sorted by frame."""
    padded = np.pad(samples, _WINDOW // 2)
    total = 1 + (len(padded) - _WINDOW) // _HOP
    loudest, found = 0.0, []
    for start in range(0, total, _BLOCK_FRAMES):
        begin, end = max(0, start - _REACH_FRAMES), min(total, start + _BLOCK_FRAMES + _REACH_FRAMES)
        magnitudes = _spectrogram(padded[begin * _HOP : (end - 1) * _HOP + _WINDOW])
        loudest = max(loudest, float(magnitudes.max()))
        frames, bins = np.nonzero(_is_peak(magnitudes))
        own = (frames + begin >= start) & (frames + begin < start + _BLOCK_FRAMES)
        frames, bins = frames[own], bins[own]
        found.append((frames + begin, bins, magnitudes[frames, bins]))
    frames, bins, heights = (np.concatenate(part) for part in zip(*found, strict=True))
    kept = heights > _FLOOR * loudest
    return frames[kept], bins[kept]


def _spectrogram(samples: np.ndarray) -> np.ndarray:
    """Return the magnitudes (frames, bins) of the windows of (samples,)."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    from scipy.fft import rfft

    spectra = rfft(windows * np.hanning(_WINDOW).astype(np.float32), axis=1)
    return np.abs(spectra[:, _LOWEST_BIN:_HIGHEST_BIN])


def _is_peak(magnitudes: np.ndarray) -> np.ndarray:
    """Return whether each magnitude (frames, bins) is above 0 and the maximum of its neighborhood."""
    from scipy.ndimage import maximum_filter1d

    highest = maximum_filter1d(magnitudes, 2 * _REACH_BINS + 1, axis=1, mode="constant")
    highest = maximum_filter1d(highest, 2 * _REACH_FRAMES + 1, axis=0, mode="constant")
    return (magnitudes == highest) & (magnitudes > 0)


def _pair_peaks(frames: np.ndarray, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair each peak with the next peaks that are near it. Return the landmarks, uint32, and their frames."""
    pairs = np.zeros(len(frames), dtype=np.int64)
    landmarks, starts = [], []
    for step in range(1, min(len(frames), 8 * _FAN_OUT)):
        distance, interval = frames[step:] - frames[:-step], bins[step:] - bins[:-step]
        near = (distance >= 2) & (distance <= _MAX_DISTANCE_FRAMES) & (np.abs(interval) <= _MAX_DISTANCE_BINS)
        chosen = np.flatnonzero(near & (pairs[:-step] < _FAN_OUT))
        pairs[chosen] += 1
        interval_steps = (interval[chosen] + _MAX_DISTANCE_BINS) // _BINS_PER_STEP
        landmarks.append((bins[chosen] // _BINS_PER_STEP << 16) | (interval_steps << 8) | distance[chosen])
        starts.append(frames[chosen])
    return np.concatenate(landmarks).astype(np.uint32), np.concatenate(starts)


def _mix(landmarks: np.ndarray) -> np.ndarray:
    """Return the landmarks as well-mixed uint32, by the finalizer of MurmurHash3, which maps no two to the same value.

    The smallest values are then a random sample of the landmarks.
    """
    mixed = landmarks ^ (landmarks >> np.uint32(16))
    mixed = mixed * np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed = mixed * np.uint32(0xC2B2AE35)
    return mixed ^ (mixed >> np.uint32(16))
