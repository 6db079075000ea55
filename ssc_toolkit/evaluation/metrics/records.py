"""Scores as a tidy list with one record for each number."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypedDict

from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.probing.probe import Score

CLEAN = "clean"


class Record(TypedDict):
    """One number of a report, with the fields that identify it.

    Attributes:
        model: name of the model.
        task: name of the task, such as a label column.
        method: "linear", "mlp", "knn", "finetune", "prototypes" or "retrieval".
        metric: name of the metric, such as "accuracy".
        value: value of the metric; None if it is undefined.
        low, high: ends of its 95 % interval; None if there is no interval.
        corruption: "clean" or the name of the corruption of the test tracks.
        severity: severity of the corruption; 0 for clean audio.
        label_share: fraction of the training labels that were used, in (0, 1].
        seed: seed of the probe and of the choice of labels; None for a mean over several seeds.
        tracks: number of scored tracks.
        undefined_classes: number of classes, or columns of numbers, that a macro mean omits.
    """

    model: str
    task: str
    method: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    corruption: str
    severity: float
    label_share: float
    seed: int | None
    tracks: int
    undefined_classes: int


def to_records(
    score: Score,
    *,
    model: str,
    task: str,
    method: str,
    corruption: str = CLEAN,
    severity: float = 0.0,
    label_share: float = 1.0,
    seed: int | None = 0,
) -> list[Record]:
    """Return one record for each metric of a score, the headline metric first.

    Args:
        score: the score.
        model: name of the model.
        task: name of the task.
        method: name of the method, such as "linear".
        corruption: name of the corruption of the tracks.
        severity: severity of the corruption.
        label_share: fraction of the training labels that were used, in (0, 1].
        seed: seed of the probe; None for a mean over several seeds.

    Examples:
        >>> score = Score("accuracy", Interval(0.5, 0.4, 0.6), {"macro_recall": 0.45}, tracks=100)
        >>> first, second = to_records(score, model="mine", task="key", method="linear")
        >>> first["metric"], first["value"], first["low"], second["metric"], second["low"]
        ('accuracy', 0.5, 0.4, 'macro_recall', None)
    """
    return [
        Record(
            model=model,
            task=task,
            method=method,
            metric=metric,
            value=_finite(value),
            low=_finite(low),
            high=_finite(high),
            corruption=corruption if severity > 0 else CLEAN,
            severity=severity,
            label_share=label_share,
            seed=seed,
            tracks=score.tracks,
            undefined_classes=score.undefined_classes,
        )
        for metric, value, low, high in _numbers(score)
    ]


def _numbers(score: Score) -> Iterator[tuple[str, float, float, float]]:
    yield score.metric, score.headline.value, score.headline.low, score.headline.high
    for metric, value in score.others.items():
        interval = score.intervals.get(metric, Interval(value, math.nan, math.nan))
        yield metric, value, interval.low, interval.high


def _finite(number: float) -> float | None:
    """Return the number, or None if JSON cannot hold it (NaN, infinity)."""
    return float(number) if math.isfinite(number) else None
