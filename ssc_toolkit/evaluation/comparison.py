"""Several models side by side: the sections of a report.

Scores are records by model, task and severity ("0" is clean audio), as `record` makes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.evaluation import plots
from ssc_toolkit.evaluation.bootstrap import Interval, bootstrap_mean
from ssc_toolkit.evaluation.explorer import explorer_content
from ssc_toolkit.evaluation.probing import Score
from ssc_toolkit.evaluation.report import Section

Scores = Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]
CLEAN = "0"


def record(score: Score) -> dict[str, Any]:
    """A single-label score as JSON can hold it, track by track."""
    if score.correct is None or score.rows is None:
        raise ValueError("score: expected that of a single-label task, which says which tracks are correct")
    return {**score.to_json(), "correct": score.correct.astype(int).tolist(), "rows": score.rows.tolist()}


def headline(entry: Mapping[str, Any]) -> Interval:
    """The headline metric of a record."""
    return Interval(**entry["headline"])


def probe_section(scores: Scores) -> Section:
    """Clean test scores: a row a model, a column a task."""
    tasks = list(next(iter(scores.values())))
    rows = [[model, *(str(headline(own[task][CLEAN])) for task in tasks)] for model, own in scores.items()]
    dots = {task: {model: headline(own[task][CLEAN]) for model, own in scores.items()} for task in tasks}
    tracks = ", ".join(f"{task} {next(iter(scores.values()))[task][CLEAN]['tracks']}" for task in tasks)
    return Section(
        "Linear probes on clean audio",
        [
            "Accuracy on the test split, with 95 % intervals from resampling the test tunes. The encoders are frozen; "
            f"regularisation is chosen on the validation split. Test clips: {tracks}."
        ],
        ["model", *tasks],
        rows,
        {
            "Accuracy with 95 % intervals.": plots.score_dots(
                dots, dict.fromkeys(tasks, "accuracy"), plots.model_colors(scores)
            )
        },
    )


def severity_section(scores: Scores, tasks: Sequence[str]) -> Section:
    """Test scores under corruption: a row a model and task, a column a severity."""
    severities = list(next(iter(scores.values()))[tasks[0]])
    rows = [
        [task, model, *(str(headline(own[task][severity])) for severity in severities)]
        for task in tasks
        for model, own in scores.items()
    ]
    curves = {
        task: {model: {float(s): headline(own[task][s]) for s in severities} for model, own in scores.items()}
        for task in tasks
    }
    return Section(
        "The same probes on corrupted audio",
        [
            "The probes are fitted on clean audio; the test clips then go through the augmentation chain at growing "
            "severity, every model hearing the same corrupted clips. Severity 1 is the chain of the training."
        ],
        ["task", "model", *(f"severity {severity}" for severity in severities)],
        rows,
        {
            "Accuracy over severity, with 95 % bands.": plots.severity_curves(
                curves, "accuracy", plots.model_colors(scores)
            )
        },
    )


def difference_section(
    scores: Scores, pairs: Sequence[tuple[str, str]], tasks: Sequence[str], groups: np.ndarray, seed: int = 0
) -> Section:
    """Paired differences of accuracy between models on the same test tracks.

    Args:
        scores: records by model, task and severity.
        pairs: (model, compared with).
        tasks: which tasks.
        groups: (tracks,) group of each track of the table.
        seed: of the bootstrap.
    """
    severities = list(next(iter(scores.values()))[tasks[0]])
    rows = []
    for task in tasks:
        for model, other in pairs:
            cells = [
                _difference(scores[model][task][severity], scores[other][task][severity], groups, seed)
                for severity in severities
            ]
            rows.append([task, f"{model} \N{MINUS SIGN} {other}", *cells])
    return Section(
        "Paired differences",
        [
            "Difference of accuracy on the same test clips, with 95 % intervals from resampling the test tunes. "
            "An interval that holds 0 leaves the question open."
        ],
        ["task", "models", *(f"severity {severity}" for severity in severities)],
        rows,
    )


def _difference(first: Mapping[str, Any], second: Mapping[str, Any], groups: np.ndarray, seed: int) -> str:
    """Paired difference on the tracks that both records hold."""
    common, in_first, in_second = np.intersect1d(first["rows"], second["rows"], return_indices=True)
    difference = np.asarray(first["correct"])[in_first] - np.asarray(second["correct"])[in_second]
    interval = bootstrap_mean(difference.astype(float), groups[common], seed)
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def similarity_section(weights: np.ndarray, embeddings: Mapping[str, np.ndarray], text: str) -> Section:
    """Target weights of a batch beside the cosine similarities of its centred embeddings under each model.

    Args:
        weights: (N, N) target weights.
        embeddings: (N, dim) by model.
        text: what the rows are.
    """
    blocks = {"target weights": weights}
    for model, vectors in embeddings.items():
        centred = vectors - vectors.mean(axis=0)
        unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
        blocks[model] = unit @ unit.T
    caption = "Target weights, and cosine similarities of the representations after centring."
    return Section("What the loss asks for, and what it got", [text], figures={caption: plots.matrices(blocks)})


def explorer_section(
    embeddings: Mapping[str, np.ndarray],
    tracks: pd.DataFrame,
    columns: Sequence[str],
    clips: int = 200,
    seed: int = 0,
) -> Section:
    """The test clips on an interactive map.

    Args:
        embeddings: (tracks, dim) by model, the one to show first at the beginning.
        tracks: table of all tracks; those of the test split are shown.
        columns: label columns to colour by.
        clips: how many of them can be heard.
        seed: of t-SNE and of what is drawn.
    """
    is_test = (tracks["split"] == "test").to_numpy()
    test = tracks[is_test].reset_index(drop=True)
    content = explorer_content(
        {model: vectors[is_test] for model, vectors in embeddings.items()}, test, columns, clips=clips, seed=seed
    )
    shown, heard = len(content["titles"]), sum(clip is not None for clip in content["clips"])
    text = (
        f"Each point is one of {shown} test clips. The {heard} that are filled can be heard here, three seconds each. "
        "Choose a point, and it plays and its nearest neighbours (largest cosine similarity of the embeddings) are "
        "marked; below the map they are listed under every model, and each of them plays too."
    )
    return Section("Map of the test clips", [text], explorer=content)


def learning_section(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], measures: Mapping[str, str], models: Sequence[str]
) -> Section:
    """Training curves; the losses of different supervision are not on one scale.

    Args:
        histories: a row a step, by model.
        measures: column of the rows to axis label.
        models: all models of the report, for their colours.
    """
    text = (
        "The losses have different positives, so compare their course and not their level. Nearest-neighbour "
        "agreement is measured on clean validation clips."
    )
    curves = plots.learning_curves(histories, measures, plots.model_colors(models))
    return Section("Training", [text], figures={"Over the steps of training.": curves})
