"""Sections of a report that compares models."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.evaluation.comparison import Comparison, paired_difference
from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.metrics.records import CLEAN
from ssc_toolkit.evaluation.metrics.scores import Score, relative_drop
from ssc_toolkit.reports import plots
from ssc_toolkit.reports.embedding_map import explorer_content
from ssc_toolkit.reports.page import Section

INTERVALS = "95 % intervals from resampling the groups of test tracks"


def overview_section(comparison: Comparison, method: str = "linear") -> Section:
    """Return the section of headline scores on clean audio, with a row for each model and a column for each task.

    Args:
        comparison: comparison of the models.
        method: method of the probes, shown in the heading.
    """
    tasks = [task.name for task in comparison.tasks]
    clean = {task: {model: comparison.scores[model][task][CLEAN] for model in comparison.models} for task in tasks}
    metrics = {task: next(iter(by_model.values())).metric for task, by_model in clean.items()}
    rows = [[model, *(cell(clean[task][model].headline) for task in tasks)] for model in comparison.models]
    dots = {task: {model: score.headline for model, score in own.items()} for task, own in clean.items()}
    text = (
        f"Scores on the test set, with {INTERVALS}. The models are frozen. The settings of each probe are selected on "
        "the validation set."
    )
    return Section(
        f"Probes on clean audio ({method})",
        [text],
        ["model", *(f"{task} ({metrics[task]})" for task in tasks)],
        rows,
        {"Test scores with 95 % intervals.": plots.score_dots(dots, metrics, plots.model_colors(comparison.models))},
    )


def task_section(comparison: Comparison, task: str) -> Section:
    """Return the section of all metrics of one task on clean audio, with a row for each model."""
    scores = {model: comparison.scores[model][task][CLEAN] for model in comparison.models}
    some = next(iter(scores.values()))
    others = list(some.others)
    rows = [
        [model, cell(score.headline), *(_other(score, metric) for metric in others)] for model, score in scores.items()
    ]
    text = f"{some.tracks} test tracks."
    if some.undefined_classes:
        text += f" Undefined {some.classes_or_columns}, omitted from the means: {some.undefined_classes}."
    return Section(f"Task: {task}", [text], ["model", some.metric, *(name.replace("_", " ") for name in others)], rows)


def robustness_section(comparison: Comparison, task: str) -> Section:
    """Return the section of one task on corrupted audio.

    It has a row for each corruption and model, and a column for each severity.
    """
    conditions = [condition for condition in comparison.conditions if condition.corruption != CLEAN]
    corruptions = list(dict.fromkeys(condition.corruption for condition in conditions))
    severities = sorted({condition.severity for condition in conditions})
    curves: dict[str, dict[str, dict[float, Interval]]] = {}
    rows = []
    for corruption in corruptions:
        for model in comparison.models:
            own = comparison.scores[model][task]
            at = {
                condition.severity: own[condition.name]
                for condition in conditions
                if condition.corruption == corruption
            }
            by_severity = {0.0: own[CLEAN], **at}
            curves.setdefault(corruption, {})[model] = {s: score.headline for s, score in by_severity.items()}
            rows.append([corruption, model, *(cell(by_severity[severity].headline) for severity in [0.0, *severities])])
    metric = comparison.scores[comparison.models[0]][task][CLEAN].metric
    text = (
        f"The probes are fitted on clean audio. The test tracks are corrupted in the same way for every model. "
        f"The table shows {metric}, with {INTERVALS}."
    )
    return Section(
        f"Robustness: {task}",
        [text],
        ["corruption", "model", *("clean" if s == 0 else f"severity {s:g}" for s in [0.0, *severities])],
        rows,
        {
            f"{metric.capitalize()} by severity, with 95 % intervals.": plots.severity_curves(
                curves, metric, plots.model_colors(comparison.models)
            )
        },
    )


def drop_section(comparison: Comparison, drops: Mapping[str, Mapping[str, Mapping[str, Interval]]]) -> Section:
    """Return the section of the fraction of the clean score that is lost under each corruption.

    Args:
        comparison: comparison of the models.
        drops: relative drops by task, model and condition, as `relative_drops` returns them.
    """
    names = [condition.name for condition in comparison.conditions if condition.name != CLEAN]
    rows = [
        [task, model, *(percent(by_condition[name]) for name in names)]
        for task, by_model in drops.items()
        for model, by_condition in by_model.items()
    ]
    panels = {
        task: {model: {name: by_condition[name].value for name in names} for model, by_condition in by_model.items()}
        for task, by_model in drops.items()
    }
    return Section(
        "Relative drop",
        [
            f"Fraction of the clean score that is lost, with {INTERVALS}. Clean and corrupted scores are paired. The "
            "drop is undefined where the clean score is 0 or below."
        ],
        ["task", "model", *names],
        rows,
        {"Relative drop by model and condition.": plots.heat_map(panels, "relative drop")},
    )


def relative_drops(comparison: Comparison, seed: int = 0) -> dict[str, dict[str, dict[str, Interval]]]:
    """Return the relative drops by task, model and condition."""
    names = [condition.name for condition in comparison.conditions if condition.name != CLEAN]
    return {
        task.name: {
            model: {name: relative_drop(own[task.name][CLEAN], own[task.name][name], seed) for name in names}
            for model, own in comparison.scores.items()
        }
        for task in comparison.tasks
    }


def paired_differences(
    comparison: Comparison, pairs: Iterable[tuple[str, str]], seed: int = 0
) -> dict[str, dict[tuple[str, str], dict[str, Interval]]]:
    """Return the paired differences of headline scores by task, pair of models and condition."""
    pairs = list(pairs)
    return {
        task.name: {
            (one, other): {
                condition.name: paired_difference(
                    comparison.scores[one][task.name][condition.name],
                    comparison.scores[other][task.name][condition.name],
                    seed,
                )
                for condition in comparison.conditions
            }
            for one, other in pairs
        }
        for task in comparison.tasks
    }


def difference_section(differences: Mapping[str, Mapping[tuple[str, str], Mapping[str, Interval]]]) -> Section:
    """Return the section of paired differences, with a row for each task and pair and a column for each condition."""
    rows = [
        [task, f"{one} \N{MINUS SIGN} {other}", *(signed(interval) for interval in by_condition.values())]
        for task, by_pair in differences.items()
        for (one, other), by_condition in by_pair.items()
    ]
    names = list(next(iter(next(iter(differences.values())).values())))
    text = (
        f"Difference of the scores on the same test tracks, with {INTERVALS}; both models use the same resamples. An "
        "interval that contains 0 does not show a difference. Of twenty pairs without a true difference, about one has "
        "an interval without 0 by chance."
    )
    return Section("Paired differences", [text], ["task", "models", *names], rows)


def retrieval_section(retrieval: Mapping[str, Mapping[str, Score]]) -> Section:
    """Return the section of retrieval scores among the test tracks, with a row for each label and model.

    Args:
        retrieval: scores by model and label.
    """
    some = next(iter(next(iter(retrieval.values())).values()))
    recalls = [name for name in some.others if name.startswith("recall")]
    rows = []
    for column in next(iter(retrieval.values())):
        for model, own in retrieval.items():
            score = own[column]
            found = [cell(score.headline), *(_other(score, name) for name in recalls)]
            rows.append([column, model, *found, str(score.tracks)])
    text = (
        "Each clean test track that has its label in common with another test track is a query. The other test tracks "
        "are ranked by the cosine similarity of their embeddings, without a probe. mAP is the mean average precision. "
        f"Recall@k is the fraction of queries with a relevant track among the first k. Scores have {INTERVALS}."
    )
    return Section("Retrieval", [text], ["label", "model", some.metric, *recalls, "queries"], rows)


def explorer_section(
    embeddings: Mapping[str, np.ndarray],
    tracks: TrackTable,
    columns: Iterable[str],
    clips: int = 200,
    seed: int = 0,
) -> Section:
    """Return the section with an interactive map of the test clips.

    Args:
        embeddings: (tracks, dim) embeddings of all tracks by model. The first model is shown first.
        tracks: table of all tracks; the map shows the test set.
        columns: label columns to color by.
        clips: number of clips whose audio is included.
        seed: seed of t-SNE and of the choice of clips.
    """
    is_test = (tracks["split"] == "test").to_numpy()
    test = tracks.select(is_test)
    content = explorer_content(
        {model: vectors[is_test] for model, vectors in embeddings.items()}, test, columns, clips=clips, seed=seed
    )
    shown, heard = len(content["titles"]), sum(clip is not None for clip in content["clips"])
    text = (
        f"Each point is one of {shown} test clips. The {heard} filled points have audio of three seconds each; for the "
        "larger ones, the audio of all their neighbors is included too. Select a point to play it. Its nearest "
        "neighbors (largest cosine similarity of the embeddings) are then marked on the map and listed below it for "
        "every model, where you can play them."
    )
    return Section("Map of the test clips", [text], explorer=content)


def cell(interval: Interval) -> str:
    """Format a value with its interval, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return "\N{EN DASH}"
    return f"{interval.value:.3f}" if math.isnan(interval.low) else str(interval)


def signed(interval: Interval) -> str:
    """Format a signed difference with its interval, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return "\N{EN DASH}"
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def percent(interval: Interval) -> str:
    """Format a fraction with its interval in percent, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return "\N{EN DASH}"
    return f"{100 * interval.value:.0f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"


def _other(score: Score, metric: str) -> str:
    value = score.others.get(metric, math.nan)
    return cell(score.intervals.get(metric, Interval(value, math.nan, math.nan)))
