"""Pairs of anchors and contrasts with their target weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.losses.batch import Pairs, Rows, describe_pairs
from ssc_toolkit.losses.settings import LossSettings


class PairSettings(NamedTuple):
    """Labels of anchors and contrasts, and settings of the loss.

    The embeddings of the anchors are called queries and those of the contrasts keys.

    Attributes:
        anchors: rows of the queries, with ids, labels and masks of their items.
        contrasts: rows of the keys, with ids, labels and masks of their items.
        itself: index of the first query among the keys. Query i is then the key `i + itself`. None: the queries are not
            among the keys.
        settings: settings of the loss.
        ignored: bool (items of the anchors, items of the contrasts), True where a pair of items is ignored. None: no
            pair is ignored.
    """

    anchors: Rows
    contrasts: Rows
    itself: int | None
    settings: LossSettings
    ignored: Tensor | None = None

    def rows(self, start: int, stop: int) -> slice:
        """Return the slice of the queries that belong to the items `start` to `stop - 1` of the anchors."""
        return slice(start * self.anchors.views, stop * self.anchors.views)

    def describe(self, start: int, stop: int) -> Pairs:
        """Compute target weights and ignored pairs of the R views of items `start` to `stop - 1` of the anchors.

        Both are (R, M) for M contrasts.
        """
        ignored = None if self.ignored is None else self.ignored[start:stop]
        target, label_weight = self.settings.target, self.settings.label_weight
        return describe_pairs(self.anchors.part(start, stop), self.contrasts, target, label_weight, ignored)

    def weights_and_contrasts(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Compute target weights, and a mask that is False for ignored pairs and for pairs of a view with itself.

        Both have one row for each view of the items `start` to `stop - 1` of the anchors, and one column for each
        contrast. The pair of a view with itself has weight 0.
        """
        weights, ignored = self.describe(start, stop)
        is_contrast = torch.ones_like(weights, dtype=torch.bool) if ignored is None else ~ignored
        weights = weights.to(dtype)
        if self.itself is not None:
            rows = torch.arange(len(weights), device=weights.device) + start * self.anchors.views
            is_self = rows[:, None] + self.itself == torch.arange(weights.shape[1], device=weights.device)
            weights, is_contrast = weights.masked_fill(is_self, 0), is_contrast & ~is_self
        return weights, is_contrast

    def map(self, function: Callable[[Tensor], Tensor]) -> PairSettings:
        """Return a copy in which `function` was applied to all ids, labels and masks, always in the same order."""
        return self._replace(
            anchors=self.anchors.map(function),
            contrasts=self.contrasts.map(function),
            ignored=None if self.ignored is None else function(self.ignored),
        )
