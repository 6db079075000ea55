"""Comparison of several models on several tasks, on clean and corrupted audio."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data import Labels
from ssc_toolkit.data.track_table import Tracks, TrackTable, as_track_table
from ssc_toolkit.evaluation.conditions import SEVERITIES, Condition, fixed_conditions, split_under_test
from ssc_toolkit.evaluation.embedding.extract import embed_models, embed_tracks, expand_rows
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import WaveformModel
from ssc_toolkit.evaluation.metrics.scores import Score, measure
from ssc_toolkit.evaluation.probing.cache import CachedProbes, ProbeSettings
from ssc_toolkit.evaluation.probing.probe import Probe, find_groups, label_signal
from ssc_toolkit.evaluation.results import Results, make_score_row
from ssc_toolkit.evaluation.retrieval.ranking import retrieval
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.files import make_writable_folder
from ssc_toolkit.paths import user_path

RETRIEVAL = "retrieval"
_SEEDED = ("mlp",)
"""Methods whose result depends on the seed."""

Models = Mapping[str, WaveformModel | Sequence[WaveformModel]]
"""Models by name; a list holds one model for each seed."""


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison of several models.

    Attributes:
        results: all scores.
        embeddings: (tracks, dim) embeddings of all tracks on clean audio, by model; those of the first seed.
    """

    results: Results
    embeddings: Mapping[str, np.ndarray]


