"""Probes: how well simple heads on frozen embeddings predict labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from ssc_toolkit.checks import check_embeddings, check_fractions, check_length, check_whole
from ssc_toolkit.data import Labels, encode_labels
from ssc_toolkit.data.labels import Kind
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.bootstrap import distinct
from ssc_toolkit.evaluation.heads import HEADS, Head, Problem
from ssc_toolkit.evaluation.metrics import defined_classes
from ssc_toolkit.evaluation.scores import Predictions, Score, measure
from ssc_toolkit.samplers import label_budget

__all__ = ["Probe", "Score", "check_labels", "fit_probe", "label_signal", "probe", "problem_of"]


@dataclass(frozen=True)
class Probe:
    """A fitted head for one label signal.

    Attributes:
        column: the label column; several of numbers are joined by "+".
        head: what predicts; its `settings` are those that the validation split chose.
        labels: of all tracks of the table.
        method: how it was fitted, a key of `HEADS` or "finetune".
    """

    column: str
    head: Head
    labels: Labels
    method: str = "linear"

    def predict(self, embeddings: np.ndarray, tracks: pd.DataFrame, subset: np.ndarray | None = None) -> Predictions:
        """Predict the labels of the tracks of the test split.

        Args:
            embeddings: (tracks, dim), one row a track of the whole table; only test rows are read.
            tracks: the table that the probe was fitted on.
            subset: (tracks,) bool, to predict for some of the test tracks only.

        Raises:
            InputError: if no test track is left, or embeddings or table are of other tracks.
        """
        embeddings = check_embeddings(embeddings, len(tracks), of="tracks")
        check_length("subset", subset, len(tracks), "tracks")
        usable = np.isfinite(embeddings).all(axis=1) & (True if subset is None else subset)
        rows = _rows_of(tracks, self.labels, "test", usable)
        if len(rows) == 0:
            raise InputError(f"labels: no test track to score column {self.column!r} on")
        outputs = self.head.predict(embeddings[rows])
        truth = self.labels.values.numpy()[rows]
        return Predictions(outputs, truth, rows, groups_of(tracks)[rows], self.labels.kind, self.labels.names)

    def score(
        self, embeddings: np.ndarray, tracks: pd.DataFrame, subset: np.ndarray | None = None, seed: int = 0
    ) -> Score:
        """Score the probe on the tracks of the test split.

        Args:
            embeddings: as for `predict`.
            tracks: as for `predict`.
            subset: as for `predict`.
            seed: of the bootstrap.

        Raises:
            InputError: if no test track is left.
        """
        return measure([self.predict(embeddings, tracks, subset)], seed)


def fit_probe(
    embeddings: np.ndarray,
    tracks: pd.DataFrame,
    column: str | Sequence[str],
    method: str = "linear",
    *,
    kind: Kind | None = None,
    label_share: float = 1.0,
    seed: int = 0,
) -> Probe:
    """Fit a head to the embeddings of the training split.

    | method | head |
    |---|---|
    | "linear" | logistic or ridge regression on standardised embeddings |
    | "mlp" | one hidden layer of 512, trained as in the paper |
    | "knn" | the mean of the labels of the k nearest tracks |
    | "prototypes" | the cosine to the mean of each class, nothing trained |

    Whatever there is to choose is chosen on the validation split; nothing looks at the test split. Tracks without a
    label, and those whose embedding is NaN, are left out.

    Args:
        embeddings: (tracks, dim) one row a track.
        tracks: table with a `split` column (train, valid, test), the label column, and perhaps `group`.
        column: the label column: one class a cell, or several separated by "|"; several columns of numbers.
        method: as above.
        kind: "class", "multi-hot" or "number"; by default what the dataset or the cells say.
        label_share: share of the labelled training tracks to use, above 0 to 1. The tracks of a smaller share are
            among those of a larger one, and every class is met first (`samplers.label_budget`).
        seed: of the head's weights, and of which tracks a share holds.

    Raises:
        InputError: if the column is missing, a split has no labelled track, the training split has fewer than two
            classes or numbers, or there is not one embedding a track.
    """
    if method not in HEADS:
        raise InputError(f"method: expected one of {', '.join(HEADS)}, got {method!r}")
    labels = label_signal(tracks, column, kind)
    problem = problem_of(embeddings, tracks, labels, column, label_share, seed)
    return Probe(_joined(column), HEADS[method](problem, seed), labels, method)


def problem_of(
    embeddings: np.ndarray,
    tracks: pd.DataFrame,
    labels: Labels,
    column: str | Sequence[str],
    label_share: float = 1.0,
    seed: int = 0,
) -> Problem:
    """What a head is fitted to: the labelled tracks of the training and the validation split.

    Args and errors as for `fit_probe`, `labels` being those of all tracks.
    """
    embeddings = check_embeddings(embeddings, len(tracks), of="tracks")
    rows = check_labels(tracks, labels, _joined(column), np.isfinite(embeddings).all(axis=1))
    values = labels.values.numpy()
    train, valid = training_share(rows["train"], labels, label_share, seed), rows["valid"]
    return Problem(embeddings[train], values[train], embeddings[valid], values[valid], labels.kind, labels.names)


def training_share(rows: np.ndarray, labels: Labels, share: float, seed: int) -> np.ndarray:
    """Some of the labelled training rows, in the order of the table; nested, and every class first.

    Args:
        rows: of the labelled training tracks.
        labels: of all tracks.
        share: of the rows, above 0 to 1.
        seed: of the order.

    Raises:
        InputError: for another share, or one that holds fewer than two classes.
    """
    check_fractions("label_share", [share])
    if share == 1:
        return rows
    values = labels.values[torch.from_numpy(rows)]
    signal = torch.zeros(len(rows), dtype=torch.int64) if labels.kind == "number" else values
    kept = rows[np.sort(label_budget(signal, share, seed).numpy())]
    if labels.kind == "class" and len(labels.values[torch.from_numpy(kept)].unique()) < 2:
        raise InputError(f"label_share: {share:g} of {len(rows)} labelled training tracks holds fewer than two classes")
    return kept


def label_signal(tracks: pd.DataFrame, column: str | Sequence[str], kind: Kind | None = None) -> Labels:
    """The labels of a column, as what the dataset says that they are if `kind` is None.

    Raises:
        InputError: as `encode_labels`.
    """
    first = column if isinstance(column, str) else next(iter(column))
    told = tracks.attrs.get("dataset", {}).get("labels", {}).get(first, {}).get("kind")
    return encode_labels(tracks, column, kind=kind or told)


def check_labels(
    tracks: pd.DataFrame, labels: Labels, column: str, usable: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Row numbers of the labelled tracks of each split.

    Args:
        tracks: table with a `split` column.
        labels: of all its rows.
        column: what the user calls them, for messages.
        usable: (tracks,) bool, rows that may be used; all if None.

    Raises:
        InputError: if a split has no labelled track, or there is nothing to learn in the training split.
    """
    usable = np.ones(len(tracks), dtype=bool) if usable is None else usable
    rows = {split: _rows_of(tracks, labels, split, usable) for split in ("train", "valid", "test")}
    for split, found in rows.items():
        if len(found) == 0:
            raise InputError(f"labels: no track of the {split} split has a label in column {column!r}")
    values = labels.values.numpy()[rows["train"]]
    if labels.is_multi_hot and not defined_classes(values).any():
        raise InputError(f"labels: no label of column {column!r} is on some training tracks and not on others")
    if labels.kind == "class" and len(np.unique(values)) < 2:
        raise InputError(f"labels: the training split holds fewer than two classes of column {column!r}")
    if labels.kind == "number" and (values == values[0]).all():
        raise InputError(f"labels: the training split holds a single number of column {column!r}")
    return rows


