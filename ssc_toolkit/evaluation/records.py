"""Scores as a tidy list: one record a number, whatever was asked."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypedDict

from ssc_toolkit.evaluation.bootstrap import Interval
from ssc_toolkit.evaluation.probing import Score

CLEAN = "clean"


class Record(TypedDict):
    """One number of a report, with all that tells it from the others.

    Attributes:
        model: what was evaluated.
        task: what was asked, such as a label column.
        method: "linear", "mlp", "knn", "finetune", "prototypes" or "retrieval".
        metric: such as "accuracy".
        value: of the metric; None where it is not defined.
        low, high: ends of its 95 % interval; None if there is none.
        corruption: "clean" or the name of what the test tracks went through.
        severity: of the corruption, 0 if there is none.
        label_share: share of the training labels that were used, above 0 to 1.
        seed: of the probe and of the labels used; None for the mean over several.
        tracks: how many were scored.
        undefined_classes: how many classes, or columns of numbers, are left out of a macro mean.
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
    """One record for each metric of a score, the headline metric first.

    Args:
        score: of some tracks.
        model: what was evaluated.
        task: what was asked.
        method: how it was answered.
        corruption: what the tracks went through.
        severity: of the corruption.
        label_share: share of the training labels that were used.
        seed: of the probe; None for the mean over several.

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
    """The number as JSON can hold it."""
    return float(number) if math.isfinite(number) else None
