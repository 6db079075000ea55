"""Options of the label signals of a training and of their targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ssc_toolkit.checks import check_bool, check_choice, check_fraction, check_integer, check_positive
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.names import TARGETS
from ssc_toolkit.paths import missing_hint, user_path

TargetName: TypeAlias = Literal[
    "SameClass",
    "SharedLabels",
    "LabelOverlap",
    "TaggramCosine",
    "GaussianKernel",
    "TempoKernel",
    "KeySimilarity",
    "SimilarityMatrix",
]
PROBABILITY_TARGETS = ("SharedLabels", "LabelOverlap", "TaggramCosine")
"""Names of the targets that accept several columns, with a probability of a class in each."""
NUMBER_TARGETS = ("TaggramCosine", "GaussianKernel", "TempoKernel")
"""Names of the targets whose labels are always numbers."""
MATRIX_SUFFIXES = (".npy", ".csv")
"""Ends of the names of the files that contain a matrix of similarities."""


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """Target of a label column and arguments of its class. None: the default of the class.

    Each target accepts some of the arguments. `ssc_toolkit.targets` describes them.

    Args:
        name: target: SameClass, SharedLabels, LabelOverlap, TaggramCosine, GaussianKernel, TempoKernel, KeySimilarity
            or SimilarityMatrix. By default, SameClass for a column with one class in each cell, and SharedLabels for a
            column with several.
        minimum: number of labels that two tracks must have in common, for SharedLabels.
        measure: "dice" or "jaccard", for LabelOverlap.
        threshold: smallest probability of a label that a track has, for SharedLabels and LabelOverlap. With it, the
            cells of a column are probabilities of one class.
        bandwidth: standard deviation of the kernel in units of the column, for GaussianKernel, which requires it.
        bandwidth_octaves: standard deviation of the kernel in octaves, for TempoKernel.
        octave_blind: whether a tempo counts as equal to its half and its double, for TempoKernel.
        kernel: "mirex" or "fifths", for KeySimilarity.
        bandwidth_fifths: standard deviation of the kernel "fifths" in steps on the circle of fifths, for KeySimilarity.
        matrix: file with the weights of all pairs of labels, for SimilarityMatrix, which requires it. A CSV file has
            the names of the labels in the first row and in the first column. For a file .npy of NumPy, the labels are
            the numbers of the rows, which start at 0.

    Examples:
        >>> TargetOptions(name="TempoKernel", octave_blind=True).given
        {'octave_blind': True}
    """

    name: TargetName | None = None
    minimum: int | None = None
    measure: Literal["dice", "jaccard"] | None = None
    threshold: float | None = None
    bandwidth: float | None = None
    bandwidth_octaves: float | None = None
    octave_blind: bool | None = None
    kernel: Literal["mirex", "fifths"] | None = None
    bandwidth_fifths: float | None = None
    matrix: str | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Arguments of the class of the target that are not None, by name."""
        return {name: value for name, value in asdict(self).items() if name != "name" and value is not None}

    def check(self, argument: str = "target") -> None:
        """Raise InputError if a value is invalid, or if the target does not accept an argument or requires another.

        `argument` is the name of the option for the message.
        """
        if self.name is None:
            if self.given:
                raise InputError(f"{argument}.{next(iter(self.given))}: expected {argument}.name as well, got none")
            return
        check_choice(argument, self.name, TARGETS)
        accepted = TARGETS[self.name]
        for name, value in self.given.items():
            own = f"{argument}.{name}"
            if name not in accepted:
                arguments = f" ({', '.join(accepted)})" if accepted else ", which has none"
                raise InputError(f"{own}: expected an argument of {self.name}{arguments}, got {name}")
            _check_argument(own, name, value)
        for target, required in (("GaussianKernel", "bandwidth"), ("SimilarityMatrix", "matrix")):
            if self.name == target and required not in self.given:
                raise InputError(f"{argument}.{required}: expected a value with {target}, got none")
        if self.bandwidth_fifths is not None and self.kernel != "fifths":
            raise InputError(f"{argument}.bandwidth_fifths: expected {argument}.kernel=fifths as well, got another")


