"""Probes, which predict labels from frozen embeddings."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssc_toolkit.checks import check_embeddings, check_integer, check_length
from ssc_toolkit.data import Labels, encode_labels
from ssc_toolkit.data.cells import Kind
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.metrics.bootstrap import caution_few_groups, separate_unknown_groups
from ssc_toolkit.evaluation.metrics.classification import defined_classes
from ssc_toolkit.evaluation.metrics.scores import Predictions, Score, measure
from ssc_toolkit.evaluation.probing.cross_validation import fit_folds
from ssc_toolkit.evaluation.probing.folds import CrossValidation, mark_cross_validated
from ssc_toolkit.evaluation.probing.heads import HEADS, WEIGHTED, Head, Problem
from ssc_toolkit.evaluation.probing.training_rows import choose_training_rows

logger = logging.getLogger(__name__)

__all__ = ["Probe", "Score", "check_labels", "fit_probe", "label_signal", "make_problem", "probe"]


@dataclass(frozen=True)
class Probe:
    """A classifier or regressor that was fitted to embeddings and the labels of a column.

    Attributes:
        column: name of the label column. The names of several number columns are joined by "+".
        head: the fitted classifier or regressor. `head.settings` are hyperparameters selected on the validation set.
        labels: labels of all tracks of the table.
        method: method of `fit_probe`, or "finetune".
    """

    column: str
    head: Head
    labels: Labels
    method: str = "linear"

    def predict(self, embeddings: np.ndarray, tracks: Tracks, subset: np.ndarray | None = None) -> Predictions:
        """Predict the labels of the test tracks.

        Args:
            embeddings: (tracks, dim) embeddings, one row per track of the table. Only rows of test tracks are used.
            tracks: the track table that the probe was fitted on.
            subset: (tracks,) bool. Only test tracks where `subset` is True are predicted. None predicts all.

        Returns:
            Predictions and true labels of the test tracks that have a label and a finite embedding.

        Raises:
            InputError: if no test track has a label and a finite embedding, or if the number of embeddings or tracks is
                wrong.
        """
        tracks = as_track_table(tracks)
        embeddings = check_embeddings(embeddings, len(tracks), of="tracks")
        check_length("subset", subset, len(tracks), "tracks")
        usable = np.isfinite(embeddings).all(axis=1) & (True if subset is None else subset)
        rows = _rows_of(tracks, self.labels, "test", usable)
        if len(rows) == 0:
            raise InputError(f"labels: expected test tracks with a label in column {self.column!r}, got none")
        outputs = self.head.predict(embeddings[rows])
        truth = self.labels.values.numpy()[rows]
        return Predictions(outputs, truth, rows, find_groups(tracks)[rows], self.labels.kind, self.labels.names)

    def score(self, embeddings: np.ndarray, tracks: Tracks, subset: np.ndarray | None = None, seed: int = 0) -> Score:
        """Compute the metrics of the probe on the test set.

        Args:
            embeddings: as for `predict`.
            tracks: as for `predict`.
            subset: as for `predict`.
            seed: seed of the bootstrap.

        Returns:
            The metrics, with 95 % confidence intervals.

        Raises:
            InputError: as for `predict`.
        """
        return measure([self.predict(embeddings, tracks, subset)], seed)


def fit_probe(
    embeddings: np.ndarray,
    tracks: Tracks,
    column: str | Sequence[str],
    method: str = "linear",
    *,
    kind: Kind | None = None,
    layer_widths: Mapping[str, int] | None = None,
    label_fraction: float = 1.0,
    seed: int = 0,
) -> Probe:
    """Fit a probe, which predicts labels from embeddings, to the embeddings of the training set.

    | method | probe |
    |---|---|
    | "linear" | logistic regression (classes) or ridge regression (numbers) on standardized embeddings |
    | "mlp" | one hidden layer of 512 units (`heads.fit_mlp`) |
    | "knn" | mean label of the k training tracks with the highest cosine similarity |
    | "prototypes" | cosine similarity to the mean embedding of each class, without training |
    | "weighted_layers" | linear head on a learned weighted sum of layers (`heads.fit_weighted_layers`) |

    Hyperparameters are selected on the validation set. The test set is not used. Tracks without a label, and tracks
    whose embedding is NaN, are ignored.

    Args:
        embeddings: (tracks, dim) embeddings, one row per track of the table.
        tracks: track table, data frame or path of a table, with a column `split` ("train", "valid" or "test"), the
            label column and, optionally, a column `group`. The bootstrap resamples groups.
        column: name of the label column. A cell holds one class, several classes separated by "|", or a number. To
            predict several numbers, pass a list of column names.
        method: one of the methods above.
        kind: "class", "multi-hot" or "number". By default, the kind in the metadata of the dataset. Without metadata,
            `encode_labels` determines the kind from the cells.
        layer_widths: number of columns of each layer in the embeddings, as `layer_widths` of `ssc_toolkit.evaluation`
            returns them. Required for the method "weighted_layers", which is the only one that uses them.
        label_fraction: fraction of the labeled training tracks to use, in (0, 1], selected by `samplers.label_budget`.
            The selection starts with one track of every class, and contains all tracks that a smaller fraction selects.
        seed: seed of the weights and of the selection of labeled tracks.

    Returns:
        The fitted probe.

    Raises:
        InputError: if the column is missing, if a split has no labeled track, if the training set has fewer than two
            classes or distinct numbers, or if the numbers of embeddings and tracks differ.
    """
    tracks = as_track_table(tracks)
    check_layer_widths(method, layer_widths)
    labels = label_signal(tracks, column, kind)
    return fit_head(embeddings, tracks, labels, column, method, label_fraction, seed, layer_widths)


def check_layer_widths(method: str, layer_widths: Mapping[str, int] | None) -> None:
    """Raise InputError if the widths of the layers are missing for the method that needs them."""
    if method == WEIGHTED and layer_widths is None:
        raise InputError(f"layer_widths: expected the widths of the layers for {WEIGHTED}, got None")


def fit_head(
    embeddings: np.ndarray,
    tracks: TrackTable,
    labels: Labels,
    column: str | Sequence[str],
    method: str = "linear",
    label_fraction: float = 1.0,
    seed: int = 0,
    layer_widths: Mapping[str, int] | None = None,
) -> Probe:
    """Fit a probe to encoded `labels`. The other arguments and the errors are the same as for `fit_probe`."""
    if method not in HEADS:
        raise InputError(f"method: expected one of {', '.join(HEADS)}, got {method!r}")
    problem = make_problem(embeddings, tracks, labels, column, label_fraction, seed)
    problem = dataclasses.replace(problem, layer_widths=layer_widths)
    return Probe(_joined(column), HEADS[method](problem, seed), labels, method)


def make_problem(
    embeddings: np.ndarray,
    tracks: Tracks,
    labels: Labels,
    column: str | Sequence[str],
    label_fraction: float = 1.0,
    seed: int = 0,
) -> Problem:
    """Return the embeddings and labels of the labeled training and validation tracks, to which a head is fitted.

    `labels` contains the labels of all tracks. The other arguments and the errors are the same as for `fit_probe`.
    """
    tracks = as_track_table(tracks)
    embeddings = check_embeddings(embeddings, len(tracks), of="tracks")
    rows = check_labels(tracks, labels, _joined(column), np.isfinite(embeddings).all(axis=1))
    values = labels.values.numpy()
    train, valid = choose_training_rows(rows["train"], labels, label_fraction, seed), rows["valid"]
    return Problem(embeddings[train], values[train], embeddings[valid], values[valid], labels.kind, labels.names)


def label_signal(tracks: Tracks, column: str | Sequence[str], kind: Kind | None = None) -> Labels:
    """Encode the labels in a column of a track table, or in several number columns, with `encode_labels`.

    If `kind` is None, it is taken from the metadata of the dataset. Without metadata, `encode_labels` determines it.

    Raises:
        InputError: as for `encode_labels`.
    """
    first = column if isinstance(column, str) else next(iter(column))
    tracks = as_track_table(tracks)
    recorded_kind = tracks.dataset.get("labels", {}).get(first, {}).get("kind")
    return encode_labels(tracks, column, kind=kind or recorded_kind)


def check_labels(
    tracks: Tracks, labels: Labels, column: str, usable: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Return the row numbers of the labeled tracks, by split.

    Args:
        tracks: table with a `split` column.
        labels: labels of all rows.
        column: name of the label column for error messages.
        usable: (tracks,) bool. Only rows where `usable` is True are returned. None returns all labeled rows.

    Raises:
        InputError: if a split has no labeled track, or if the labels of the training set are all the same.
    """
    tracks = as_track_table(tracks)
    usable = np.ones(len(tracks), dtype=bool) if usable is None else usable
    rows = {split: _rows_of(tracks, labels, split, usable) for split in ("train", "valid", "test")}
    for split, found in rows.items():
        if len(found) == 0:
            raise InputError(f"labels: expected {split} tracks with a label in column {column!r}, got none")
    values = labels.values.numpy()[rows["train"]]
    if labels.is_multi_hot and not defined_classes(values).any():
        raise InputError(
            f"labels: expected a label of column {column!r} that some training tracks have and others do not, got none"
        )
    if labels.kind == "class" and len(np.unique(values)) < 2:
        raise InputError(f"labels: expected at least two classes of column {column!r} in the training set, got fewer")
    if labels.kind == "number" and (values == values[0]).all():
        raise InputError(f"labels: expected different numbers of column {column!r} in the training set, got one number")
    return rows