def compare_models(
    models: Models,
    tracks: Tracks,
    tasks: Sequence[Task],
    conditions: Sequence[Condition] = (Condition(),),
    cache: str | Path | None = None,
    *,
    numbers: Collection[str] = (),
    labels: Mapping[str, Labels] | None = None,
    window_seconds: float | None = None,
    methods: Sequence[str] = ("linear",),
    label_fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    bootstrap_seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Fit probes to several models on clean audio, and score the probes on clean and corrupted audio.

    All models receive the same corrupted audio. Each condition is drawn once, and audio is decoded and corrupted once
    for all models, at the highest of their sample rates. With a cache, embeddings and predictions are stored by
    content. An interrupted comparison therefore resumes, and a comparison with one more model or condition computes
    only what is missing.

    Args:
        models: models by name. A list holds one model for each seed, such as random encoders.
        tracks: track table, data frame or path, with `path`, `seconds`, `split` and label columns.
        tasks: the tasks.
        conditions: conditions of the test tracks, clean audio first, made for the highest sample rate of the models.
        cache: folder of the cache.
        numbers: label columns of real numbers, which are predicted by regression.
        labels: labels of all tracks by column, if they are already encoded.
        window_seconds: length of a window in seconds for all models; by default the window length of each model.
        methods: methods of the probes, as for `fit_probe`; "retrieval" ranks the clean test tracks by each label column
            of classes, without a probe.
        label_fractions: fractions of the labeled training tracks that probes are fitted to.
        seeds: seeds of the probes; a score is the mean over the seeds. The first one is the seed of the corruptions. A
            result that does not depend on the seed is computed once.
        bootstrap_seed: seed of the bootstrap.
        progress: print each step and show progress bars.

    Raises:
        InputError: as `embed_models` and `fit_probe`.
    """
    tracks = as_track_table(tracks)
    folder = None if cache is None else make_writable_folder(user_path(cache), "cache")
    signals = labels or {
        task.column: label_signal(tracks, task.column, "number" if task.column in numbers else None) for task in tasks
    }
    listed = {name: [own] if callable(own) else list(own) for name, own in models.items()}
    rate = max(model.sample_rate for own in listed.values() for model in own)
    conditions = fixed_conditions(conditions, rate, tracks, seeds[0])
    is_test, test = (tracks["split"] == "test").to_numpy(), split_under_test(tracks)
    grid = _Grid(tasks, methods, label_fractions, seeds, bootstrap_seed)
    embed = partial(_embed_all, listed, window_seconds=window_seconds, cache=folder, progress=progress)
    _say(progress, f"{len(models)} models, clean audio")
    clean = embed(tracks)
    probes = {name: [CachedProbes(own, tracks, signals, folder) for own in clean[name]] for name in listed}
    rows: list[dict[str, Any]] = []
    for number, condition in enumerate(conditions, start=1):
        inputs = clean
        if condition.transform is not None:
            _say(progress, f"{len(models)} models, condition {number} of {len(conditions)}: {condition.name}")
            embedded = embed(test, corruption=condition.transform)
            inputs = {name: [expand_rows(vectors, is_test) for vectors in own] for name, own in embedded.items()}
        for name, own in probes.items():
            rows += grid.scores(name, condition, own, inputs[name])
    first = {name: own[0] for name, own in clean.items()}
    if RETRIEVAL in methods:
        rows += _rank_all(first, tracks, signals, grid)
    return Comparison(Results.of(rows), first)


def robustness(
    model: WaveformModel,
    probes: Mapping[str, Probe | Sequence[Probe]],
    tasks: Sequence[Task],
    tracks: Tracks,
    window_seconds: float | None,
    corruption: Callable[[float], Augmentation | FixedCorruption],
    severities: Sequence[float] = SEVERITIES,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, dict[float, Score]]:
    """Score probes, fitted on clean audio, on test tracks at several severities of a corruption.

    Every model receives the same corrupted audio. The draw for a track depends only on the seed, the severity and the
    row of the track; a `FixedCorruption` uses its stored draws. `compare_models` also fits the probes, and corrupts the
    audio once for several models.

    Args:
        model: an encoder.
        probes: probes fitted on clean embeddings of the model, by label column or any other key. Several probes for one
            key are those of several seeds.
        tasks: tasks to score.
        tracks: the table that the probes were fitted on.
        window_seconds: length of a window in seconds, as in `embed_tracks`.
        corruption: function that returns the transform of a severity above 0, such as
            `lambda severity: semisupcon_chain(16000, severity, omit=("pitch_shift",))`.
        severities: severities to score; 0 is clean audio.
        seed: seed of the corruption.
        cache: folder of the embedding cache, as in `embed_tracks`.
        progress: show progress bars.

    Returns:
        Scores by task name and severity.

    Examples:
        >>> import tempfile, soundfile
        >>> import pandas as pd
        >>> from ssc_toolkit.augmentations import Gain
        >>> from ssc_toolkit.evaluation import as_model, fit_probe
        >>> folder, labels = Path(tempfile.mkdtemp()), ["loud", "soft"] * 6
        >>> for row, label in enumerate(labels):
        ...     soundfile.write(folder / f"{row}.wav", np.full(8000, 0.8 if label == "loud" else 0.4), 8000)
        >>> tracks = pd.DataFrame({"path": [str(folder / f"{row}.wav") for row in range(12)], "level": labels,
        ...                        "seconds": 1.0, "split": ["train"] * 6 + ["valid"] * 2 + ["test"] * 4})
        >>> model = as_model(lambda waveforms: waveforms.mean(dim=1, keepdim=True), 8000)
        >>> probes = {"level": fit_probe(embed_tracks(model, tracks, 1.0, progress=False), tracks, "level")}
        >>> scores = robustness(model, probes, [Task("level", "level")], tracks, 1.0, lambda severity: Gain(-20.0),
        ...                     severities=(0, 1), progress=False)
        >>> {severity: score.headline.value for severity, score in scores["level"].items()}
        {0: 1.0, 1: 0.5}
    """
    tracks = as_track_table(tracks)
    is_test, test = (tracks["split"] == "test").to_numpy(), split_under_test(tracks)
    scores: dict[str, dict[float, Score]] = {task.name: {} for task in tasks}
    for severity in severities:
        transform = corruption(severity) if severity > 0 else None
        vectors = embed_tracks(
            model, test, window_seconds, corruption=transform, seed=seed, cache=cache, progress=progress
        )
        inputs = expand_rows(vectors, is_test)
        for task in tasks:
            own = probes[task.column]
            fitted = [own] if isinstance(own, Probe) else own
            scores[task.name][severity] = measure([probe.predict(inputs, tracks, task.subset) for probe in fitted])
    return scores


def _embed_all(
    models: Mapping[str, Sequence[WaveformModel]], tracks: TrackTable, window_seconds: float | None, **options: Any
) -> dict[str, list[np.ndarray]]:
    """Compute the embeddings of all models in one pass, as a list for each name and in the order of its models."""
    flat = {f"{name} {number}": model for name, own in models.items() for number, model in enumerate(own)}
    found = embed_models(flat, tracks, window_seconds, **options)
    return {name: [found[f"{name} {number}"] for number in range(len(own))] for name, own in models.items()}


@dataclass(frozen=True)
class _Grid:
    """Tasks and probe settings for which each model is scored, as `compare_models` describes them."""

    tasks: Sequence[Task]
    methods: Sequence[str]
    label_fractions: Sequence[float]
    seeds: Sequence[int]
    bootstrap_seed: int

    def scores(
        self, model: str, condition: Condition, probes: Sequence[CachedProbes], inputs: Sequence[np.ndarray]
    ) -> Iterator[dict[str, Any]]:
        """Yield the scores of a model under a condition, for `Results.of`.

        Args:
            model: name of the model.
            condition: the condition.
            probes: probes of the model, with one element, or one for each seed.
            inputs: embeddings to predict for, one element for each of `probes`.
        """
        probed = [method for method in self.methods if method != RETRIEVAL]
        for task, method, fraction in itertools.product(self.tasks, probed, self.label_fractions):
            varies = len(probes) > 1 or method in _SEEDED or fraction < 1
            predictions = [
                probes[number % len(probes)].predict(
                    inputs[number % len(probes)], task, ProbeSettings(task.column, method, fraction, seed)
                )
                for number, seed in enumerate(self.seeds if varies else self.seeds[:1])
            ]
            yield make_score_row(
                measure(predictions, self.bootstrap_seed),
                model=model,
                task=task.name,
                method=method,
                label_fraction=fraction,
                corruption=condition.corruption,
                severity=condition.severity,
                seed=self.seeds[0],
            )


def _rank_all(
    embeddings: Mapping[str, np.ndarray], tracks: TrackTable, signals: Mapping[str, Labels], grid: _Grid
) -> Iterator[dict[str, Any]]:
    """Yield retrieval scores among the test tracks by model and label column, without columns of numbers."""
    test = np.flatnonzero(tracks["split"] == "test")
    rows, groups = torch.from_numpy(test), find_groups(tracks)[test]
    for name, vectors in embeddings.items():
        for column, labels in signals.items():
            if labels.kind != "number":
                score = retrieval(vectors[test], labels[rows], groups=groups, seed=grid.bootstrap_seed)
                yield make_score_row(score, model=name, task=column, method=RETRIEVAL, seed=grid.seeds[0])


def _say(progress: bool, text: str) -> None:
    if progress:
        print(text, flush=True)
