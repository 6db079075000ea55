"""Endless shuffled rounds through a pool."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.seeds import generator_for


class Rounds:
    """An endless sequence of shuffled rounds through a pool, of which any slice can be computed.

    The first items of a round are none of the last ones of the round before, so that a batch in which
    one round ends and the next begins has no item twice. A pool too small for that deals
    each batch from a shuffle of its own.

    Args:
        pool: what is dealt.
        largest: most items that a batch takes.
        seed, name: of the shuffles.
    """

    def __init__(self, pool: Tensor, largest: int, seed: int, name: str) -> None:
        self._pool = pool
        self._largest = largest
        self._key = (seed, name)
        self._last_rounds: dict[int, Tensor] = {}

    def __getitem__(self, span: slice) -> list[int]:
        first, last = span.start, span.stop
        size = len(self._pool)
        if first == last:
            return []
        if size < 3 * self._largest:
            rounds = [self._shuffled("batch", first, i) for i in range(-(-(last - first) // size))]
            return torch.cat(rounds)[: last - first].tolist()
        dealt: list[int] = []
        for number in range(first // size, (last - 1) // size + 1):
            begin = number * size
            dealt += self._round(number)[max(first - begin, 0) : last - begin].tolist()
        return dealt

    def _round(self, number: int) -> Tensor:
        if number not in self._last_rounds:
            if len(self._last_rounds) > 1:
                del self._last_rounds[min(self._last_rounds)]
            self._last_rounds[number] = self._make_round(number)
        return self._last_rounds[number]

    def _make_round(self, number: int) -> Tensor:
        items = self._shuffled("round", number)
        if number == 0:
            return items
        # Only the first two thirds are reordered: the end, which the next round looks at, stays.
        reach = 2 * self._largest
        recent = torch.isin(items[:reach], self._shuffled("round", number - 1)[-self._largest :])
        return torch.cat([items[:reach][~recent], items[:reach][recent], items[reach:]])

    def _shuffled(self, *key: int | str) -> Tensor:
        return self._pool[torch.randperm(len(self._pool), generator=generator_for(*self._key, *key))]
