"""Scores as a tidy table, with one row per number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pandas as pd

from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.metrics.scores import Score, paired_difference, relative_drop

CLEAN = "clean"
RELATIVE_DROP = "relative_drop"
"""Metric of the rows that hold the fraction of the clean score that is lost."""
KEYS = ("model", "task", "method", "label_fraction", "corruption", "severity")
"""Columns that identify a score."""
NUMBERS = ("value", "low", "high")
COLUMNS = (*KEYS, "metric", "seed", *NUMBERS, "tracks", "undefined_classes")


@dataclass(frozen=True)
class Results:
    """Scores of models on tasks.

    `frame` is a tidy table with one row per number:

    | column | content |
    |---|---|
    | `model` | name of the model |
    | `task` | name of the task, such as a label column |
    | `method` | "linear", "mlp", "knn", "prototypes", "finetune" or "retrieval" |
    | `label_fraction` | fraction of the training labels that were used, in (0, 1] |
    | `corruption`, `severity` | corruption of the test tracks; "clean" and 0 for clean audio |
    | `metric` | name of the metric, such as "accuracy"; the headline metric of a score is its first row |
    | `seed` | seed of the probe; missing for a mean over several seeds |
    | `value`, `low`, `high` | the number and its 95 % interval; NaN where undefined |
    | `tracks` | number of scored tracks or queries |
    | `undefined_classes` | number of classes, or columns of numbers, that a macro mean omits |

    Attributes:
        scores: table with one row per score: `model` to `severity` and `seed` as above, and `score`, which is a `Score`
            with its predictions.

    Examples:
        >>> score = Score("accuracy", Interval(0.5, 0.4, 0.6), {"macro_recall": 0.45}, tracks=100)
        >>> results = Results.of([make_score_row(score, model="mine", task="key")])
        >>> results.frame[["model", "metric", "value"]].values.tolist()
        [['mine', 'accuracy', 0.5], ['mine', 'macro_recall', 0.45]]
    """

    scores: pd.DataFrame

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Results:
        """Return results in the order of model, task, method and fraction, each as they first occur.

        Args:
            rows: rows from `scored`.
        """
        found = pd.DataFrame(list(rows), columns=[*KEYS, "seed", "score"]).astype({"seed": "Int64"})
        return cls(sort_in_order(found, ("model", "task", "method", "label_fraction")))

    @classmethod
    def joined(cls, parts: Iterable[Results]) -> Results:
        """Return the scores of several results together."""
        return cls.of(row for part in parts for row in list_rows(part.scores))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The tidy table."""
        rows = [
            {**row, "metric": metric, **vars(interval), **_counts(row["score"])}
            for row in list_rows(self.scores)
            for metric, interval in _metrics(row["score"])
        ]
        return _frame(rows, COLUMNS)

    @property
    def headlines(self) -> pd.DataFrame:
        """The rows of the headline metrics."""
        return select_headlines(self.frame)

    def select(self, **where: Any) -> Results:
        """Return the results with given values in columns of `scores`.

        Args:
            where: values by column; a list of values selects any of them.
        """
        chosen = self.scores
        for column, values in where.items():
            chosen = chosen[chosen[column].isin(values if isinstance(values, list) else [values])]
        return Results(chosen)

    def score(self, **where: Any) -> Score:
        """Return a single score.

        Args:
            where: values by column of `scores`.

        Raises:
            ValueError: unless exactly one score has these values.
        """
        found = self.select(**where).scores["score"].tolist()
        if len(found) != 1:
            raise ValueError(f"where: expected the columns of one score, got {where}, which {len(found)} scores have")
        return found[0]

    def relative_drops(self, seed: int = 0) -> pd.DataFrame:
        """Compute the fraction of each clean headline score that is lost under corruption (`relative_drop`).

        Args:
            seed: seed of the bootstrap.

        Returns:
            A table like `frame`, with the metric "relative_drop".
        """
        scores = self._with_predictions()
        same = [key for key in KEYS if key not in ("corruption", "severity")]
        clean = scores[scores["corruption"] == CLEAN].rename(columns={"score": "before"})[[*same, "before"]]
        pairs = scores[scores["corruption"] != CLEAN].merge(clean, on=same)
        rows = [
            {**row, "metric": RELATIVE_DROP, **vars(relative_drop(row["before"], row["score"], seed))}
            | _counts(row["score"])
            for row in list_rows(pairs)
        ]
        return _frame(rows, COLUMNS)

    def differences(self, pairs: Iterable[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
        """Compute paired differences of headline scores (`paired_difference`).

        Args:
            pairs: names of two models; the score of the second is subtracted from that of the first.
            seed: seed of the bootstrap.

        Returns:
            A table with the columns of `frame` and `less`, the name of the second model.
        """
        scores = self._with_predictions()
        same = [key for key in KEYS if key != "model"]
        other = scores.rename(columns={"model": "less", "score": "other"})[["less", *same, "other"]]
        wanted = pd.DataFrame(list(pairs), columns=["model", "less"])
        both = sort_in_order(wanted.merge(scores, on="model").merge(other, on=["less", *same]), ("task", "method"))
        rows = [
            {**row, "metric": row["score"].metric, **vars(paired_difference(row["score"], row["other"], seed))}
            | _counts(row["score"])
            for row in list_rows(both)
        ]
        return _frame(rows, (COLUMNS[0], "less", *COLUMNS[1:]))

    def _with_predictions(self) -> pd.DataFrame:
        return self.scores[[bool(score.predictions) for score in self.scores["score"]]]


def make_score_row(
    score: Score,
    *,
    model: str,
    task: str,
    method: str = "linear",
    label_fraction: float = 1.0,
    corruption: str = CLEAN,
    severity: float = 0.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Return a row of `Results.scores`.

    Args:
        score: the score.
        model: name of the model.
        task: name of the task.
        method: name of the method.
        label_fraction: fraction of the training labels that were used, in (0, 1].
        corruption: name of the corruption of the tracks.
        severity: severity of the corruption; 0 for clean audio, whatever the corruption.
        seed: first seed of the probes.
    """
    keys = (model, task, method, float(label_fraction), corruption if severity > 0 else CLEAN, float(severity))
    return dict(zip(KEYS, keys, strict=True)) | {"seed": seed if score.seeds == 1 else None, "score": score}


def select_headlines(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a tidy table that hold headline metrics."""
    return frame.drop_duplicates(list(KEYS))


def list_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return cast(list[dict[str, Any]], frame.to_dict("records"))


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a tidy table in a form that JSON can hold; numbers that are not finite become None."""
    return [{name: _plain(value) for name, value in row.items()} for row in list_rows(frame)]


def sort_in_order(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Sort a table by columns, whose values are in the order of their first occurrence.

    Examples:
        >>> frame = pd.DataFrame({"model": ["b", "a", "b"], "value": [1, 2, 3]})
        >>> sort_in_order(frame, ["model"])["value"].tolist()
        [1, 3, 2]
    """
    if frame.empty:
        return frame
    places = {column: pd.factorize(frame[column])[0] for column in columns}
    order = pd.DataFrame(places).sort_values(list(columns), kind="stable").index
    return frame.iloc[order].reset_index(drop=True)


def _frame(rows: list[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns)).astype({"seed": "Int64"} | dict.fromkeys(NUMBERS, float))


def _metrics(score: Score) -> Iterator[tuple[str, Interval]]:
    yield score.metric, score.headline
    for metric, value in score.others.items():
        yield metric, score.intervals.get(metric, Interval(value, math.nan, math.nan))


def _counts(score: Score) -> dict[str, int]:
    return {"tracks": score.tracks, "undefined_classes": score.undefined_classes}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return None if pd.isna(value) or math.isinf(value) else value
