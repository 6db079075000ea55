"""Report of `ssc-toolkit robustness`."""

from __future__ import annotations

from collections.abc import Mapping

from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.metrics.records import Record, to_records
from ssc_toolkit.evaluation.metrics.scores import Score, relative_drop
from ssc_toolkit.reports.page import Section
from ssc_toolkit.reports.plots import heat_map, model_colors, severity_curves

DROP = "relative_drop"
"""Metric name of the records that hold the fraction of the clean score that is lost."""

ScoresBySeverity = dict[str, dict[str, dict[str, dict[float, Score]]]]
"""Scores by corruption, model, task and severity; severity 0 is clean audio."""
Drops = dict[str, dict[str, dict[str, dict[float, Interval]]]]
"""Relative drops by corruption, model, task and severity, without severity 0."""


def drops_by_severity(scores: ScoresBySeverity) -> Drops:
    """Compute the fraction of the clean score that is lost under each corruption."""
    return {
        name: {
            model: {
                task: {s: relative_drop(by_severity[0.0], score) for s, score in by_severity.items() if s > 0}
                for task, by_severity in own.items()
            }
            for model, own in by_model.items()
        }
        for name, by_model in scores.items()
    }


def sections_of(scores: ScoresBySeverity, drops: Drops) -> list[Section]:
    """Return a section of scores and a section of relative drops, with curves and a heat map for each task."""
    first = next(iter(next(iter(scores.values())).values()))
    severities = sorted(next(iter(first.values())))
    curves, maps = {}, {}
    for task, by_severity in first.items():
        metric = by_severity[0.0].metric
        curves[f"{task}: {metric} by severity, with 95 % intervals."] = _curves(scores, task, metric)
        maps[f"{task}: percent of the clean {metric} that is lost."] = _heat_map(drops, task)
    header = ["corruption", "task", "model"]
    return [
        Section(
            "Robustness",
            ["The probes are fitted on clean audio. Every model receives the same corrupted test tracks."],
            [*header, "metric", *(f"severity {severity:g}" for severity in severities)],
            [
                [name, task, model, found[0.0].metric, *(str(found[severity].headline) for severity in severities)]
                for name, by_model in scores.items()
                for model, own in by_model.items()
                for task, found in own.items()
            ],
            curves,
        ),
        Section(
            "Relative drops",
            [
                "Fraction of the clean score that is lost, with 95 % intervals of a paired bootstrap. It is undefined "
                "where the clean score is 0 or below."
            ],
            [*header, *(f"severity {severity:g}" for severity in severities[1:])],
            [
                [name, task, model, *(str(found[severity]) for severity in severities[1:])]
                for name, by_model in drops.items()
                for model, own in by_model.items()
                for task, found in own.items()
            ],
            maps,
        ),
    ]


def robustness_records(
    scores: ScoresBySeverity, drops: Drops, questions: Mapping[str, tuple[str, str]], seed: int
) -> list[Record]:
    """Return scores and relative drops as records; scores on clean audio occur once, not once per corruption.

    Args:
        scores: scores of the probes.
        drops: relative drops of the probes.
        questions: label and method by task.
        seed: seed of the probes.
    """
    found: list[Record] = []
    for place, (name, by_model) in enumerate(scores.items()):
        for model, own in by_model.items():
            for task, by_severity in own.items():
                label, method = questions[task]
                numbers = [(severity, score) for severity, score in by_severity.items() if severity > 0 or place == 0]
                lost = [
                    (s, Score(DROP, drop, {}, by_severity[s].tracks)) for s, drop in drops[name][model][task].items()
                ]
                for severity, score in [*numbers, *lost]:
                    found += to_records(
                        score, model=model, task=label, method=method, corruption=name, severity=severity, seed=seed
                    )
    return found


def _curves(scores: ScoresBySeverity, task: str, metric: str) -> str:
    intervals = {
        name: {model: {s: score.headline for s, score in own[task].items()} for model, own in by_model.items()}
        for name, by_model in scores.items()
    }
    return severity_curves(intervals, metric, model_colors(next(iter(scores.values()))))


def _heat_map(drops: Drops, task: str) -> str:
    models = next(iter(drops.values()))
    return heat_map(
        {
            model: {name: {f"{s:g}": d.value for s, d in own[model][task].items()} for name, own in drops.items()}
            for model in models
        },
        "fraction of the clean score lost",
    )
