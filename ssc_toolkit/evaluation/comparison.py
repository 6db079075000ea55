"""Comparison of several models on several tasks, on clean and corrupted audio."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ssc_toolkit.augmentations import Augmentation, corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS
from ssc_toolkit.data import Labels
from ssc_toolkit.data.track_table import Tracks, TrackTable, as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.extract import embed_models
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import WaveformModel
from ssc_toolkit.evaluation.metrics.bootstrap import Interval, drawn_weights, interval_over_runs
from ssc_toolkit.evaluation.metrics.classification import metrics_of
from ssc_toolkit.evaluation.metrics.records import CLEAN, Record, to_records
from ssc_toolkit.evaluation.metrics.scores import Score, measure
from ssc_toolkit.evaluation.probing.cache import CachedProbes
from ssc_toolkit.evaluation.probing.probe import groups_of, label_signal
from ssc_toolkit.evaluation.retrieval.ranking import retrieval
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.files import writable_folder
from ssc_toolkit.paths import user_path

CHAIN = "chain"


@dataclass(frozen=True)
class Condition:
    """A corruption of the test tracks at one severity, or clean audio.

    Attributes:
        corruption: name of the corruption, or "clean".
        severity: severity of the corruption; 0 for clean audio.
        transform: the corruption at this severity; None for clean audio.
    """

    corruption: str = CLEAN
    severity: float = 0.0
    transform: Augmentation | None = None

    @property
    def name(self) -> str:
        """Name of the condition, as shown in the header of a table."""
        return CLEAN if self.transform is None else f"{self.corruption} {self.severity:g}"


def conditions_for(
    corruptions: Sequence[str], severities: Sequence[float], sample_rate: int, omit: Sequence[str] = ()
) -> list[Condition]:
    """Return the conditions of a comparison: clean audio, then every corruption at every severity above 0.

    Args:
        corruptions: "chain", or names that `ssc_toolkit.augmentations.corruption` accepts.
        severities: severities from 0 to 2.5.
        sample_rate: sample rate of the corruptions in hertz.
        omit: stages of the chain to omit.

    Raises:
        InputError: for an unknown corruption or stage, or a severity out of range.

    Examples:
        >>> [condition.name for condition in conditions_for(("reverb",), (0, 0.5, 1), 16000)]
        ['clean', 'reverb 0.5', 'reverb 1']
    """
    found = [Condition()]
    for name in dict.fromkeys(corruptions):
        if name not in (CHAIN, *CORRUPTIONS):
            raise InputError(f"corruptions: expected {CHAIN} or one of {', '.join(CORRUPTIONS)}, got {name!r}")
        for severity in sorted({float(severity) for severity in severities}):
            try:
                made = (
                    semisupcon_chain(sample_rate, severity, omit)
                    if name == CHAIN
                    else corruption(name, sample_rate, severity)
                )
            except ValueError as error:
                raise InputError(str(error)) from error
            if severity > 0:
                found.append(Condition(name, severity, made))
    return found


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison of several models.

    Attributes:
        tasks: the tasks.
        conditions: the conditions of the test tracks, clean audio first.
        scores: scores of the probes, by names of model, task and condition.
        retrieval: retrieval scores among the clean test tracks, by model and label column.
        embeddings: (tracks, dim) embeddings of all tracks on clean audio, by model.
    """

    tasks: tuple[Task, ...]
    conditions: tuple[Condition, ...]
    scores: Mapping[str, Mapping[str, Mapping[str, Score]]]
    retrieval: Mapping[str, Mapping[str, Score]]
    embeddings: Mapping[str, np.ndarray]

    @property
    def models(self) -> list[str]:
        return list(self.scores)

    def records(self, method: str, seed: int) -> list[Record]:
        """Return all scores as a tidy list.

        Args:
            method: method of the probes.
            seed: seed of the probes.
        """
        found = []
        for model, by_task in self.scores.items():
            for task, by_condition in by_task.items():
                for condition in self.conditions:
                    found += to_records(
                        by_condition[condition.name],
                        model=model,
                        task=task,
                        method=method,
                        corruption=condition.corruption,
                        severity=condition.severity,
                        seed=seed,
                    )
        for model, by_column in self.retrieval.items():
            for task, score in by_column.items():
                found += to_records(score, model=model, task=task, method="retrieval", seed=seed)
        return found