def probe(
    embeddings: np.ndarray,
    tracks: pd.DataFrame,
    column: str | Sequence[str],
    seed: int = 0,
    *,
    method: str = "linear",
    kind: Kind | None = None,
    repeats: int = 1,
) -> Score:
    """Fit a head on the training split and score it on the test split.

    Args:
        embeddings: as for `fit_probe`.
        tracks: as for `fit_probe`.
        column: as for `fit_probe`.
        seed: of the bootstrap, and the first of the head's.
        method: as for `fit_probe`.
        kind: as for `fit_probe`.
        repeats: seeds of the head, from `seed` on; the score is the mean over them, with an interval over test groups
            and seeds.

    Raises:
        InputError: as `fit_probe`.

    Examples:
        >>> random = np.random.default_rng(0)
        >>> tracks = pd.DataFrame({"split": ["train"] * 60 + ["valid"] * 20 + ["test"] * 20,
        ...                        "genre": ["jazz", "rock"] * 50})
        >>> embeddings = random.normal(size=(100, 4)) + (tracks["genre"] == "jazz").to_numpy()[:, None] * 5
        >>> probe(embeddings, tracks, "genre").headline.value
        1.0
    """
    check_whole("repeats", repeats, 1)
    fitted = [fit_probe(embeddings, tracks, column, method, kind=kind, seed=seed + n) for n in range(repeats)]
    return measure([one.predict(embeddings, tracks) for one in fitted], seed)


def groups_of(tracks: pd.DataFrame) -> np.ndarray:
    """(tracks,) group of each: what belongs together when tracks are resampled; an unknown group is one of its own."""
    return distinct(tracks["group"].to_numpy()) if "group" in tracks else np.arange(len(tracks))


def _rows_of(tracks: pd.DataFrame, labels: Labels, split: str, usable: np.ndarray) -> np.ndarray:
    if "split" not in tracks:
        raise InputError("tracks: there is no column 'split'; ssc_toolkit.data.with_splits gives one")
    if len(labels.labeled) != len(tracks):
        raise InputError(f"tracks: expected the table of the labels, {len(labels.labeled)} rows, got {len(tracks)}")
    return np.flatnonzero((tracks["split"] == split).to_numpy() & labels.labeled.numpy() & usable)


def _joined(column: str | Sequence[str]) -> str:
    return column if isinstance(column, str) else "+".join(column)