def probe(
    embeddings: np.ndarray,
    tracks: Tracks,
    column: str | Sequence[str],
    seed: int = 0,
    *,
    method: str = "linear",
    kind: Kind | None = None,
    layer_widths: Mapping[str, int] | None = None,
    repeats: int = 1,
    folds: int | Literal["groups"] | None = None,
    group_by: str | None = None,
    splits: Sequence[str] = (),
) -> Score:
    """Fit a probe on the training set and score it on the test set, or cross-validate it.

    A warning is logged if the scored tracks have fewer than ten groups, because intervals are then unreliable.

    Args:
        embeddings: as for `fit_probe`.
        tracks: as for `fit_probe`. For cross-validation, the table needs no column `split`.
        column: as for `fit_probe`.
        seed: seed of the bootstrap, and first seed of the probes and the folds.
        method: as for `fit_probe`.
        kind: as for `fit_probe`.
        layer_widths: as for `fit_probe`.
        repeats: number of probes, which are fitted with the seeds `seed`, `seed + 1` and so on. In cross-validation,
            each seed has its own folds.
        folds: number of folds of cross-validation, or "groups" for one fold per group. None uses the splits of the
            table.
        group_by: name of the column with the group of each track, such as its artist. All tracks of a group are in the
            same fold. None is for the column `group`. Without it, each track is its own group.
        splits: names of the splits whose tracks are cross-validated. Required if the table has a column `split`.

    Returns:
        The metrics on the test set, or on all cross-validated tracks, as means over the probes, with intervals over
        groups of tracks and seeds.

    Raises:
        InputError: as for `fit_probe`. In cross-validation, also if a group is missing, if there are fewer groups than
            folds, or if a class occurs in one group only.

    Examples:
        >>> random = np.random.default_rng(0)
        >>> import pandas as pd
        >>> tracks = pd.DataFrame({"split": ["train"] * 60 + ["valid"] * 20 + ["test"] * 20,
        ...                        "genre": ["jazz", "rock"] * 50, "artist": [n // 2 % 12 for n in range(100)]})
        >>> embeddings = random.normal(size=(100, 4)) + (tracks["genre"] == "jazz").to_numpy()[:, None] * 5
        >>> probe(embeddings, tracks, "genre").headline.value
        1.0
        >>> score = probe(embeddings, tracks.drop(columns="split"), "genre", folds=4, group_by="artist")
        >>> score.tracks, score.groups, score.folds
        (100, 12, 4)
    """
    check_integer("repeats", repeats, 1)
    check_layer_widths(method, layer_widths)
    tracks = as_track_table(tracks)
    seeds = range(seed, seed + repeats)
    plan = choose_cross_validation(folds, group_by, splits)
    if plan is not None:
        tracks = mark_cross_validated(tracks, splits)
    labels = label_signal(tracks, column, kind)
    if plan is None:
        fitted = [fit_head(embeddings, tracks, labels, column, method, 1.0, one, layer_widths) for one in seeds]
        score = measure([one.predict(embeddings, tracks) for one in fitted], seed)
    else:
        name = _joined(column)
        plan.check(tracks, labels, name, seeds)
        predictions = [
            fit_folds(
                embeddings, labels, name, plan.assign(tracks, labels, name, one), method, 1.0, one, layer_widths
            ).predict(embeddings)
            for one in seeds
        ]
        score = measure(predictions, seed)
    caution = caution_few_groups(score.groups)
    if caution:
        logger.warning("%s: %s", _joined(column), caution)
    return score


