"""Folds of cross-validation, which keep all tracks of a group together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ssc_toolkit.checks import check_integer
from ssc_toolkit.data import Labels
from ssc_toolkit.data.cells import format_cells
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.metrics.classification import defined_classes
from ssc_toolkit.evaluation.probing.training_rows import choose_training_rows
from ssc_toolkit.evaluation.provenance import track_names

LEAVE_ONE_OUT = "groups"
"""Value of `folds` that makes each group a fold."""
INNER_FOLDS = 5
"""Maximum number of inner folds, on which hyperparameters are selected."""
UNUSED = "unused"
"""Split of the tracks that are not cross-validated."""
_BINS = 4
_ATTEMPTS = 50


@dataclass(frozen=True)
class Folds:
    """Assignment of N labeled tracks to folds. The tracks are sorted by name.

    Attributes:
        rows: (N,) row number of each track in the table.
        fold: (N,) fold of each track, from 0.
        groups: (N,) number of the group of each track.
        strata: (N, strata) 1 for the classes, or the ranges of numbers, that a track has, else 0.
    """

    rows: np.ndarray
    fold: np.ndarray
    groups: np.ndarray
    strata: np.ndarray

    @property
    def count(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    def places_of(self, rows: np.ndarray) -> np.ndarray:
        """Return the positions in this assignment of tracks with given row numbers of the table."""
        order = np.argsort(self.rows)
        return order[np.searchsorted(self.rows, rows, sorter=order)]

    def training_rows(self, fold: int, usable: np.ndarray) -> np.ndarray:
        """Return the row numbers of the tracks outside of a fold, sorted by name.

        `usable`, bool (tracks,), is True for the tracks of the table that may be used.
        """
        return self.rows[(self.fold != fold) & usable[self.rows]]

    def inner(self, rows: np.ndarray, values: np.ndarray, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Split the training tracks of a fold into at most five inner folds, on which hyperparameters are selected.

        Args:
            rows: row numbers of the training tracks.
            values: labels of all tracks of the table.
            seed: seed of the assignment.

        Returns:
            A pair of row numbers for each inner fold: the tracks to fit to, and the tracks of the inner fold.

        Raises:
            InputError: if no inner fold leaves tracks with different labels to fit to.
        """
        places = self.places_of(rows)
        groups = self.groups[places]
        count = min(INNER_FOLDS, len(np.unique(groups)))
        fold = assign_folds(groups, self.strata[places], count, np.random.default_rng([seed, _ATTEMPTS]))
        pairs = [(rows[fold != number], rows[fold == number]) for number in range(count)]
        found = [pair for pair in pairs if len(pair[0]) and (values[pair[0]] != values[pair[0][0]]).any()]
        if not found:
            raise InputError(
                f"folds: expected training groups of which a part has different labels, got {len(np.unique(groups))} "
                "groups, on which no hyperparameters can be selected; use more folds or labels"
            )
        return found


