"""Annotations of tracks over time: targets of frames, decoding of outputs, and scores by mir_eval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading
from ssc_toolkit.paths import user_path

ROOTS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
THRESHOLDS = tuple(np.linspace(0.05, 0.6, 12).round(2).tolist())
"""Thresholds of beats, of which one is selected on the validation set."""

_BEAT_WIDTH_SECONDS = 0.03
_MIN_BEAT_INTERVAL_SECONDS = 0.25


@dataclass(frozen=True)
class Beats:
    """Times of the beats of a track.

    Attributes:
        seconds: (beats,) times in seconds, in ascending order.
    """

    seconds: np.ndarray
    metric: ClassVar[str] = "beat F-measure"
    max_frame_seconds: ClassVar[float] = 0.07
    settings: ClassVar[tuple[float, ...]] = THRESHOLDS

    def targets(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the activations (frames, 1), which are 1 on a beat and fall off around it, and which frames to use.

        `times` are the centers of the frames in seconds.
        """
        if not len(self.seconds):
            return np.zeros((len(times), 1)), np.ones(len(times), dtype=bool)
        distance = np.abs(times[:, None] - self.seconds).min(axis=1)
        return np.exp(-0.5 * (distance / _BEAT_WIDTH_SECONDS) ** 2)[:, None], np.ones(len(times), dtype=bool)

    def score(self, times: np.ndarray, outputs: np.ndarray, threshold: float) -> float:
        """Return the F-measure with a tolerance of 70 ms of the beats that are decoded from outputs (frames, 1).

        It is NaN for a track without beats, and 0 if no beat is found.
        """
        import mir_eval

        found = pick_peaks(times, outputs[:, 0], threshold)
        if not len(self.seconds) or not len(found):
            return 0.0 if len(self.seconds) else float("nan")
        return float(mir_eval.beat.f_measure(self.seconds, found))