def choose_cross_validation(
    folds: int | Literal["groups"] | None, group_by: str | None, splits: Sequence[str]
) -> CrossValidation | None:
    """Return the settings of cross-validation, or None if `folds` is None.

    Raises:
        InputError: if there are a group column or splits, but no folds, or if the number of folds is invalid.
    """
    if folds is not None:
        return CrossValidation(folds, group_by)
    for name, value in (("group_by", group_by), ("splits", ", ".join(splits))):
        if value:
            raise InputError(f"{name}: expected folds to use it with, got {value} without folds")
    return None


def find_groups(tracks: TrackTable, column: str = "group") -> np.ndarray:
    """Return the group (tracks,) of each track for the bootstrap. A track of unknown group has its own group."""
    return separate_unknown_groups(tracks[column].to_numpy()) if column in tracks else np.arange(len(tracks))


def _rows_of(tracks: TrackTable, labels: Labels, split: str, usable: np.ndarray) -> np.ndarray:
    if "split" not in tracks:
        raise InputError("tracks: expected a column 'split', got none; ssc_toolkit.data.add_splits adds one")
    if len(labels.labeled) != len(tracks):
        raise InputError(f"tracks: expected {len(labels.labeled)} rows, one for each label, got {len(tracks)}")
    return np.flatnonzero((tracks["split"] == split).to_numpy() & labels.labeled.numpy() & usable)


def _joined(column: str | Sequence[str]) -> str:
    return column if isinstance(column, str) else "+".join(column)