def compare_models(
    models: Mapping[str, WaveformModel],
    tracks: Tracks,
    tasks: Sequence[Task],
    conditions: Sequence[Condition],
    folder: str | Path,
    *,
    numbers: Collection[str] = (),
    window_seconds: float | None = None,
    method: str = "linear",
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Fit probes to several models on clean audio, and score the probes on clean and corrupted audio.

    All models receive the same corrupted audio. Each condition is drawn once, and audio is decoded and corrupted once
    for all models, at the highest of their sample rates. Embeddings and predictions are cached in the folder by
    content. An interrupted comparison therefore resumes, and a comparison with one more model or condition computes
    only what is missing.

    Args:
        models: models by name.
        tracks: table with `path`, `seconds`, `split` and label columns.
        tasks: the tasks.
        conditions: conditions of the test tracks, clean audio first, made for the highest sample rate of the models.
        folder: folder of the cache.
        numbers: label columns of real numbers, which are predicted by regression.
        window_seconds: length of a window in seconds for all models; by default the window length of each model.
        method: method of the probes, as for `fit_probe`.
        seed: seed of probes, corruptions and bootstrap.
        progress: print each step and show progress bars.

    Raises:
        InputError: as `embed_models` and `fit_probe`.
    """
    tracks = as_track_table(tracks)
    cache = writable_folder(user_path(folder), "folder")
    signals = {task.column: _signal(tracks, task.column, numbers) for task in tasks}
    is_test = (tracks["split"] == "test").to_numpy()
    test = tracks.select(is_test)
    rate = max(model.sample_rate for model in models.values())
    _say(progress, f"{len(models)} models, clean audio")
    clean = embed_models(models, tracks, window_seconds, cache=cache, progress=progress)
    probes = {name: CachedProbes(vectors, tracks, cache, signals, method, seed) for name, vectors in clean.items()}
    scores: dict[str, dict[str, dict[str, Score]]] = {name: {task.name: {} for task in tasks} for name in models}
    for number, condition in enumerate(conditions, start=1):
        heard = clean
        if condition.transform is not None:
            _say(progress, f"{len(models)} models, condition {number} of {len(conditions)}: {condition.name}")
            fixed = FixedCorruption.draw(condition.transform, rate, test, seed)
            embedded = embed_models(models, test, window_seconds, corruption=fixed, cache=cache, progress=progress)
            heard = {name: _at(is_test, vectors) for name, vectors in embedded.items()}
        for name, own in probes.items():
            for task in tasks:
                scores[name][task.name][condition.name] = measure([own.predict(heard[name], task)], seed)
    ranked = {name: _retrieval(vectors, tracks, signals, seed) for name, vectors in clean.items()}
    return Comparison(tuple(tasks), tuple(conditions), scores, ranked, clean)


def paired_difference(first: Score, second: Score, seed: int = 0) -> Interval:
    """Compute the difference of two headline metrics, first minus second, with the interval of a paired bootstrap.

    Both metrics are computed on the same resampled groups of tracks.

    Args:
        first: score of one model on a task, with one seed.
        second: score of another model on the same task, with one seed.
        seed: seed of the bootstrap.

    Raises:
        ValueError: if the two scores have different tracks or metrics.
    """
    (one,), (other,) = first.predictions, second.predictions
    if first.metric != second.metric or not np.array_equal(one.rows, other.rows):
        raise ValueError("first, second: expected scores of the same tracks and metric")
    metric = metrics_of(one.kind, one.names)[first.metric]
    weights = drawn_weights(one.groups, seed)
    resampled = metric.resampled(one.outputs, one.truth, weights) - metric.resampled(
        other.outputs, other.truth, weights
    )
    return interval_over_runs(np.array([first.headline.value - second.headline.value]), resampled[:, None], seed)


def _signal(tracks: TrackTable, column: str, numbers: Collection[str]) -> Labels:
    return label_signal(tracks, column, "number" if column in numbers else None)


def _retrieval(vectors: np.ndarray, tracks: TrackTable, signals: Mapping[str, Labels], seed: int) -> dict[str, Score]:
    """Return retrieval scores among the test tracks by label column, without columns of numbers."""
    test = np.flatnonzero(tracks["split"] == "test")
    rows, groups = torch.from_numpy(test), groups_of(tracks)[test]
    return {
        column: retrieval(vectors[test], labels[rows], groups=groups, seed=seed)
        for column, labels in signals.items()
        if labels.kind != "number"
    }


def _at(where: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Return an array with one row per track: the vectors where `where` is True, NaN elsewhere."""
    everywhere = np.full((len(where), vectors.shape[1]), np.nan, dtype=np.float32)
    everywhere[where] = vectors
    return everywhere


def _say(progress: bool, text: str) -> None:
    if progress:
        print(text, flush=True)
