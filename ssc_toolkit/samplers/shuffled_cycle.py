"""Infinite sequence of shuffled passes over a pool of items."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.seeds import make_generator


class ShuffledCycle:
    """Infinite sequence of shuffled rounds over a pool, with random access to slices.

    Each round contains every item of the pool once, so that after any number of items, the counts of two items differ
    by at most one. `max_taken` successive items contain no item twice; if the pool is not larger than that, they
    contain every item. The time to compute a slice does not depend on its position.

    Args:
        pool: the items, (size,) int64.
        max_taken: maximum number of items that a batch takes.
        seed: seed of the shuffles.
        name: name that distinguishes the shuffles of several pools with the same seed.
        aligned: whether every batch takes exactly `max_taken` items, so that batches begin at multiples of it.
    """

    def __init__(self, pool: Tensor, max_taken: int, seed: int, name: str, aligned: bool = False) -> None:
        self._pool = pool
        self._largest = max(1, max_taken)
        # If rounds end at the end of a batch, no batch contains items of two rounds.
        self._independent = aligned and len(pool) % self._largest == 0
        self._key = (seed, name)
        self._last_rounds: dict[int, Tensor] = {}

    def __getitem__(self, span: slice) -> list[int]:
        """Return the items `start` to `stop` of the sequence."""
        return self.items(span.start, span.stop).tolist()

    def items(self, first: int, last: int) -> Tensor:
        """Return the items `first` to `last` of the sequence, (last - first,) int64."""
        size = len(self._pool)
        if first == last:
            return self._pool[:0]
        rounds = range(first // size, (last - 1) // size + 1)
        return torch.cat([self._round(turn)[max(first - turn * size, 0) : last - turn * size] for turn in rounds])

    def batch(self, first: int, last: int) -> list[int]:
        """Return the items `first` to `last` as one batch, in an order that is independent of that of the rounds."""
        dealt = self[first:last]
        if len(self._pool) >= 2 * self._largest:
            return dealt
        order = torch.randperm(len(dealt), generator=make_generator(*self._key, "batch", first))
        return [dealt[place] for place in order.tolist()]

    def _round(self, number: int) -> Tensor:
        if number not in self._last_rounds:
            if len(self._last_rounds) > 1:
                del self._last_rounds[min(self._last_rounds)]
            self._last_rounds[number] = self._make_round(number)
        return self._last_rounds[number]

    def _make_round(self, number: int) -> Tensor:
        if self._independent and len(self._pool) < 3 * self._largest:
            return self._shuffled(number)
        if len(self._pool) < 2 * self._largest:
            return self._gradual(number)
        items = self._shuffled(number)
        if number == 0:
            return items
        # The last items keep their places, because the next round depends on them.
        reach = min(2 * self._largest, len(items) - self._largest)
        last = self._shuffled(number - 1)[-self._largest :]
        recent = is_among(items[:reach], last)
        again = items[:reach][recent]
        if len(items) < 3 * self._largest:
            # In the order of the previous round, each repeats at least `largest` items after its last occurrence.
            again = last[is_among(last, again)]
        return torch.cat([items[:reach][~recent], again, items[reach:]])

    def _gradual(self, number: int) -> Tensor:
        """Return a round of a pool smaller than two batches. In each round, `spare` items are moved to the end.

        No item is more than `spare` places earlier than in the previous round. After enough rounds, all items have been
        moved, and the order is that of a new shuffle.
        """
        spare = len(self._pool) - self._largest
        if spare <= 0:
            return self._shuffled(0)
        shuffle, moves = divmod(number, -(-len(self._pool) // spare))
        items, moved = self._shuffled(shuffle), self._shuffled(shuffle + 1)[: moves * spare]
        return torch.cat([items[~is_among(items, moved)], moved])

    def _shuffled(self, number: int) -> Tensor:
        return self._pool[torch.randperm(len(self._pool), generator=make_generator(*self._key, "round", number))]


def is_among(items: Tensor, others: Tensor) -> Tensor:
    """Return which of the items (N,) are among the others, integers of at least 0; (N,) bool."""
    highest = max((int(values.max()) for values in (items, others) if len(values)), default=0)
    if highest > 16 * (len(items) + len(others)):
        return torch.isin(items, others)
    table = torch.zeros(highest + 1, dtype=torch.bool)  # faster than torch.isin, which sorts
    table[others] = True
    return table[items]