@dataclass(frozen=True)
class ChordRoots:
    """Roots of the chords of a track.

    Attributes:
        intervals: (chords, 2) begin and end in seconds. The intervals do not overlap. Gaps are not scored.
        roots: (chords,) pitch classes from 0 (C) to 11.
    """

    intervals: np.ndarray
    roots: np.ndarray
    metric: ClassVar[str] = "chord root accuracy"
    max_frame_seconds: ClassVar[float] = 1.0
    settings: ClassVar[tuple[float, ...]] = (0.0,)

    def targets(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the classes as one-hot rows (frames, 12), and which frames are in a chord.

        `times` are the centers of the frames in seconds.
        """
        place = np.searchsorted(self.intervals[:, 0], times, side="right") - 1
        inside = (place >= 0) & (times < self.intervals[place, 1])
        return np.eye(12)[self.roots[place]], inside

    def score(self, times: np.ndarray, outputs: np.ndarray, threshold: float) -> float:
        """Return the fraction of the annotated time in which the root with the highest output (frames, 12) is right."""
        import mir_eval

        edges = np.concatenate([[0.0], (times[1:] + times[:-1]) / 2, [max(times[-1], self.intervals[-1, 1])]])
        found = [f"{ROOTS[root]}:maj" for root in outputs.argmax(axis=1)]
        estimated, labels = mir_eval.util.adjust_intervals(
            np.column_stack([edges[:-1], edges[1:]]),
            found,
            self.intervals[0, 0],
            self.intervals[-1, 1],
            mir_eval.chord.NO_CHORD,
            mir_eval.chord.NO_CHORD,
        )
        reference, names = _fill_gaps(self.intervals, self.roots)
        intervals, names, labels = mir_eval.util.merge_labeled_intervals(reference, names, estimated, labels)
        comparisons = mir_eval.chord.root(names, labels)
        return float(mir_eval.chord.weighted_accuracy(comparisons, intervals[:, 1] - intervals[:, 0]))


Annotation = Beats | ChordRoots
Annotations = Mapping[str, Annotation]
"""Type of the annotations of tracks by their path, all of one class. Tracks without an annotation are left out."""


def pick_peaks(times: np.ndarray, activation: np.ndarray, threshold: float) -> np.ndarray:
    """Return the times of the local maxima of an activation (frames,) of at least `threshold`, strongest first choice.

    Of two maxima that are closer than 0.25 s, the higher one is kept. The times are refined between frames by a
    parabola through the maximum and its neighbors.

    Examples:
        >>> pick_peaks(np.arange(8) * 0.1, np.array([0, 0.1, 0.9, 0.1, 0, 0, 0.5, 0.0]), 0.3).round(2).tolist()
        [0.2, 0.6]
    """
    padded = np.pad(activation, 1, constant_values=-np.inf)
    is_peak = (activation >= threshold) & (activation >= padded[:-2]) & (activation > padded[2:])
    kept: list[float] = []
    for place in sorted(np.flatnonzero(is_peak), key=lambda place: -activation[place]):
        time = times[place]
        if 0 < place < len(times) - 1:
            left, middle, right = activation[place - 1 : place + 2]
            curvature = left - 2 * middle + right
            time += (0.5 * (left - right) / curvature if curvature < 0 else 0.0) * (times[place + 1] - times[place])
        if all(abs(time - other) >= _MIN_BEAT_INTERVAL_SECONDS for other in kept):
            kept.append(time)
    return np.sort(np.array(kept))


def read_beats(path: str | Path) -> dict[str, Beats]:
    """Read the beats of tracks from a CSV file with the columns `path` and `seconds`, one row for each beat.

    Paths are relative to the folder of the file. The keys of the result are absolute paths, as in the track table of
    `load_tracks`.

    Raises:
        InputError: if the file is missing or damaged, or if a column is missing.
    """
    return {
        str(track): Beats(np.sort(rows["seconds"].to_numpy(dtype=float)))
        for track, rows in _read(path, ("path", "seconds")).groupby("path")
    }


def read_chord_roots(path: str | Path) -> dict[str, ChordRoots]:
    """Read the chord roots of tracks from a CSV file with `path`, `begin_seconds`, `end_seconds` and `root`.

    A root is a pitch class from 0 (C) to 11. Paths are as for `read_beats`.

    Raises:
        InputError: as for `read_beats`, or if a root is not from 0 to 11, or if chords of a track overlap.
    """
    table = _read(path, ("path", "begin_seconds", "end_seconds", "root"))
    if not table["root"].isin(range(12)).all():
        raise InputError(f"{path}: expected roots from 0 to 11, got others")
    found = {}
    for track, rows in table.sort_values("begin_seconds").groupby("path"):
        intervals = rows[["begin_seconds", "end_seconds"]].to_numpy(dtype=float)
        if (intervals[:, 1] <= intervals[:, 0]).any() or (intervals[1:, 0] < intervals[:-1, 1] - 1e-6).any():
            raise InputError(f"{path}: expected chords that do not overlap, got others for {track}")
        found[str(track)] = ChordRoots(intervals, rows["root"].to_numpy(dtype=int))
    return found


def _read(path: str | Path, columns: tuple[str, ...]) -> pd.DataFrame:
    file = user_path(path, "annotations")
    if not file.is_file():
        raise InputError(f"annotations: there is no file {file}")
    with reading("annotations", file, "write it again"):
        table = pd.read_csv(file)
        if missing := [column for column in columns if column not in table]:
            raise ValueError(f"it has no column {missing[0]!r}")
        numbers = [column for column in columns if column != "path"]
        table[numbers] = table[numbers].apply(pd.to_numeric)
        values = table[numbers].to_numpy(dtype=float)
        is_bad = ~(np.isfinite(values) & (values >= 0)).all(axis=1)
        if is_bad.any():
            raise ValueError(f"row {int(is_bad.argmax()) + 1} has a number that is missing or below 0")
    folder = file.absolute().parent
    return table.assign(path=[str(folder / name) for name in table["path"].astype(str)])


def _fill_gaps(intervals: np.ndarray, roots: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return intervals without gaps and their labels for mir_eval. Gaps have the label X, which is not scored."""
    filled, names = [], []
    end = intervals[0, 0]
    for (begin, own_end), root in zip(intervals, roots, strict=True):
        if begin > end + 1e-9:
            filled.append((end, begin))
            names.append("X")
        filled.append((max(begin, end), own_end))
        names.append(f"{ROOTS[root]}:maj")
        end = own_end
    return np.array(filled), names
