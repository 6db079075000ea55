"""Infinite sequence that repeats a set of items, each time in a new random order."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.seeds import make_generator


class ShuffledCycle:
    """Infinite sequence that repeats a set of items (the pool), from which any slice can be computed.

    The sequence consists of rounds. Each round contains every item once, in a new random order. Any `max_taken`
    successive items are all different or, if the pool has at most `max_taken` items, contain every item. The time to
    compute a slice does not depend on its position.

    Args:
        pool: dataset indices, (size,) int64.
        max_taken: maximum number of items that a batch takes from the sequence.
        seed: seed of the random orders.
        name: name of the sequence. Sequences with the same seed and different names have different orders.
        aligned: whether every batch takes exactly `max_taken` items, so that batch k begins at item k * max_taken.
    """

    def __init__(self, pool: Tensor, max_taken: int, seed: int, name: str, aligned: bool = False) -> None:
        self._pool = pool
        self._largest = max(1, max_taken)
        # If rounds end at the end of a batch, no batch contains items of two rounds.
        self._independent = aligned and len(pool) % self._largest == 0
        self._key = (seed, name)
        self._last_rounds: dict[int, Tensor] = {}

    def __getitem__(self, span: slice) -> list[int]:
        """Return the items `span.start` to `span.stop - 1` of the sequence as a list."""
        return self.items(span.start, span.stop).tolist()

    def items(self, first: int, last: int) -> Tensor:
        """Return the items `first` to `last - 1` of the sequence, (last - first,) int64."""
        size = len(self._pool)
        if first == last:
            return self._pool[:0]
        rounds = range(first // size, (last - 1) // size + 1)
        return torch.cat([self._round(turn)[max(first - turn * size, 0) : last - turn * size] for turn in rounds])

    def batch(self, first: int, last: int) -> list[int]:
        """Return the items `first` to `last - 1` of the sequence as one batch.

        The batch is shuffled again if there are fewer items than in two batches.
        """
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
        # The last items of the round keep their places, because the next round depends on them.
        reach = min(2 * self._largest, len(items) - self._largest)
        last = self._shuffled(number - 1)[-self._largest :]
        recent = is_among(items[:reach], last)
        again = items[:reach][recent]
        if len(items) < 3 * self._largest:
            # In the order of the previous round, each item is at least `largest` items after its last occurrence.
            again = last[is_among(last, again)]
        return torch.cat([items[:reach][~recent], again, items[reach:]])

    def _gradual(self, number: int) -> Tensor:
        """Return round `number` of the sequence for a pool with fewer items than two batches.

        In each round, some items of the previous round are moved to the end, and the others keep their order. The
        number of moved items is the size of the pool minus that of a batch, so no item moves to the front by more
        places than this. After all items have been moved, the order is a new random order.
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
    """Return a mask, bool (items,), True for items that are among `others`. All are integers of at least 0."""
    highest = max((int(values.max()) for values in (items, others) if len(values)), default=0)
    if highest > 16 * (len(items) + len(others)):
        return torch.isin(items, others)
    table = torch.zeros(highest + 1, dtype=torch.bool)  # faster than torch.isin, which sorts
    table[others] = True
    return table[items]
