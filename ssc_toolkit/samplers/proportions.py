"""Infinite sequence that draws from several sets of items in fixed proportions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from ssc_toolkit.samplers.shuffled_cycle import ShuffledCycle


class ProportionedCycles:
    """Infinite sequence of items of several sets (pools), each of which contributes a fixed fraction.

    Of the first n items, the number from each pool differs from its fraction of n by less than the number of pools. The
    items of a pool are those of a `ShuffledCycle`.

    Args:
        pools: dataset indices of each pool, (size,) int64. No pool is empty.
        fractions: fraction of each pool, above 0. Their sum is 1.
        max_taken: maximum number of items that a batch takes from the sequence.
        seed: seed of the random orders.
        name: name of the sequence, as for `ShuffledCycle`.
    """

    def __init__(
        self, pools: Sequence[Tensor], fractions: Sequence[float], max_taken: int, seed: int, name: str
    ) -> None:
        # Each pool gets its fraction of the items that the previous pools leave, so that no count ever decreases.
        self._fractions = [own / sum(fractions[number:]) for number, own in enumerate(fractions)]
        self._cycles = [
            ShuffledCycle(pool, min(max_taken, math.ceil(own * max_taken) + 1 + number), seed, f"{name} {number}")
            for number, (pool, own) in enumerate(zip(pools, fractions, strict=True))
        ]

    def batch(self, first: int, last: int) -> list[int]:
        """Return the items `first` to `last - 1` of the sequence as one batch, in the order of the pools."""
        spans = zip(self._cycles, self._counts(first), self._counts(last), strict=True)
        return [item for cycle, begin, end in spans for item in cycle.batch(begin, end)]

    def _counts(self, count: int) -> list[int]:
        """Return the number of items from each pool among the first `count` items."""
        found = []
        for fraction in self._fractions:
            found.append(math.floor(count * fraction + 1e-6))
            count -= found[-1]
        return found
