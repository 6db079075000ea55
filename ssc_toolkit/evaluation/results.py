"""Scores as a table with one row per metric value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import pandas as pd

from ssc_toolkit.evaluation.metrics.bootstrap import Interval, caution_few_groups
from ssc_toolkit.evaluation.metrics.scores import Score, detectable_difference, paired_difference, relative_drop

CLEAN = "clean"
RELATIVE_DROP = "relative_drop"
"""Name in the column `metric` of the values that `Results.relative_drops` computes."""
SCORE_KEYS = ("model", "task", "method", "label_fraction", "corruption", "severity")
"""Names of the columns of `Results.scores` that identify a score."""
NUMBERS = ("value", "low", "high")
SCORE_COLUMNS = (*SCORE_KEYS, "metric", "seed", *NUMBERS, "tracks", "groups", "folds", "undefined_classes")


@dataclass(frozen=True)
class Results:
    """Scores of models on tasks.

    The property `frame` is a table with one row per metric value:

    | column | content |
    |---|---|
    | `model` | name of the model |
    | `task` | name of the task, such as a label column |
    | `method` | "linear", "mlp", "knn", "prototypes", "finetune" or "retrieval" |
    | `label_fraction` | fraction of the training labels that were used, in (0, 1] |
    | `corruption`, `severity` | corruption of the test tracks; "clean" and 0 for clean audio |
    | `metric` | name of the metric, such as "accuracy"; the first row of a score is its headline (main) metric |
    | `seed` | seed of the probe; missing if the value is a mean over several seeds |
    | `value`, `low`, `high` | value of the metric and its 95 % confidence interval; NaN if undefined |
    | `tracks` | number of scored tracks; number of queries for retrieval |
    | `groups` | number of groups of these tracks, over which the intervals are computed |
    | `folds` | number of folds of cross-validation; 0 if a single probe predicted all test tracks |
    | `undefined_classes` | number of classes or number columns that macro means omit |

    Attributes:
        scores: table with one row per score. It has the columns `model` to `severity` and `seed` from above, and a
            column `score` that holds a `Score`.

    Examples:
        >>> score = Score("accuracy", Interval(0.5, 0.4, 0.6), {"macro_recall": 0.45}, tracks=100)
        >>> results = Results.of([make_score_row(score, model="mine", task="key")])
        >>> results.frame[["model", "metric", "value"]].values.tolist()
        [['mine', 'accuracy', 0.5], ['mine', 'macro_recall', 0.45]]
    """

    scores: pd.DataFrame

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Results:
        """Create results from rows, one per score.

        Models, tasks, methods and label fractions are sorted by their first occurrence.

        Args:
            rows: rows from `make_score_row`.
        """
        found = pd.DataFrame(list(rows), columns=[*SCORE_KEYS, "seed", "score"]).astype({"seed": "Int64"})
        return cls(sort_in_order(found, ("model", "task", "method", "label_fraction")))

    @classmethod
    def joined(cls, parts: Iterable[Results]) -> Results:
        """Combine the scores of several results into one."""
        return cls.of(row for part in parts for row in list_rows(part.scores))

    @cached_property
    def frame(self) -> pd.DataFrame:
        """Table with one row per metric value. The class docstring describes its columns."""
        rows = [
            {**row, "metric": metric, **vars(interval), **_counts(row["score"])}
            for row in list_rows(self.scores)
            for metric, interval in _metrics(row["score"])
        ]
        return _frame(rows, SCORE_COLUMNS)

    @property
    def headlines(self) -> pd.DataFrame:
        """Rows of the table `frame` that hold the headline (main) metric of a score."""
        return select_headlines(self.frame)

    def select(self, **where: Any) -> Results:
        """Return the results of those rows of the table `scores` that have the given values.

        Args:
            where: a value, or a list of accepted values, for each column name.
        """
        chosen = self.scores
        for column, values in where.items():
            chosen = chosen[chosen[column].isin(values if isinstance(values, list) else [values])]
        return Results(chosen)

    def score(self, **where: Any) -> Score:
        """Return the `Score` in the only row of the table `scores` that has the given values.

        Args:
            where: a value, or a list of accepted values, for each column name.

        Raises:
            ValueError: unless exactly one score has these values.
        """
        found = self.select(**where).scores["score"].tolist()
        if len(found) != 1:
            raise ValueError(f"where: expected the columns of one score, got {where}, which {len(found)} scores have")
        return found[0]

    def relative_drops(self, seed: int = 0) -> pd.DataFrame:
        """Compute the relative drop of each headline metric under corruption with the function `relative_drop`.

        Args:
            seed: seed of the bootstrap.

        Returns:
            A table with the columns of `frame`. The column `metric` is "relative_drop".
        """
        scores = self._with_predictions()
        same = [key for key in SCORE_KEYS if key not in ("corruption", "severity")]
        clean = scores[scores["corruption"] == CLEAN].rename(columns={"score": "before"})[[*same, "before"]]
        pairs = scores[scores["corruption"] != CLEAN].merge(clean, on=same)
        rows = [
            {**row, "metric": RELATIVE_DROP, **vars(relative_drop(row["before"], row["score"], seed))}
            | _counts(row["score"])
            for row in list_rows(pairs)
        ]
        return _frame(rows, SCORE_COLUMNS)

    def differences(self, pairs: Iterable[tuple[str, str]], seed: int = 0) -> pd.DataFrame:
        """Compute differences of the headline metrics of two models with the function `paired_difference`.

        Args:
            pairs: pairs of model names. The metric of the second model is subtracted from that of the first.
            seed: seed of the bootstrap.

        Returns:
            A table with the columns of `frame`, a column `less` with the name of the second model, and a column
            `detectable` with the smallest difference that the tracks could show (`detectable_difference`).
        """
        scores = self._with_predictions()
        same = [key for key in SCORE_KEYS if key != "model"]
        other = scores.rename(columns={"model": "less", "score": "other"})[["less", *same, "other"]]
        wanted = pd.DataFrame(list(pairs), columns=["model", "less"])
        both = sort_in_order(wanted.merge(scores, on="model").merge(other, on=["less", *same]), ("task", "method"))
        rows = [
            {**row, "metric": row["score"].metric, **vars(paired_difference(row["score"], row["other"], seed))}
            | {**_counts(row["score"]), "detectable": detectable_difference(row["score"], row["other"], seed)}
            for row in list_rows(both)
        ]
        return _frame(rows, (SCORE_COLUMNS[0], "less", *SCORE_COLUMNS[1:], "detectable"))

    def confusions(self) -> pd.DataFrame:
        """Count the pairs of true and predicted classes on clean audio, for labels with one class per track.

        Returns:
            A table with the columns `model` to `severity` of `frame`, and one row for each pair of classes that occurs:
            `true`, `predicted` and `tracks`, the number of tracks as a mean over the seeds.
        """
        single = [
            row
            for row in list_rows(self._with_predictions())
            if row["corruption"] == CLEAN and row["score"].predictions[0].kind == "class"
        ]
        rows = [
            {**{key: row[key] for key in SCORE_KEYS}, "true": true, "predicted": predicted, "tracks": count}
            for row in single
            for (true, predicted), count in row["score"].confusion().stack().items()
            if count > 0
        ]
        return pd.DataFrame(rows, columns=[*SCORE_KEYS, "true", "predicted", "tracks"])

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
    """Return a row of the table `Results.scores` as a dictionary.

    Args:
        score: metrics of the predictions.
        model: name of the model.
        task: name of the task.
        method: name of the method.
        label_fraction: fraction of the training labels that were used, in (0, 1].
        corruption: name of the corruption of the tracks.
        severity: severity of the corruption. If it is 0, the corruption is stored as "clean".
        seed: first seed of the probes.
    """
    keys = (model, task, method, float(label_fraction), corruption if severity > 0 else CLEAN, float(severity))
    return dict(zip(SCORE_KEYS, keys, strict=True)) | {"seed": seed if score.seeds == 1 else None, "score": score}


def list_cautions(frame: pd.DataFrame) -> list[str]:
    """Return cautions about the tasks of a table of scores whose tracks have fewer than ten groups.

    Examples:
        >>> frame = pd.DataFrame({"task": ["key", "key", "genre"], "groups": [5, 5, 40]})
        >>> [caution.partition(":")[0] for caution in list_cautions(frame)]
        ['key']
    """
    found = []
    for groups in sorted(set(frame["groups"].tolist()) - {0}):
        part = frame[frame["groups"] == groups]
        caution = caution_few_groups(groups)
        if caution is not None:
            found.append(f"{', '.join(map(str, part['task'].unique()))}: {caution}")
    return found


def select_headlines(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a table like `Results.frame` that hold the headline (main) metric of a score."""
    return frame.drop_duplicates(list(SCORE_KEYS))


def list_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries."""
    return cast(list[dict[str, Any]], frame.to_dict("records"))


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries that can be written as JSON. NaN and infinity become None."""
    return [{name: _plain(value) for name, value in row.items()} for row in list_rows(frame)]


def sort_in_order(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Sort a table by columns. The values of each column are sorted by their first occurrence in the table.

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
    return {name: getattr(score, name) for name in ("tracks", "groups", "folds", "undefined_classes")}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    return None if pd.isna(value) or math.isinf(value) else value
