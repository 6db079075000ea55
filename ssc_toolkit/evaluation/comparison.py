"""Comparison of several models on several tasks, on clean and corrupted audio."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data import Labels
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.encoders import Encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.conditions import Condition, fixed_conditions, split_under_test
from ssc_toolkit.evaluation.embedding.extract import embed_models, embed_tracks, expand_rows
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import WaveformModel
from ssc_toolkit.evaluation.embedding.readout import choose_readout, layer_widths
from ssc_toolkit.evaluation.metrics.scores import Score, measure
from ssc_toolkit.evaluation.probing.cache import CachedProbes, ProbeSettings
from ssc_toolkit.evaluation.probing.folds import CrossValidation, mark_cross_validated
from ssc_toolkit.evaluation.probing.heads import WEIGHTED
from ssc_toolkit.evaluation.probing.probe import Probe, choose_cross_validation, find_groups, label_signal
from ssc_toolkit.evaluation.results import Results, list_cautions, make_score_row
from ssc_toolkit.evaluation.retrieval.ranking import retrieval
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.files import make_writable_folder
from ssc_toolkit.options.names import SEVERITIES
from ssc_toolkit.paths import user_path

logger = logging.getLogger(__name__)

RETRIEVAL = "retrieval"
_SEEDED = ("mlp", WEIGHTED)
"""Methods of probes whose result depends on the seed even if they are fitted to all labels."""

Models = Mapping[str, WaveformModel | Sequence[WaveformModel]]
"""Type of models by name. A value can be a list with one model for each seed of a comparison."""


@dataclass(frozen=True)
class Comparison:
    """Results of a comparison of several models.

    Attributes:
        results: scores of all models on all tasks.
        embeddings: (tracks, dim) embeddings of the clean audio of all tracks, by model name. For a list of models,
            these are the embeddings of the first one.
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
    frame_pooling: str = "default",
    layers: str | Sequence[str] | None = None,
    methods: Sequence[str] = ("linear",),
    label_fractions: Sequence[float] = (1.0,),
    seeds: Sequence[int] = (0,),
    bootstrap_seed: int = 0,
    folds: int | Literal["groups"] | None = None,
    group_by: str | None = None,
    splits: Sequence[str] = (),
    progress: bool = True,
) -> Comparison:
    """Evaluate several models by probes and retrieval, on clean and corrupted audio.

    A probe is a classifier or regressor on frozen embeddings. Probes are fitted on the clean audio of the training
    tracks, and scored on the test tracks under each condition. All models receive the same corrupted audio, which
    is computed once at the highest sample rate of the models. If `cache` is given, embeddings and predictions are
    stored. A repeated call after an interruption, or with more models or conditions, computes only those that are
    missing.

    With `folds`, the probes are cross-validated: each track is a test track once, and is predicted by a probe that was
    not fitted to its group. All models have the same folds, and embeddings are computed once for all folds. A warning
    is logged for tasks whose tracks have fewer than ten groups.

    Args:
        models: models by name. A list contains one model for each seed, such as encoders with random weights.
        tracks: track table, data frame or path of a table, with the columns `path`, `seconds` and `split` and the
            label columns.
        tasks: prediction tasks. Each task has one label column.
        conditions: conditions of the test tracks, as `conditions_for` returns them for the highest sample rate of the
            models. By default only clean audio.
        cache: folder of the cache. None stores nothing.
        numbers: names of the label columns that hold real numbers, which are predicted by regression.
        labels: encoded labels of all tracks, by label column. None encodes the columns of the table.
        window_seconds: length of a window in seconds for all models. By default each model has its own window length.
        frame_pooling: pooling of the frames of all models, as for `embed_models`.
        layers: layers of all models, as for `embed_models`.
        methods: methods of the probes, as for `fit_probe`. "retrieval" fits no probe. It ranks the clean test tracks by
            similarity to each of them, and computes retrieval metrics for each label column of classes.
        label_fractions: fractions of the labeled training tracks to fit the probes to, each in (0, 1].
        seeds: seeds of the probes. A score is the mean over the seeds. A result that does not depend on the seed is
            computed once. The first seed is also the seed of the corruptions.
        bootstrap_seed: seed of the bootstrap.
        folds: as for `probe`. Each of the `seeds` has its own folds.
        group_by: as for `probe`.
        splits: as for `probe`.
        progress: whether to print each step and show progress bars.

    Returns:
        The scores, and the embeddings of the clean audio.

    Raises:
        InputError: if a list of models has neither one model nor one for each seed, or in the same cases as
            `embed_models`, `fit_probe` and, with `folds`, `probe`.
    """
    listed = {name: [own] if callable(own) else list(own) for name, own in models.items()}
    for name, listed_models in listed.items():
        if len(listed_models) not in (1, len(seeds)):
            raise InputError(
                f"models: expected one model or one for each of the {len(seeds)} seeds as {name!r}, "
                f"got {len(listed_models)}"
            )
    tracks = as_track_table(tracks)
    plan = choose_cross_validation(folds, group_by, splits)
    if plan is not None:
        tracks = mark_cross_validated(tracks, splits)
    folder = None if cache is None else make_writable_folder(user_path(cache), "cache")
    signals = labels or {
        task.column: label_signal(tracks, task.column, "number" if task.column in numbers else None) for task in tasks
    }
    if plan is not None:
        for column, signal in signals.items():
            plan.check(tracks, signal, column, seeds, label_fractions)
    rate = max(model.sample_rate for own in listed.values() for model in own)
    conditions = fixed_conditions(conditions, rate, tracks, seeds[0])
    is_test, test = (tracks["split"] == "test").to_numpy(), split_under_test(tracks)
    grid = _Grid(tasks, methods, label_fractions, seeds, bootstrap_seed, plan)
    readout: dict[str, Any] = {"frame_pooling": frame_pooling, "layers": layers}
    options: dict[str, Any] = {"window_seconds": window_seconds, "cache": folder, "progress": progress, **readout}
    _say(progress, f"{len(models)} models, clean audio")
    clean = _embed_all(listed, tracks, **options)
    widths = {name: _layer_widths(own[0], readout) if WEIGHTED in methods else None for name, own in listed.items()}
    probes = {
        name: [CachedProbes(own, tracks, signals, folder, widths[name], plan, progress=progress) for own in clean[name]]
        for name in listed
    }
    rows: list[dict[str, Any]] = []
    for number, condition in enumerate(conditions, start=1):
        inputs = clean
        if condition.transform is not None:
            _say(progress, f"{len(models)} models, condition {number} of {len(conditions)}: {condition.name}")
            embedded = _embed_all(listed, test, corruption=condition.transform, **options)
            inputs = {name: [expand_rows(vectors, is_test) for vectors in own] for name, own in embedded.items()}
        for name, own in probes.items():
            rows += grid.scores(name, condition, own, inputs[name])
    first = {name: own[0] for name, own in clean.items()}
    if RETRIEVAL in methods:
        rows += _rank_all(first, tracks, signals, grid)
    results = Results.of(rows)
    for caution in list_cautions(results.frame):
        logger.warning("%s", caution)
    return Comparison(results, first)


