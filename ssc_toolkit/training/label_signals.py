"""Functions that create the labels and the target of a training from the user's options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit import targets
from ssc_toolkit.csv_files import split_rows
from ssc_toolkit.data import Labels, encode_labels
from ssc_toolkit.data.cells import Kind, format_cells
from ssc_toolkit.data.key_names import KEYS, key_number
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading
from ssc_toolkit.hashing import file_hash
from ssc_toolkit.options.targets import PROBABILITY_TARGETS, SignalOptions, TargetOptions, as_target
from ssc_toolkit.paths import user_path
from ssc_toolkit.targets import MaxTarget, SameClass, SharedLabels, SimilarityMatrix, Target, WeightedSum

_MULTI_HOT = ("SharedLabels", "LabelOverlap")
_KEY_NUMBERS = frozenset(map(str, range(len(KEYS))))
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


def encoded_columns(
    table: TrackTable, signals: Sequence[SignalOptions], validation: str | None, argument: str = "labels"
) -> dict[str, Labels]:
    """Encode the label signals of a table, and the column of the validation if it is not one of them.

    Args:
        table: track table.
        signals: label signals.
        validation: name of a signal, or of a column of classes, or None.
        argument: name of the option that gave the signals, for error messages.

    Returns:
        Labels of all rows by the name of the signal.

    Raises:
        InputError: as for `encode_labels`, or if a cell does not have the form that the target requires.
    """
    found = {signal.name: encode_signal(table, signal, argument) for signal in signals}
    if validation is not None and validation not in found:
        found[validation] = encode_labels(table, validation, "validation.labels")
    return found


def encode_signal(table: TrackTable, signal: SignalOptions, argument: str = "labels") -> Labels:
    """Encode the columns of a label signal in the form that its target requires. Arguments as for `encoded_columns`."""
    target = as_target(signal.target)
    column = signal.columns[0]
    if signal.has_numbers:
        labels = encode_labels(table, signal.columns, argument, kind="number")
        _check_numbers(labels, target, argument)
    elif target.name == "KeySimilarity":
        labels = _encode_keys(table, column, argument)
    elif target.name == "SimilarityMatrix":
        names, _ = read_matrix(target)
        labels = encode_labels(table, column, argument, kind="class", names=names)
    elif target.name is None:
        advice = "choose a target of numbers, such as target=TempoKernel for tempi or target=GaussianKernel"
        labels = _encode_classes(table, column, argument, None, advice)
    elif target.name in _MULTI_HOT:
        advice = "for probabilities, pass target.threshold, or several columns as one signal in the option signals"
        labels = _encode_classes(table, column, argument, "multi-hot", advice)
    else:
        labels = encode_labels(table, column, argument, kind="class")
    return labels if signal.mask is None else _masked(labels, table, signal.mask, signal.name)


def make_target(signals: Mapping[str, Labels], options: Sequence[SignalOptions], min_shared: int) -> Target:
    """Return the target of the loss, which computes the weights of pairs of tracks.

    Args:
        signals: labels by the name of the signal.
        options: options of the signals. Without a target, two tracks are positives if they have the same class or
            `min_shared` labels in common.
        min_shared: minimum number of common labels of positives, for columns with several labels per track.

    Raises:
        InputError: if `min_shared` is larger than the number of labels of every track.
    """
    by_default = {own.name: signals[own.name] for own in options if as_target(own.target).name is None}
    _check_min_shared(by_default, min_shared)
    made = {own.name: _make_one(signals[own.name], as_target(own.target), min_shared) for own in options}
    weights = {own.name: own.weight for own in options if own.weight is not None}
    if weights:
        found = WeightedSum({name: (target, weights[name]) for name, target in made.items()})
        return found if len(made) > 1 else _OneSignal(found, next(iter(made)))
    return MaxTarget(made) if len(made) > 1 else next(iter(made.values()), SameClass())


def hash_matrices(options: Sequence[SignalOptions]) -> dict[str, str]:
    """Return the hash of each file with a matrix of similarities, by the name of its signal with the prefix matrix."""
    found = {signal.name: as_target(signal.target).matrix for signal in options}
    return {f"matrix.{name}": file_hash(user_path(path, "target.matrix")) for name, path in found.items() if path}


def read_matrix(options: TargetOptions) -> tuple[list[str], Tensor]:
    """Read the file of a matrix of similarities, and return the names of its labels and the matrix (labels, labels).

    Raises:
        InputError: if the file cannot be read, or does not contain a square matrix of numbers from 0 to 1.
    """
    argument, advice = "target.matrix", "write a square matrix of numbers from 0 to 1"
    path = user_path(options.matrix or "", argument)
    with reading(argument, path, advice):
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
            names = list(map(str, range(len(values))))
        else:
            names, values = _read_csv_matrix(path)
        matrix = torch.tensor(np.asarray(values, dtype=np.float32))
        SimilarityMatrix(matrix)
    return names, matrix


class _OneSignal(Target):
    """Target of a single tensor of labels that calls a target of a dict with one signal."""

    def __init__(self, target: Target, name: str) -> None:
        super().__init__()
        self.target = target
        self.name = name

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.forward_in(rows, columns, torch.float32)

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        return self.target.forward_in({self.name: rows}, {self.name: columns}, dtype)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        self.target.check({self.name: labels}, labeled)


class _OneColumn(Target):
    """Target of numbers (items, 1) that calls a target of numbers (items,)."""

    def __init__(self, target: Target) -> None:
        super().__init__()
        self.target = target

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.target(rows[:, 0], columns[:, 0])

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        return self.target.forward_in(rows[:, 0], columns[:, 0], dtype)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        self.target.check(labels[:, 0], labeled)


def _make_one(labels: Labels, options: TargetOptions, min_shared: int) -> Target:
    if options.name is None:
        return SharedLabels(min_shared) if labels.is_multi_hot else SameClass()
    if options.name == "SimilarityMatrix":
        return SimilarityMatrix(read_matrix(options)[1])
    if options.name == "SharedLabels":
        _check_minimum(labels, options)
    made: Target = getattr(targets, options.name)(**options.given)
    return _OneColumn(made) if options.name == "TempoKernel" else made


def _check_minimum(labels: Labels, options: TargetOptions) -> None:
    """Raise InputError if no track has as many labels as the positives of `SharedLabels` must have in common."""
    least = options.minimum or 1
    most = int((labels.values >= (options.threshold or 1)).sum(dim=1).max())
    if most == 0 and options.threshold is not None:
        highest = labels.values[labels.labeled].max().item()
        raise InputError(
            f"target.threshold: expected at most {highest:g}, the highest probability, got {options.threshold:g}"
        )
    if least > most:
        raise InputError(
            f"target.minimum: expected at most {most}, the highest number of labels of a track, got {least}"
        )


def _check_min_shared(signals: Mapping[str, Labels], min_shared: int) -> None:
    many = [signal for signal in signals.values() if signal.is_multi_hot]
    if min_shared > 1 and not many:
        found = f"a track has one label in column {next(iter(signals))!r}" if signals else "there are no labels"
        raise InputError(f"min_shared: expected 1 because {found}, got {min_shared}")
    most = max((int(signal.values.sum(dim=1).max()) for signal in many), default=1)
    if min_shared > most:
        raise InputError(
            f"min_shared: expected at most {most}, the highest number of labels of a track, got {min_shared}"
        )


def _encode_classes(table: TrackTable, column: str, argument: str, kind: Kind | None, advice: str) -> Labels:
    """Encode a column of classes. The error for a column of real numbers ends with `advice`."""
    try:
        return encode_labels(table, column, argument, kind=kind)
    except InputError as error:
        if "real numbers" not in str(error):
            raise
        raise InputError(
            f"{argument}: column {column!r} contains real numbers, which have no classes; {advice}"
        ) from error


def _encode_keys(table: TrackTable, column: str, argument: str) -> Labels:
    """Encode a column of musical keys as tonics in semitones above C, plus 12 for minor keys.

    A cell is the name of a key, such as "A minor", or its number from 0 to 23.
    """
    if column not in table:
        return encode_labels(table, column, argument)  # raises the error
    numbers = []
    for text in format_cells(table[column]):
        number = None if text is None or not text.strip() else _number_of_key(text.strip())
        if number is None and text is not None and text.strip():
            raise InputError(
                f"{argument}: expected musical keys, such as 'A minor', in column {column!r} with KeySimilarity, got "
                f"{text[:100]!r}"
            )
        numbers.append(-1 if number is None else number)
    values = torch.tensor(numbers, dtype=torch.int64)
    labeled = values >= 0
    if not labeled.any():
        raise InputError(f"{argument}: no row of column {column!r} has a label; fill in some, or leave {argument} out")
    return Labels(values.clamp(min=0), labeled, KEYS, "class")


def _number_of_key(text: str) -> int | None:
    return int(text) if text in _KEY_NUMBERS else key_number(text)


def _check_numbers(labels: Labels, options: TargetOptions, argument: str) -> None:
    known = labels.values[labels.labeled]
    names = ", ".join(map(repr, labels.names))
    if options.name == "TempoKernel" and not bool((known > 0).all()):
        raise InputError(
            f"{argument}: expected tempi above 0 in column {names} with TempoKernel, got {known.min().item():g}"
        )
    if options.name in PROBABILITY_TARGETS:
        _check_probabilities(known, labels.names, options, argument)


def _check_probabilities(known: Tensor, names: Sequence[str], options: TargetOptions, argument: str) -> None:
    """Raise InputError unless the values are from 0 to 1, and 0 or 1 for `SharedLabels` without a threshold."""
    must_be_tags = options.name == "SharedLabels" and options.threshold is None
    odd = (known != 0) & (known != 1) if must_be_tags else (known < 0) | (known > 1)
    if odd.any():
        row, place = odd.nonzero()[0].tolist()
        expected = "0 or 1" if must_be_tags else "probabilities from 0 to 1"
        advice = "; for probabilities, pass target.threshold" if must_be_tags else ""
        raise InputError(
            f"{argument}: expected {expected} in column {names[place]!r} with {options.name}, got "
            f"{known[row, place].item():g}{advice}"
        )


def _masked(labels: Labels, table: TrackTable, mask: str, name: str) -> Labels:
    """Return labels that are unknown where the column `mask` is false or empty."""
    if mask not in table:
        raise InputError(f"signals {name!r}: mask: there is no column {mask!r} among {', '.join(map(repr, table))}")
    used = []
    for cell in table[mask]:
        text = "" if pd.isna(cell) else format_cells([cell])[0]
        lowered = (text or "").strip().lower()
        if lowered and lowered not in _TRUE | _FALSE:
            raise InputError(
                f"signals {name!r}: mask: expected true or false in column {mask!r}, got {lowered[:100]!r}"
            )
        used.append(lowered in _TRUE)
    labeled = labels.labeled & torch.tensor(used)
    if not labeled.any():
        raise InputError(f"signals {name!r}: mask: no row with a label is true in column {mask!r}")
    return Labels(labels.values, labeled, labels.names, labels.kind)


def _read_csv_matrix(path: Path) -> tuple[list[str], np.ndarray]:
    """Read a CSV file with the names of the labels in the first row and, in the same order, in the first column."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [cells for _, cells in split_rows(file) if cells]
    names = [cell.strip() for cell in rows[0][1:]]
    if [cells[0].strip() for cells in rows[1:]] != names or len(set(names)) < len(names):
        raise ValueError("the names in the first row and in the first column differ, or a name occurs twice")
    if any(len(cells) != len(names) + 1 for cells in rows):
        raise ValueError("its rows have different numbers of cells")
    return names, np.array([[float(cell) for cell in cells[1:]] for cells in rows[1:]])