@dataclass(frozen=True, kw_only=True)
class SignalOptions:
    """Label signal of a training: the columns of its labels, its target, and its weight.

    Args:
        column: label column. Several columns of numbers are one signal, whose label is a vector, such as the columns
            with the probabilities that `ssc-toolkit tag` writes.
        target: target of the signal, and arguments of its class.
        weight: weight of the signal, above 0. Either all signals have a weight, whose sum is at most 1, or none. With
            weights, the weight of a pair of tracks is the weighted sum over the signals. Without, it is the maximum.
        mask: column that states for each track whether the label is used: true or false, 1 or 0. An empty cell means
            false. By default, all labels are used.

    Examples:
        >>> kernel = TargetOptions(name="GaussianKernel", bandwidth=0.1)
        >>> SignalOptions(column=("valence", "arousal"), target=kernel).name
        'valence+arousal'
    """

    column: tuple[str, ...] | str
    target: TargetName | TargetOptions | None = None
    weight: float | None = None
    mask: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return (self.column,) if isinstance(self.column, str) else tuple(self.column)

    @property
    def name(self) -> str:
        """Name of the signal, which consists of the names of its columns."""
        return "+".join(self.columns)

    @property
    def has_numbers(self) -> bool:
        """Whether the cells of the columns are numbers, such as the probability of one class in each column."""
        target = as_target(self.target)
        return target.name in NUMBER_TARGETS or target.threshold is not None or len(self.columns) > 1

    def check(self, argument: str = "signals") -> None:
        """Raise InputError if a value is invalid. `argument` is the name of the option for the message."""
        if not self.columns or not all(self.columns) or len(set(self.columns)) < len(self.columns):
            raise InputError(f"{argument}: expected a column or different columns, got {self.column!r:.100}")
        target = as_target(self.target)
        target.check(f"{argument} {self.name!r}: target")
        if self.weight is not None:
            check_positive(f"{argument} {self.name!r}: weight", self.weight)
        self.check_columns(f"{argument} {self.name!r}")

    def check_columns(self, argument: str) -> None:
        """Raise InputError if the target does not accept the number of columns."""
        target, accepted = as_target(self.target).name, (*PROBABILITY_TARGETS, "GaussianKernel")
        if len(self.columns) > 1 and target not in accepted:
            raise InputError(
                f"{argument}: expected target {', '.join(accepted[:-1])} or {accepted[-1]} with several columns of "
                f"numbers, got {target or 'none'}"
            )
        if len(self.columns) == 1 and target == "TaggramCosine":
            raise InputError(
                f"{argument}: expected several columns of probabilities with TaggramCosine, got {self.name!r}; pass "
                "all columns as one signal in the option signals"
            )


def as_target(target: str | TargetOptions | None) -> TargetOptions:
    """Return options of a target, of which a text is the option `name`."""
    return target if isinstance(target, TargetOptions) else TargetOptions(name=target)  # type: ignore[arg-type]


def check_signals(signals: Sequence[SignalOptions]) -> None:
    """Raise InputError if a signal is invalid, a column is in two signals, or the weights do not fit together."""
    for signal in signals:
        if not isinstance(signal, SignalOptions):
            raise InputError(f"signals: expected SignalOptions, got {type(signal).__name__}")
        signal.check()
    columns = [column for signal in signals for column in signal.columns]
    if len(set(columns)) < len(columns):
        raise InputError(f"signals: expected each column in one signal, got {', '.join(columns)}")
    weights = [signal.weight for signal in signals if signal.weight is not None]
    if weights and len(weights) < len(signals):
        raise InputError("signals: expected a weight for all signals or for none, got weights for some")
    if sum(weights) > 1 + 1e-6:
        raise InputError(f"signals: expected weights whose sum is at most 1, got {', '.join(map(str, weights))}")


def plain_target(target: str | TargetOptions | None) -> dict[str, Any] | None:
    """Return the options of a target that are not None, or None if there are none."""
    own = as_target(target)
    return None if own.name is None else {"name": own.name, **own.given}


def plain_signals(signals: Sequence[SignalOptions]) -> list[dict[str, Any]]:
    """Return the options of signals that are not None, as plain data."""
    found = []
    for signal in signals:
        own: dict[str, Any] = {"column": list(signal.columns), "target": plain_target(signal.target)}
        own |= {"weight": signal.weight, "mask": signal.mask}
        found.append({name: value for name, value in own.items() if value is not None})
    return found


def _check_argument(argument: str, name: str, value: Any) -> None:
    if name == "minimum":
        check_integer(argument, value, 1)
    elif name == "octave_blind":
        check_bool(argument, value)
    elif name == "threshold":
        check_fraction(argument, value, allow_zero=False)
    elif name == "measure":
        check_choice(argument, value, ("dice", "jaccard"))
    elif name == "kernel":
        check_choice(argument, value, ("mirex", "fifths"))
    elif name == "matrix":
        _check_matrix(argument, value)
    else:
        check_positive(argument, value)


def _check_matrix(argument: str, matrix: Any) -> None:
    if not isinstance(matrix, str) or Path(matrix).suffix.lower() not in MATRIX_SUFFIXES:
        raise InputError(f"{argument}: expected a file {' or '.join(MATRIX_SUFFIXES)}, got {matrix!r:.200}")
    path = user_path(matrix, argument)
    if not path.is_file():
        raise InputError(f"{argument}: there is no file {path}{missing_hint(path) or ''}")
