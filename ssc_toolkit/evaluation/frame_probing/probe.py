"""Linear probes on frames, fitted and scored a few windows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.encoders import Encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.audio_loader import make_reader
from ssc_toolkit.evaluation.embedding.eval_mode import eval_mode
from ssc_toolkit.evaluation.embedding.models import choose_window_seconds, find_device
from ssc_toolkit.evaluation.frame_probing.annotations import Annotation, Annotations
from ssc_toolkit.evaluation.frame_probing.linear import FrameStatistics, LinearMap
from ssc_toolkit.evaluation.metrics.bootstrap import bootstrap_mean
from ssc_toolkit.evaluation.metrics.scores import Score
from ssc_toolkit.evaluation.probing.probe import find_groups

REGULARIZATIONS = (1e-4, 1e-3, 1e-2, 1e-1)
"""Weights of the penalty of the ridge regression, of which one is selected on the validation set."""

_WINDOWS = 8  # windows whose frames are in memory at once


@dataclass(frozen=True)
class FrameProbe:
    """Linear probe on the frames of a layer.

    Attributes:
        linear: map from a frame to the outputs.
        layer: name of the layer.
        window_seconds: length of a window in seconds.
        threshold: threshold of the decoding of beats. Chord roots do not use it.
        regularization: weight of the penalty.
    """

    linear: LinearMap
    layer: str
    window_seconds: float
    threshold: float
    regularization: float

    def score(self, model: Encoder, tracks: Tracks, annotations: Annotations, seed: int = 0) -> Score:
        """Score the test tracks with an annotation, with an interval over their groups (`seed` of the bootstrap).

        Raises:
            InputError: as for `fit_frame_probe`.
        """
        tracks = as_track_table(tracks)
        rows = _annotated_rows(tracks, annotations, "test")
        reader = _FrameReader(model, tracks, self.layer, self.window_seconds)
        values = []
        with eval_mode(model):
            for row in rows:
                times, outputs = _outputs(reader, row, [self.linear])
                values.append(_annotation_of(tracks, annotations, row).score(times, outputs[0], self.threshold))
        metric = next(iter(annotations.values())).metric
        is_defined = np.isfinite(values)
        groups = find_groups(tracks)[rows]
        headline = bootstrap_mean(np.array(values), groups, seed)
        count = len(np.unique(groups[is_defined]))
        return Score(metric, headline, {}, int(is_defined.sum()), groups=count, rows=rows)


def frame_probe(
    model: Encoder,
    tracks: Tracks,
    annotations: Annotations,
    layer: str = "last",
    window_seconds: float | None = None,
    seed: int = 0,
) -> Score:
    """Fit a linear probe to the frames of the training tracks, and score it on the test tracks.

    Args:
        model: as for `fit_frame_probe`.
        tracks: as for `fit_frame_probe`.
        annotations: as for `fit_frame_probe`.
        layer: as for `fit_frame_probe`.
        window_seconds: as for `fit_frame_probe`.
        seed: seed of the bootstrap.

    Returns:
        The mean over the test tracks of the F-measure of beats or of the accuracy of chord roots, with a 95 % interval
        over groups of tracks. `make_score_row` converts the score to a row of the table of scores.

    Raises:
        InputError: as for `fit_frame_probe`.
    """
    tracks = as_track_table(tracks)
    probe = fit_frame_probe(model, tracks, annotations, layer, window_seconds)
    return probe.score(model, tracks, annotations, seed)


def fit_frame_probe(
    model: Encoder,
    tracks: Tracks,
    annotations: Annotations,
    layer: str = "last",
    window_seconds: float | None = None,
) -> FrameProbe:
    """Fit a linear probe, which predicts beats or chord roots from single frames of a layer.

    The probe is a ridge regression of the activation of the beats, or of the one-hot roots. Beats are the maxima of its
    output above a threshold. The root of a frame is the class with the largest output. The regularization and the
    threshold are selected on the validation set by the metric of the test set. Frames are computed and used a few
    windows at a time, and are not kept.

    Args:
        model: encoder or adapter, which gives the frames of its layers (`layer_frames`).
        tracks: track table with the columns `path`, `seconds` and `split` and, optionally, `group`.
        annotations: beats or chord roots by path, from `read_beats` or `read_chord_roots`. Tracks without an annotation
            are ignored.
        layer: "last", or a name from `layer_names`.
        window_seconds: length of the windows in seconds, which do not overlap. By default that of the model.

    Raises:
        InputError: if the model gives no frames, if its frames are too long for the task, or if a split has no track
            with an annotation.
    """
    tracks = as_track_table(tracks)
    rows = {split: _annotated_rows(tracks, annotations, split) for split in ("train", "valid", "test")}
    seconds = choose_window_seconds(model, window_seconds)
    reader = _FrameReader(model, tracks, layer, seconds)
    check_frame_length(model, layer, seconds, annotations)
    with eval_mode(model):
        statistics = _fit_statistics(reader, tracks, annotations, rows["train"])
        maps = [statistics.solve(regularization) for regularization in REGULARIZATIONS]
        settings = next(iter(annotations.values())).settings
        totals = np.zeros((len(maps), len(settings)))
        for row in rows["valid"]:
            own = _annotation_of(tracks, annotations, row)
            times, outputs = _outputs(reader, row, maps)
            scores = [[own.score(times, found, setting) for setting in settings] for found in outputs]
            totals += np.nan_to_num(scores)
    best, setting = np.unravel_index(int(totals.argmax()), totals.shape)
    return FrameProbe(maps[best], layer, seconds, settings[setting], REGULARIZATIONS[best])


class _FrameReader:
    """Reader of the frames of tracks, a few windows at a time."""

    def __init__(self, model: Encoder, tracks: TrackTable, layer: str, window_seconds: float) -> None:
        if not isinstance(model, Encoder):
            raise InputError(f"model: expected an Encoder, which gives frames, got {type(model).__name__}")
        if "seconds" not in tracks:
            raise InputError("tracks: expected a column 'seconds', got none; check_audio adds it")
        self.model, (self.layer,) = model, model.select_layers(_as_layers(layer))
        self.size = round(window_seconds * model.sample_rate)
        self._read = make_reader(tracks, model.sample_rate)
        self._samples = np.ceil(tracks["seconds"].to_numpy() * model.sample_rate).astype(int)
        self._device = find_device(model)

    def pieces(self, row: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the centers in seconds (frames,) and the frames (frames, width) of a few windows of a track.

        The last window is padded with zeros. Frames that begin after the end of the track are left out.
        """
        rate, step = self.model.sample_rate, self.size * _WINDOWS
        for start in range(0, int(self._samples[row]), step):
            windows = -(-min(step, int(self._samples[row]) - start) // self.size)
            samples = self._read(row, start, windows * self.size)
            waveforms = torch.from_numpy(samples).view(windows, 1, self.size).to(self._device)
            frames = self.model.layer_frames(waveforms, [self.layer])[self.layer].float().cpu().numpy()
            count = frames.shape[1]
            centers = (np.arange(count) + 0.5) / count * self.size
            times = (start + (np.arange(windows) * self.size)[:, None] + centers).ravel()
            kept = times < self._samples[row]
            yield times[kept] / rate, frames.reshape(-1, frames.shape[2])[kept]


def _fit_statistics(
    reader: _FrameReader, tracks: TrackTable, annotations: Annotations, rows: Sequence[int] | np.ndarray
) -> FrameStatistics:
    statistics: FrameStatistics | None = None
    for row in rows:
        own = _annotation_of(tracks, annotations, row)
        for times, frames in reader.pieces(row):
            targets, used = own.targets(times)
            statistics = statistics or FrameStatistics(frames.shape[1], targets.shape[1])
            statistics.add(frames[used], targets[used])
    if statistics is None or not statistics.count:
        raise InputError("annotations: expected annotated frames in the training set, got none")
    return statistics


def check_frame_length(
    model: Encoder, layer: str, window_seconds: float, annotations: Annotations, argument: str = "layer"
) -> None:
    """Raise InputError if the frames of a layer are too long to predict the annotations.

    The frames of one window of zeros are counted. `argument` is the name of the argument with the layer for the error
    message. The other arguments are as for `fit_frame_probe`.
    """
    own = next(iter(annotations.values()), None)
    if own is None:
        raise InputError("annotations: expected annotations of tracks, got none")
    window = torch.zeros(1, 1, round(window_seconds * model.sample_rate), device=find_device(model))
    with eval_mode(model):
        ((name, frames),) = model.layer_frames(window, _as_layers(layer)).items()
    seconds = window_seconds / frames.shape[1]
    if seconds > own.max_frame_seconds:
        raise InputError(
            f"{argument}: expected frames of at most {own.max_frame_seconds:g} s for the {own.metric}, got "
            f"{seconds:.3g} s from {name}; choose an earlier layer"
        )


def _as_layers(layer: str) -> str | list[str]:
    return layer if layer == "last" else [layer]


def _outputs(reader: _FrameReader, row: int, maps: Sequence[LinearMap]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the times (frames,) of a track, and the outputs (frames, targets) of each map."""
    times: list[np.ndarray] = []
    outputs: list[list[np.ndarray]] = [[] for _ in maps]
    for own, frames in reader.pieces(row):
        times.append(own)
        for found, linear in zip(outputs, maps, strict=True):
            found.append(linear(frames))
    return np.concatenate(times), [np.concatenate(found) for found in outputs]


def _annotated_rows(tracks: TrackTable, annotations: Annotations, split: str) -> np.ndarray:
    if "split" not in tracks:
        raise InputError("tracks: expected a column 'split', got none; ssc_toolkit.data.add_splits adds one")
    known = tracks["path"].isin(list(annotations)).to_numpy()
    rows = np.flatnonzero((tracks["split"] == split).to_numpy() & known)
    if not len(rows):
        raise InputError(f"annotations: expected {split} tracks with an annotation, got none")
    return rows


def _annotation_of(tracks: TrackTable, annotations: Annotations, row: int) -> Annotation:
    return annotations[tracks["path"].iloc[int(row)]]
