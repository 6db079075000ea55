"""Several models on several tasks, clean and corrupted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ssc_toolkit.augmentations import Augmentation, corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS
from ssc_toolkit.data import Labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.bootstrap import Interval, drawn_weights, interval_over_runs
from ssc_toolkit.evaluation.cached_probes import CachedProbes
from ssc_toolkit.evaluation.corrupted import Task
from ssc_toolkit.evaluation.draws import FixedCorruption
from ssc_toolkit.evaluation.embed import embed_models
from ssc_toolkit.evaluation.metrics import metrics_of
from ssc_toolkit.evaluation.models import WaveformModel
from ssc_toolkit.evaluation.probing import groups_of, label_signal
from ssc_toolkit.evaluation.ranking import retrieval
from ssc_toolkit.evaluation.records import CLEAN, Record, to_records
from ssc_toolkit.evaluation.scores import Score, measure
from ssc_toolkit.files import writable_folder
from ssc_toolkit.paths import user_path

CHAIN = "chain"


@dataclass(frozen=True)
class Condition:
    """What the test tracks go through.

    Attributes:
        corruption: its name, or "clean".
        severity: 0 if clean.
        transform: the corruption at this severity; None if clean.
    """

    corruption: str = CLEAN
    severity: float = 0.0
    transform: Augmentation | None = None

    @property
    def name(self) -> str:
        """As a column of a table is headed."""
        return CLEAN if self.transform is None else f"{self.corruption} {self.severity:g}"


def conditions_for(
    corruptions: Sequence[str], severities: Sequence[float], sample_rate: int, omit: Sequence[str] = ()
) -> list[Condition]:
    """Clean audio, then every corruption at every severity above 0.

    Args:
        corruptions: "chain" or names that `corruption` knows.
        severities: 0 to 2.5.
        sample_rate: hertz at which to corrupt.
        omit: stages to leave out of the chain.

    Raises:
        InputError: for an unknown name, a severity out of range, or a stage that there is not.

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
    """What several models do.

    Attributes:
        tasks: what was asked.
        conditions: what the test tracks went through, clean audio first.
        scores: of probes by model, task and condition, by their names.
        retrieval: of clean test tracks among each other by model and label column.
        embeddings: (tracks, dim) of all tracks of the table, clean, by model.
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
        """All scores as a tidy list.

        Args:
            method: of the probes.
            seed: of the probes.
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
    tracks: pd.DataFrame,
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
    """Probe several models on clean audio, and score the probes on corrupted audio.

    All models hear the same: a condition is drawn once, and audio is decoded and corrupted once for all of them, at
    the highest of their rates. Embeddings and predictions are kept in the folder, to be found again by content: a
    comparison that is interrupted goes on where it was, and one with a further model or condition computes just that.

    Args:
        models: by name.
        tracks: table with `path`, `seconds`, `split` and label columns.
        tasks: what to ask.
        conditions: what test tracks go through, clean audio first, made for the highest rate of the models.
        folder: for what is kept.
        numbers: columns that hold real numbers, to be predicted by regression.
        window_seconds: of all models; by default what each is made for.
        method: of the probes, as for `fit_probe`.
        seed: of probes, corruptions and bootstrap.
        progress: say what is going on, and show progress bars.

    Raises:
        InputError: as `embed_models` and `fit_probe`.
    """
    cache = writable_folder(user_path(folder), "folder")
    signals = {task.column: _signal(tracks, task.column, numbers) for task in tasks}
    is_test = (tracks["split"] == "test").to_numpy()
    test = tracks[is_test].reset_index(drop=True)
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
    """Headline metric of one score less that of another, with the interval of a paired bootstrap.

    Both metrics are of the same drawn groups of tracks.

    Args:
        first: score of a task under a model, one seed.
        second: score of the same task under another, one seed.
        seed: of the bootstrap.

    Raises:
        ValueError: if the two are not of the same tracks and metric.
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


def _signal(tracks: pd.DataFrame, column: str, numbers: Collection[str]) -> Labels:
    return label_signal(tracks, column, "number" if column in numbers else None)


def _retrieval(vectors: np.ndarray, tracks: pd.DataFrame, signals: Mapping[str, Labels], seed: int) -> dict[str, Score]:
    """Scores of test tracks as queries and database, by label column; numbers have no classes to be found by."""
    test = np.flatnonzero(tracks["split"] == "test")
    rows, groups = torch.from_numpy(test), groups_of(tracks)[test]
    return {
        column: retrieval(vectors[test], labels[rows], groups=groups, seed=seed)
        for column, labels in signals.items()
        if labels.kind != "number"
    }


def _at(where: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Rows put at their places in a table of NaN."""
    everywhere = np.full((len(where), vectors.shape[1]), np.nan, dtype=np.float32)
    everywhere[where] = vectors
    return everywhere


def _say(progress: bool, text: str) -> None:
    if progress:
        print(text, flush=True)
