"""Which pairs of anchors and contrasts there are, and what each of them counts for."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.losses.batch import Pairs, Rows, describe_pairs
from ssc_toolkit.losses.weighting import Weighting
from ssc_toolkit.targets import Target


class PairSettings(NamedTuple):
    """All that the loss depends on besides queries and keys.

    Attributes:
        anchors: what is known about the items of the queries.
        contrasts: what is known about the items of the keys.
        itself: the key that is the first query; query i is key i + itself. None: queries are not among the keys.
        target: weight of a pair of labeled rows.
        decoupled: whether the denominator leaves the positives out.
        label_weight: factor of the weights that labels give.
        ignored: bool (anchors' items, contrasts' items), True where a pair takes no part.
        weighting: of negatives and positives.
    """

    anchors: Rows
    contrasts: Rows
    itself: int | None
    target: Target
    decoupled: bool
    label_weight: float = 1.0
    ignored: Tensor | None = None
    weighting: Weighting = Weighting()

    def rows(self, start: int, stop: int) -> slice:
        """Rows of the anchors of some items."""
        return slice(start * self.anchors.views, stop * self.anchors.views)

    def describe(self, start: int, stop: int) -> Pairs:
        """Target weights and ignored pairs of the rows of some items, a row and itself included."""
        ignored = None if self.ignored is None else self.ignored[start:stop]
        return describe_pairs(self.anchors.part(start, stop), self.contrasts, self.target, self.label_weight, ignored)

    def weights_and_contrasts(self, start: int, stop: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Target weights, 0 for a row and itself, and which pairs are contrasts, each (rows, M)."""
        weights, ignored = self.describe(start, stop)
        is_contrast = torch.ones_like(weights, dtype=torch.bool) if ignored is None else ~ignored
        weights = weights.to(dtype)
        if self.itself is not None:
            rows = torch.arange(len(weights), device=weights.device) + start * self.anchors.views
            is_self = rows[:, None] + self.itself == torch.arange(weights.shape[1], device=weights.device)
            weights, is_contrast = weights.masked_fill(is_self, 0), is_contrast & ~is_self
        return weights, is_contrast

    def map(self, function: Callable[[Tensor], Tensor]) -> PairSettings:
        """A function of every tensor that describes pairs, in an order of its own."""
        return self._replace(
            anchors=self.anchors.map(function),
            contrasts=self.contrasts.map(function),
            ignored=None if self.ignored is None else function(self.ignored),
        )
