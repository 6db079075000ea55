"""Acoustic fingerprints, which recognize a recording after a change of level, format, sample rate or start.

A fingerprint is a set of landmarks. A landmark is a pair of peaks of the spectrogram, described by the frequency of the
first peak and by the distance of the second peak in frequency and time (Wang, An Industrial-Strength Audio Search
Algorithm, ISMIR 2003). A set of landmarks is a sparse binary embedding of the recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

FINGERPRINT_RATE = 8000
"""Sample rate in hertz of the audio that `fingerprint` takes."""
LANDMARKS_PER_SECOND = 16
"""Maximum number of landmarks per second of a track. A landmark takes six bytes, so an hour takes at most 346 kB."""
SHORT_LANDMARKS = 256
"""Maximum number of landmarks of a track of up to 16 seconds."""
MAX_SECONDS = 600.0
"""Length in seconds of the beginning of a track that its fingerprint describes."""

PARTS = ("landmarks", "frames", "counts", "limits")
"""Names of the arrays of fingerprints."""

_NO_LIMIT = np.iinfo(np.uint32).max
_WINDOW, _HOP = 1024, 256  # samples
_LOWEST_BIN, _HIGHEST_BIN = 8, 440  # 62 Hz to 3.4 kHz
_REACH_FRAMES, _REACH_BINS = 5, 12  # a peak is the maximum of its neighborhood
_FLOOR = 3e-3  # magnitude of the weakest peak, relative to the strongest within `_FLOOR_FRAMES`
_FLOOR_FRAMES = 94  # 3 s
_LOWEST_FLOOR = 1e-4  # magnitude of the weakest peak, relative to the strongest of the track
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
        counts: (tracks,) int64, number of landmarks of each track.
        limits: (tracks,) uint32, value up to which the landmarks of each track are complete. Greater ones are not kept.
    """

    landmarks: np.ndarray
    frames: np.ndarray
    counts: np.ndarray
    limits: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence[Fingerprints]) -> Fingerprints:
        """Join the fingerprints of several groups of tracks."""
        every = [cls.of_nothing(0), *parts]
        return cls(*(np.concatenate([getattr(part, name) for part in every]) for name in PARTS))

    @classmethod
    def of_nothing(cls, tracks: int) -> Fingerprints:
        """Return empty fingerprints of several tracks."""
        limits = np.full(tracks, _NO_LIMIT, dtype=np.uint32)
        return cls(np.zeros(0, np.uint32), np.zeros(0, np.uint16), np.zeros(tracks, np.int64), limits)

    @classmethod
    def read(cls, content: Mapping[str, np.ndarray]) -> Fingerprints:
        """Return the fingerprints in the arrays of a file, which have the names in `PARTS`.

        The arrays may come from others. Whatever passes these checks is safe to compare.

        Raises:
            ValueError: unless shapes, types and values are those of fingerprints.
        """
        own = cls(*(content[name] for name in PARTS))
        kinds = {"landmarks": np.uint32, "frames": np.uint16, "counts": np.int64, "limits": np.uint32}
        if any(getattr(own, name).ndim != 1 or getattr(own, name).dtype != kind for name, kind in kinds.items()):
            raise ValueError("expected vectors of uint32, uint16, int64 and uint32")
        most = max(SHORT_LANDMARKS, round(LANDMARKS_PER_SECOND * MAX_SECONDS))
        if (
            (own.counts < 0) | (own.counts > min(most, len(own.landmarks)))
        ).any():  # a sum of such counts fits in int64
            raise ValueError("the number of landmarks of a track is out of range")
        if not own.counts.sum() == len(own.landmarks) == len(own.frames):
            raise ValueError("the numbers of landmarks differ")
        if len(own.counts) != len(own.limits):
            raise ValueError("the numbers of tracks differ")
        is_first = np.diff(own.rows) != 0
        if not (is_first | (own.landmarks[1:] >= own.landmarks[:-1])).all():
            raise ValueError("the landmarks of a track are not in ascending order")
        if (own.landmarks > np.repeat(own.limits, own.counts)).any():
            raise ValueError("a landmark is above the limit of its track")
        return own

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays to save, by the names in `PARTS`."""
        return {name: getattr(self, name) for name in PARTS}

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
        return Fingerprints(self.landmarks[places], self.frames[places], counts, self.limits[rows])

    def without(self, landmarks: np.ndarray) -> Fingerprints:
        """Return the fingerprints without some landmarks, (omitted,) uint32."""
        if not len(landmarks):
            return self
        kept = ~np.isin(self.landmarks, landmarks)
        counts = np.bincount(self.rows[kept], minlength=len(self.counts))
        return Fingerprints(self.landmarks[kept], self.frames[kept], counts, self.limits)


def fingerprint(samples: np.ndarray) -> Fingerprints:
    """Compute the fingerprint of a mono recording.

    At most `LANDMARKS_PER_SECOND` landmarks per second are kept, or `SHORT_LANDMARKS` if that is more. They are those
    with the lowest hashes, so that two versions of a recording, and a recording and its excerpt, keep the same ones.

    Args:
        samples: (samples,) signal at `FINGERPRINT_RATE`. Zeros at its end are ignored.

    Returns:
        The fingerprint of one track, with the hashes of its landmarks in ascending order.

    Examples:
        >>> noise = np.random.default_rng(0).normal(size=24000).astype(np.float32)
        >>> own = fingerprint(noise)
        >>> own.counts.tolist(), (own.landmarks == fingerprint(0.1 * noise).landmarks).all().item()
        ([256], True)
    """
    samples = np.asarray(samples, dtype=np.float32)[: round(MAX_SECONDS * FINGERPRINT_RATE)]
    if not samples.any():
        return Fingerprints.of_nothing(1)
    samples = samples[: len(samples) - np.argmax(samples[::-1] != 0)]  # files of unknown length are padded with zeros
    frames, bins = _find_peaks(samples)
    if len(frames) < 2:
        return Fingerprints.of_nothing(1)
    landmarks, frames = _pair_peaks(frames, bins)
    hashed = _mix(landmarks)
    most = max(SHORT_LANDMARKS, round(LANDMARKS_PER_SECOND * len(samples) / FINGERPRINT_RATE))
    kept = np.lexsort((frames, hashed))[:most]
    limit = _NO_LIMIT if len(kept) == len(hashed) else hashed[kept[-1]]
    counts, limits = np.array([len(kept)], dtype=np.int64), np.array([limit], dtype=np.uint32)
    return Fingerprints(hashed[kept], frames[kept].astype(np.uint16), counts, limits)


def _find_peaks(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the frames and frequency bins of the peaks of the spectrogram of (samples,), sorted by frame."""
    padded = np.pad(samples, _WINDOW // 2)
    total = 1 + (len(padded) - _WINDOW) // _HOP
    levels, found = np.zeros(total, dtype=np.float32), []
    for start in range(0, total, _BLOCK_FRAMES):
        begin, end = max(0, start - _REACH_FRAMES), min(total, start + _BLOCK_FRAMES + _REACH_FRAMES)
        magnitudes = _spectrogram(padded[begin * _HOP : (end - 1) * _HOP + _WINDOW])
        levels[begin:end] = magnitudes.max(axis=1)
        frames, bins = np.nonzero(_is_peak(magnitudes))
        own = (frames + begin >= start) & (frames + begin < start + _BLOCK_FRAMES)
        frames, bins = frames[own], bins[own]
        found.append((frames + begin, bins, magnitudes[frames, bins]))
    frames, bins, heights = (np.concatenate(part) for part in zip(*found, strict=True))
    kept = heights > _floors(levels)[frames]
    return frames[kept], bins[kept]


def _floors(levels: np.ndarray) -> np.ndarray:
    """Return the magnitude above which a peak counts, (frames,), given the highest magnitude of each frame.

    It depends on the seconds around the frame, so that an excerpt of a quiet passage has the peaks of the whole track.
    """
    from scipy.ndimage import maximum_filter1d

    nearby = maximum_filter1d(levels, 2 * _FLOOR_FRAMES + 1, mode="constant")
    return np.maximum(_FLOOR * nearby, _LOWEST_FLOOR * levels.max())


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
