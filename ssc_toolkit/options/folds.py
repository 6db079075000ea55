"""Options of cross-validation, which `probe` and `compare` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.names import FINETUNE, LEAVE_ONE_OUT
from ssc_toolkit.options.tracks import TrackSource


@dataclass(frozen=True, kw_only=True)
class CrossValidatedSource(TrackSource):
    """Source of a track table whose tracks can be cross-validated.

    Args:
        folds: number of folds of cross-validation, or "groups" for one fold per group. Each track is then a test track
            once. By default, the splits of the table are used.
        group_by: name of the column with the group of each track, such as its artist, for cross-validation. All tracks
            of a group are in the same fold. The default is the column `group`. Without it, each track is its own group.
        splits: names of the splits whose tracks are cross-validated, such as train,valid. Required with `folds` if the
            table has a column `split`.
    """

    folds: int | Literal["groups"] | None = None
    group_by: str | None = None
    splits: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InputError if the options of cross-validation or of the tracks are invalid."""
        if self.folds is None:
            for name, value in (("group_by", self.group_by), ("splits", ",".join(self.splits))):
                if value:
                    raise InputError(f"{name}: expected folds to use it with, got {value} without folds")
        elif self.folds != LEAVE_ONE_OUT:
            check_integer("folds", self.folds, 2)
        if self.folds is not None and FINETUNE in getattr(self, "methods", ()):
            raise InputError(
                f"methods: {FINETUNE} expected a table with splits, got folds={self.folds}; cross-validation fits "
                "probes to embeddings that are computed once, and trains no encoder for each fold"
            )
        super().check()
