"""Options of the validation of a training, and the names of its measures."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.checks import check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.schema import suggest_name


@dataclass(frozen=True)
class Measure:
    """A measure of a training on its validation set.

    Attributes:
        is_higher_better: whether a higher value means a better encoder.
        needs_labels: whether the measure is computed from labels of the validation set.
    """

    is_higher_better: bool
    needs_labels: bool = False

    def is_better(self, value: float, other: float) -> bool:
        """Return whether `value` is better than the `other` value."""
        return value > other if self.is_higher_better else value < other


NEIGHBOR_AGREEMENT = "val_neighbor_agreement"
PROBE_SCORE = "val_probe_score"
MEASURES = {
    "val_loss": Measure(is_higher_better=False),
    "val_alignment": Measure(is_higher_better=False),
    "val_uniformity": Measure(is_higher_better=False),
    "val_effective_rank": Measure(is_higher_better=True),
    NEIGHBOR_AGREEMENT: Measure(is_higher_better=True, needs_labels=True),
    PROBE_SCORE: Measure(is_higher_better=True, needs_labels=True),
}
"""Measures by name. The names are those of the columns of `history.csv`."""


@dataclass(frozen=True, kw_only=True)
class ValidationOptions:
    """Validation on the tracks with the split "valid", best checkpoint and early stopping.

    Args:
        every: number of steps between validations; 0 for no validation. The last step is also validated.
        labels: label column of the measures that need labels; by default the first of `labels`. It may be a column that
            the training does not use.
        monitor: measure that selects the best checkpoint: val_loss, val_alignment, val_uniformity, val_effective_rank,
            val_neighbor_agreement or val_probe_score. By default, no best checkpoint is saved.
        patience: number of validations without an improvement of `monitor` after which the training stops; by default
            it does not stop early.
        max_tracks: maximum number of validation tracks, and of training tracks for the probe. The tracks are the same
            in each validation.
    """

    every: int = 50
    labels: str | None = None
    monitor: str | None = None
    patience: int | None = None
    max_tracks: int = 256

    def check(self) -> None:
        """Raise InputError for a value out of range, an unknown measure, or options that do not fit together."""
        check_integer("validation.every", self.every, 0)
        check_integer("validation.max_tracks", self.max_tracks, 2)
        if self.labels in MEASURES:
            raise InputError(
                f"validation.labels: expected a label column, got the measure {self.labels}; use validation.monitor"
            )
        if self.patience is not None:
            check_integer("validation.patience", self.patience, 1)
            if self.monitor is None:
                raise InputError("validation.patience: expected validation.monitor as well, got none")
        if self.monitor is None:
            return
        if self.monitor not in MEASURES:
            raise InputError(
                f"validation.monitor: expected one of {', '.join(MEASURES)}, got {self.monitor[:100]!r}"
                f"{suggest_name(self.monitor, MEASURES) or suggest_name(f'val_{self.monitor}', MEASURES)}"
            )
        if not self.every:
            raise InputError("validation.monitor: expected validation.every of at least 1 as well, got 0")
