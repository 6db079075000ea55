"""Batches whose labeled and unlabeled items are drawn from the same items."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssc_toolkit.samplers.shuffled_cycle import ShuffledCycle, is_among
from ssc_toolkit.seeds import make_generator


class SharedPool:
    """Batches of labeled and unlabeled items from one set of items (the pool), without repeated items in a batch.

    The batches divide passes over the pool. In each pass, every item is drawn once, either as labeled or as unlabeled.
    The smaller of these groups (the labeled items for a fraction up to 1/2) is drawn from a `ShuffledCycle` of the
    pool. The larger group of a pass contains all other items in random order. Only a batch that contains items of two
    passes could contain an item twice. Such items are moved within their pass. If the pool is smaller than three
    batches, this can be impossible, and other items replace them.

    Args:
        pool: dataset indices, (size,) int64, with size at least `batch_size`.
        batch_size: number of items in a batch.
        fraction: fraction of labeled items, 0 to 1.
        seed: seed of the shuffles.
    """

    def __init__(self, pool: Tensor, batch_size: int, fraction: float, seed: int) -> None:
        self._pool, self._size, self._seed = pool, batch_size, seed
        self._labeled_is_small = fraction <= 0.5
        self._fraction = min(fraction, 1 - fraction)
        # Maximum numbers of items in a batch from the smaller and the larger group.
        self._most = math.ceil(self._fraction * batch_size), batch_size - math.floor(self._fraction * batch_size)
        self._small = ShuffledCycle(pool, math.ceil(self._fraction * len(pool)), seed, "shared")
        self._large: dict[int, Tensor] = {}

    def batch(self, number: int) -> tuple[list[int], list[int]]:
        """Return the dataset indices of the labeled and of the unlabeled items in batch `number`, from 0."""
        first, last = number * self._size, (number + 1) * self._size
        small = self._small[self._small_before(first) : self._small_before(last)]
        large: list[int] = []
        for turn in range(first // len(self._pool), (last - 1) // len(self._pool) + 1):
            begin = turn * len(self._pool) - self._small_before(turn * len(self._pool))
            place = slice(max(0, first - self._small_before(first) - begin), last - self._small_before(last) - begin)
            large += self._pass(turn)[place].tolist()
        large = self._distinct(large, small, number)
        return (small, large) if self._labeled_is_small else (large, small)

    def _small_before(self, items: int) -> int:
        """Return how many of the first `items` items of all batches are from the smaller group.

        The smaller group are the labeled items if their fraction is at most 1/2, otherwise the unlabeled items.
        """
        # The small term prevents rounding errors from making a product such as 0.1 * 30 less than an integer.
        return math.floor(items * self._fraction + 1e-6)

    def _small_of(self, turn: int) -> Tensor:
        """Return the items of the smaller group (labeled or unlabeled) in pass `turn` over all items, from 0."""
        size = len(self._pool)
        return self._small.items(self._small_before(turn * size), self._small_before((turn + 1) * size))

    def _pass(self, turn: int) -> Tensor:
        """Return the items of the larger group (labeled or unlabeled) in pass `turn` over all items, counted from 0.

        The group does not begin with the last items of the previous pass.
        """
        if turn not in self._large:
            if len(self._large) > 1:
                del self._large[min(self._large)]
            body, tail = self._body_and_tail(turn)
            if turn > 0:
                recent = torch.cat([self._small_of(turn - 1)[-self._most[0] :], self._body_and_tail(turn - 1)[1]])
                is_recent = is_among(body, recent)
                body = torch.cat([body[~is_recent], body[is_recent]])
            self._large[turn] = torch.cat([body, tail])
        return self._large[turn]

    def _body_and_tail(self, turn: int) -> tuple[Tensor, Tensor]:
        """Return the larger group (labeled or unlabeled items) of pass `turn` in two parts: first and last items.

        None of the last items is among the first items of the smaller group of the next pass.
        """
        order = torch.randperm(len(self._pool), generator=make_generator(self._seed, "shared", "pass", turn))
        items = self._pool[order]
        items = items[~is_among(items, self._small_of(turn))]
        is_soon = is_among(items, self._small_of(turn + 1)[: self._most[0]])
        items = torch.cat([items[is_soon], items[~is_soon]])
        return items[: -self._most[1]], items[-self._most[1] :]

    def _distinct(self, large: list[int], small: list[int], number: int) -> list[int]:
        """Return the items `large` in batch `number`, with repeated items replaced by others.

        Of the labeled and the unlabeled items in the batch, `large` is the larger group, and `small` is the smaller
        one.
        """
        found = [item for item in dict.fromkeys(large) if item not in set(small)]
        if len(found) < len(large):
            used = {*found, *small}
            order = torch.randperm(len(self._pool), generator=make_generator(self._seed, "shared", "batch", number))
            others = (item for item in self._pool[order].tolist() if item not in used)
            found += [next(others) for _ in range(len(large) - len(found))]
        return found