@dataclass(frozen=True)
class CrossValidation:
    """Settings of cross-validation.

    Attributes:
        folds: number of folds, or "groups" for one fold per group (leave one group out).
        group_by: name of the column with the group of each track, such as its artist. None is for the column `group`.
            Without this column, or in an empty cell of it, each track is its own group.

    Examples:
        >>> import pandas as pd
        >>> from ssc_toolkit.data import encode_labels
        >>> table = TrackTable(pd.DataFrame({"genre": ["jazz", "rock"] * 3, "artist": list("aabbcc")}))
        >>> labels = encode_labels(table, "genre")
        >>> folds = CrossValidation(3, group_by="artist").assign(mark_cross_validated(table), labels, "genre")
        >>> [len(set(folds.fold[folds.groups == group])) for group in range(3)], folds.count
        ([1, 1, 1], 3)
    """

    folds: int | Literal["groups"] = 5
    group_by: str | None = None

    def __post_init__(self) -> None:
        if self.folds != LEAVE_ONE_OUT:
            check_integer("folds", self.folds, 2)

    def assign(self, tracks: TrackTable, labels: Labels, column: str, seed: int = 0) -> Folds:
        """Assign the labeled test tracks of a table to folds.

        All tracks of a group are in the same fold. The folds have similar numbers of tracks and of each class, or of
        each quarter of the numbers. The assignment depends on the names of the tracks (`track_names`), the groups, the
        labels and the seed, and not on the order of the rows or on a model.

        Args:
            tracks: table that `mark_cross_validated` returned.
            labels: labels of all tracks.
            column: name of the label column for error messages.
            seed: seed of the assignment.

        Returns:
            The folds of the tracks with a label.

        Raises:
            InputError: if a group is missing, if there are fewer groups than folds or than three, if a class occurs in
                one group only, or if the labels do not vary.
        """
        used = (tracks["split"] == "test").to_numpy() & labels.labeled.numpy()
        rows = [row for row in _sort_by_name(tracks) if used[row]]
        if not rows:
            raise InputError(f"labels: expected tracks with a label in column {column!r}, got none")
        names, groups = self._groups(tracks, np.array(rows))
        values = labels.values.numpy()[rows]
        strata = _make_strata(values, labels)
        _check_variation(values, labels, column)
        count = self._count(len(names), column)
        if labels.kind != "number":
            self._check_classes(strata, names, groups, labels, column)
        for attempt in range(_ATTEMPTS):
            fold = assign_folds(groups, strata, count, np.random.default_rng([seed, attempt]))
            if labels.kind == "number" or (_occurrences(strata, fold) != 1).all():
                break
        else:
            raise InputError(
                f"folds: expected the groups of each class of column {column!r} in two folds, which {count} folds do "
                "not allow; use more folds, or merge the rare classes"
            )
        if labels.is_multi_hot and not defined_classes(values, fold).any():
            raise InputError(
                f"folds: expected a fold with and without some label of column {column!r}, got none, so that average "
                "precision is undefined; use fewer folds"
            )
        return Folds(np.array(rows), fold, groups, strata)

    def check(
        self,
        tracks: TrackTable,
        labels: Labels,
        column: str,
        seeds: Sequence[int] = (0,),
        label_fractions: Sequence[float] = (1.0,),
    ) -> None:
        """Raise InputError if the tracks cannot be cross-validated. No embeddings are needed.

        Args:
            tracks: as for `assign`.
            labels: as for `assign`.
            column: as for `assign`.
            seeds: seeds of the assignments.
            label_fractions: fractions of the labels of the training tracks that probes are fitted to.
        """
        usable = np.ones(len(tracks), dtype=bool)
        for seed in seeds:
            folds = self.assign(tracks, labels, column, seed)
            for fold in range(folds.count):
                train = folds.training_rows(fold, usable)
                for fraction in label_fractions:
                    kept = choose_training_rows(train, labels, fraction, seed)
                    folds.inner(kept, labels.values.numpy(), seed)

    def group_names(self, tracks: TrackTable) -> np.ndarray:
        """Return the name of the group of each track, (tracks,). A track without a group is its own group."""
        cells = self._cells(tracks)
        texts = [f"track {name}" if cell is None else cell for name, cell in zip(_names_of(tracks), cells, strict=True)]
        return np.array(texts)

    def _cells(self, tracks: TrackTable) -> list[str | None]:
        """Return the cells of the group column. Empty cells, and those of a column that is missing, are None."""
        column = self.group_by or "group"
        cells = format_cells(tracks[column]) if column in tracks else [None] * len(tracks)
        return [None if (cell or "").strip() == "" else cell for cell in cells]

    def _groups(self, tracks: TrackTable, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the names of the groups in alphabetical order, and the number of the group of each of the rows."""
        column = self.group_by or "group"
        if self.group_by is not None and self.group_by not in tracks:
            raise InputError(f"group_by: there is no column {column!r} among {', '.join(map(repr, tracks))}")
        if self.group_by is None and self.folds == LEAVE_ONE_OUT and column not in tracks:
            raise InputError("group_by: expected the name of a group column for folds=groups, got none")
        names, cells = _names_of(tracks), self._cells(tracks)
        missing = [row for row in rows if cells[row] is None]
        if missing and (self.group_by is not None or self.folds == LEAVE_ONE_OUT):
            raise InputError(
                f"group_by: expected a group in column {column!r} for each labeled track, got none for {len(missing)} "
                f"of {len(rows)}, such as {names[missing[0]]}; fill in the groups, or remove these tracks"
            )
        return np.unique(self.group_names(tracks)[rows], return_inverse=True)

    def _count(self, groups: int, column: str) -> int:
        """Return the number of folds, after checking that there are enough groups."""
        if groups < 3:
            raise InputError(
                f"folds: expected at least three groups of tracks with a label in column {column!r}, got {groups}; "
                "hyperparameters are selected on folds of the training groups"
            )
        count = groups if self.folds == LEAVE_ONE_OUT else int(self.folds)
        if count > groups:
            raise InputError(
                f"folds: expected at most {groups}, the number of groups of tracks with a label in column {column!r}, "
                f"got {count}"
            )
        return count

    def _check_classes(
        self, strata: np.ndarray, names: np.ndarray, groups: np.ndarray, labels: Labels, column: str
    ) -> None:
        """Raise InputError if a class occurs in a single group, because no probe could be trained and tested on it."""
        alone = np.flatnonzero(_occurrences(strata, groups) == 1)
        if len(alone):
            where = [str(names[groups[strata[:, number] > 0][0]]) for number in alone[:3]]
            listed = [f"{labels.names[number]!r} in {name!r}" for number, name in zip(alone, where, strict=False)]
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            by = f" of column {self.group_by!r}" if self.group_by else ""
            raise InputError(
                f"folds: expected each class of column {column!r} in at least two groups{by}, got one group for "
                f"{', '.join(listed)}{more}; merge or remove these classes, or choose other groups"
            )


def mark_cross_validated(tracks: TrackTable, splits: Sequence[str] = ()) -> TrackTable:
    """Return a table in which the tracks to cross-validate have the split "test", and the others "unused".

    Args:
        tracks: track table.
        splits: names of the splits whose tracks are cross-validated. They are required if the table has a column
            `split`, because cross-validation would otherwise use its test set. Without this column, all tracks are
            cross-validated.

    Raises:
        InputError: if there are splits but no column `split`, or the reverse, or if a split has no track.

    Examples:
        >>> import pandas as pd
        >>> table = TrackTable(pd.DataFrame({"path": ["a", "b", "c"], "split": ["train", "valid", "test"]}))
        >>> mark_cross_validated(table, ["train", "valid"])["split"].tolist()
        ['test', 'test', 'unused']
    """
    if "split" not in tracks:
        if len(splits):
            raise InputError(f"splits: expected a table with a column 'split', got none to choose {', '.join(splits)}")
        return tracks.assign(split="test")
    found = tracks["split"].fillna("train").astype(str)
    known = sorted(found.unique())
    if not len(splits):
        raise InputError(
            "splits: expected the names of the splits to cross-validate, because the table has a column 'split'; "
            f"pass {','.join(known)} to use all tracks, or leave test out to keep its tracks for later"
        )
    odd = sorted(set(splits) - set(known))
    if odd:
        raise InputError(f"splits: expected some of {', '.join(known)}, got {', '.join(odd)}")
    return tracks.assign(split=np.where(found.isin(list(splits)), "test", UNUSED))


def assign_folds(groups: np.ndarray, strata: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    r"""Assign each track to a fold, so that all tracks of a group are in the same fold.

    Groups are assigned one after another, the largest first and groups of equal size in random order. A group with
    \(c_s\) tracks of stratum s is assigned to the fold f with the smallest \(\sum_s n_{fs} c_s / N_s\), where
    \(n_{fs}\) is the number of tracks of the stratum that the fold already contains, and \(N_s\) is the number of all
    tracks of the stratum. The tracks of the whole table are one more stratum. This is a greedy minimization of the
    squares of \(n_{fs}\). No fold is empty if there are as many groups as folds.

    Args:
        groups: (tracks,) number of the group of each track.
        strata: (tracks, strata) 1 for each stratum that contains the track, else 0.
        count: number of folds.
        generator: random generator of the order of the groups.

    Returns:
        (tracks,) fold of each track, from 0.

    Examples:
        >>> strata = np.eye(2)[[0, 0, 1, 1]]
        >>> fold = assign_folds(np.arange(4), strata, 2, np.random.default_rng(0))
        >>> sorted(fold[:2].tolist()), sorted(fold[2:].tolist())
        ([0, 1], [0, 1])
    """
    _, group = np.unique(groups, return_inverse=True)
    counted = np.column_stack([strata, np.ones(len(strata))])
    sizes = np.zeros((group.max() + 1, counted.shape[1]))
    np.add.at(sizes, group, counted)
    fractions = sizes / np.maximum(sizes.sum(axis=0), 1)
    order = generator.permutation(len(sizes))
    filled, fold = np.zeros((count, sizes.shape[1])), np.empty(len(sizes), dtype=np.int64)
    for number in order[np.argsort(-sizes[order, -1], kind="stable")]:
        # Rounding makes equal sums equal, so that the choice does not depend on the order of floating-point operations.
        chosen = int((filled * fractions[number]).sum(axis=1).round(9).argmin())
        fold[number] = chosen
        filled[chosen] += sizes[number]
    return fold[group]


def _make_strata(values: np.ndarray, labels: Labels) -> np.ndarray:
    """Return the strata (tracks, strata) of labels: classes, or for numbers the quarters of each column."""
    if labels.kind == "class":
        return np.eye(len(labels.names))[values]
    if labels.is_multi_hot:
        return (values > 0).astype(float)
    inner = np.linspace(0, 1, _BINS + 1)[1:-1]
    columns = [np.eye(_BINS)[np.searchsorted(np.quantile(column, inner), column)] for column in values.T]
    return np.concatenate(columns, axis=1)


def _check_variation(values: np.ndarray, labels: Labels, column: str) -> None:
    varies = defined_classes(values).any() if labels.is_multi_hot else (values != values[:1]).any()
    if not varies:
        what = "different numbers" if labels.kind == "number" else "at least two classes"
        raise InputError(f"labels: expected {what} in column {column!r}, got one")


def _occurrences(strata: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Count the parts (groups or folds) that contain tracks of each stratum, as an array (strata,)."""
    return np.array([len(np.unique(parts[column > 0])) for column in strata.T])


def _names_of(tracks: TrackTable) -> list[str]:
    """Return a name for each track. In a table without paths and identifiers, it is the row number."""
    return (
        track_names(tracks) if "path" in tracks or "track_id" in tracks else [f"{row:09}" for row in range(len(tracks))]
    )


def _sort_by_name(tracks: TrackTable) -> list[int]:
    """Return the row numbers of the tracks, sorted by the names of the tracks."""
    names = _names_of(tracks)
    paths = tracks["path"].astype(str).tolist() if "path" in tracks else [""] * len(tracks)
    return sorted(range(len(tracks)), key=lambda row: (names[row], paths[row], row))