def robustness(
    model: WaveformModel,
    probes: Mapping[str, Probe | Sequence[Probe]],
    tasks: Sequence[Task],
    tracks: Tracks,
    window_seconds: float | None,
    corruption: Callable[[float], Augmentation | FixedCorruption],
    severities: Sequence[float] = SEVERITIES,
    *,
    frame_pooling: str = "default",
    layers: str | Sequence[str] | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, dict[float, Score]]:
    """Score fitted probes of one model on test tracks that are corrupted at several severities.

    The random values of an `Augmentation` for a track depend only on the seed, the severity and the row of the track.
    Calls with different models therefore use the same corrupted audio. A `FixedCorruption` uses its stored random
    values. To evaluate several models, use `compare_models`, which also fits the probes.

    Args:
        model: an encoder, or another model as for `embed_tracks`.
        probes: probes fitted on clean embeddings of the model. The keys are the columns of the tasks. A sequence
            contains one probe for each seed.
        tasks: tasks to score.
        tracks: the table that the probes were fitted on.
        window_seconds: length of a window in seconds, as for `embed_tracks`.
        corruption: function that takes a severity above 0 and returns a transform, such as
            `lambda severity: semisupcon_chain(16000, severity, omit=("pitch_shift",))`.
        frame_pooling: as for `embed_tracks`.
        layers: as for `embed_tracks`.
        severities: severities to score. Severity 0 is clean audio.
        seed: seed of the corruption.
        cache: folder of the embedding cache, as for `embed_tracks`.
        progress: whether to show progress bars.

    Returns:
        A dictionary from task name to a dictionary from severity to score.

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
            model, test, window_seconds, frame_pooling=frame_pooling, layers=layers, corruption=transform, seed=seed,
            cache=cache, progress=progress,
        )  # fmt: skip
        inputs = expand_rows(vectors, is_test)
        for task in tasks:
            own = probes[task.column]
            fitted = [own] if isinstance(own, Probe) else own
            scores[task.name][severity] = measure([probe.predict(inputs, tracks, task.subset) for probe in fitted])
    return scores


def _embed_all(
    models: Mapping[str, Sequence[WaveformModel]], tracks: TrackTable, window_seconds: float | None, **options: Any
) -> dict[str, list[np.ndarray]]:
    """Compute the embeddings of the tracks by all models, decoding the audio only once.

    Args:
        models: sequence of models for each name.
        tracks: track table.
        window_seconds: as for `embed_models`.
        options: other arguments of `embed_models`.

    Returns:
        For each name, a list of embeddings (tracks, dim) in the order of its models.
    """
    flat = {f"{name} {number}": model for name, own in models.items() for number, model in enumerate(own)}
    found = embed_models(flat, tracks, window_seconds, **options)
    return {name: [found[f"{name} {number}"] for number in range(len(own))] for name, own in models.items()}


@dataclass(frozen=True)
class _Grid:
    """Tasks and settings of probes with which each model is scored. Most fields are arguments of `compare_models`."""

    tasks: Sequence[Task]
    methods: Sequence[str]
    label_fractions: Sequence[float]
    seeds: Sequence[int]
    bootstrap_seed: int
    plan: CrossValidation | None

    def scores(
        self, model: str, condition: Condition, probes: Sequence[CachedProbes], inputs: Sequence[np.ndarray]
    ) -> Iterator[dict[str, Any]]:
        """Yield the scores of a model under a condition, as rows from `make_score_row`.

        Args:
            model: name of the model.
            condition: clean audio, or a corruption of the test tracks.
            probes: probes of the model. The list has one element, or one for each seed.
            inputs: (tracks, dim) embeddings under the condition, one array for each element of `probes`.
        """
        probed = [method for method in self.methods if method != RETRIEVAL]
        for task, method, fraction in itertools.product(self.tasks, probed, self.label_fractions):
            varies = self.plan is not None or len(probes) > 1 or method in _SEEDED or fraction < 1
            predictions = [
                probes[number % len(probes)].predict(  # one for all seeds, or one for each
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
    """Yield the retrieval scores of each model for each label column of classes, as rows from `make_score_row`.

    Args:
        embeddings: (tracks, dim) embeddings of the clean audio, by model name.
        tracks: track table.
        signals: encoded labels by label column.
        grid: tasks and settings of the comparison.
    """
    test = np.flatnonzero(tracks["split"] == "test")
    group_by = None if grid.plan is None else grid.plan.group_by
    rows, groups = torch.from_numpy(test), find_groups(tracks, group_by or "group")[test]
    for name, vectors in embeddings.items():
        for column, labels in signals.items():
            if labels.kind != "number":
                score = retrieval(vectors[test], labels[rows], groups=groups, seed=grid.bootstrap_seed)
                yield make_score_row(score, model=name, task=column, method=RETRIEVAL, seed=grid.seeds[0])


def _layer_widths(model: WaveformModel, readout: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the widths of the layers of a model. None if it gives no frames, so that it has a single layer."""
    return None if choose_readout(model, **readout) is None else layer_widths(cast(Encoder, model), **readout)


def _say(progress: bool, text: str) -> None:
    if progress:
        print(text, flush=True)
