"""Sampler of batches with a fixed number of items from each of several classes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Iterator

import torch
from torch import Tensor

from ssc_toolkit.checks import as_integer
from ssc_toolkit.samplers.base import NumberedBatchSampler, SampledIndex
from ssc_toolkit.samplers.label_budget import find_labeled_pairs
from ssc_toolkit.samplers.shuffled_cycle import ShuffledCycle
from ssc_toolkit.seeds import make_generator


class BalancedBatchSampler(NumberedBatchSampler):
    """Sampler of batches with `items_per_class` items from each of `classes_per_batch` classes.

    Classes are selected in random order, each once before any is selected again. The items of a class are drawn in the
    same way. A batch contains no item twice. If a class has fewer than `items_per_class` items, all of them are in the
    batch, and items of other classes complete the batch. With multi-hot labels, an item counts for each of its classes.
    Fewer items are then drawn for a class that already has items in the batch, and items of other classes complete the
    batch.

    Args:
        labels: class indices (items,) or multi-hot labels (items, classes) of all items.
        classes_per_batch: number of classes selected for the batch of one process. If there are fewer classes, some
            are selected more than once.
        items_per_class: number of items from each selected class.
        labeled: bool (items,), True where the labels are known. Other items are never drawn. None: all labels are
            known.
        seed: seed of all random choices.
        rank: index of this process, 0 to world_size - 1. Processes get different items in batch k.
        world_size: number of processes.
        steps: number of batches in an epoch. None: the number of labeled items divided by the number of items in the
            batches of all processes, rounded down, at least 1.

    Raises:
        ValueError: if a shape is invalid, a known class index is negative, or there are too few labeled items for a
            batch of all processes.
        TypeError: if the labels are not numbers, or the class indices are not integers.

    Examples:
        >>> labels = torch.tensor([0] * 50 + [1] * 5 + [2] * 5)
        >>> sampler = BalancedBatchSampler(labels, classes_per_batch=3, items_per_class=2)
        >>> labels[torch.tensor(sampler.batch(0))].sort().values.tolist()
        [0, 0, 1, 1, 2, 2]
    """

    def __init__(
        self,
        labels: Tensor,
        classes_per_batch: int,
        items_per_class: int,
        *,
        labeled: Tensor | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        steps: int | None = None,
    ) -> None:
        classes_per_batch = as_integer("classes_per_batch", classes_per_batch, 1)
        items_per_class = as_integer("items_per_class", items_per_class, 1)
        super().__init__(classes_per_batch * items_per_class, seed, rank, world_size, steps)
        seed, world_size = self.seed, self.world_size
        item, label = find_labeled_pairs(labels, labeled, "items")
        self.classes_per_batch = classes_per_batch
        self.items_per_class = items_per_class
        self._drawable = item.unique()
        if len(self._drawable) < self.batch_size * world_size:
            raise ValueError(
                f"labels: expected at least {self.batch_size * world_size} labeled items for a batch of all processes, "
                f"got {len(self._drawable)}"
            )
        by_label = torch.argsort(label, stable=True)
        names, counts = label[by_label].unique_consecutive(return_counts=True)
        self._pools = dict(zip(names.tolist(), item[by_label].split(counts.tolist()), strict=True))
        # Labels of all items, concatenated. The labels of an item end at its entry in `_ends`.
        self._labels = label.numpy()
        self._ends = torch.bincount(item, minlength=len(labels)).cumsum(0).numpy()
        self._turns = ShuffledCycle(names, classes_per_batch, seed, "classes", aligned=True)
        self._dealt: dict[int, ShuffledCycle] = {}
        # If each selection of a class is numbered, and each class has enough items that have no other class, processes
        # draw different items without computing the batches of other processes. A visit is a selection of a class.
        turns = classes_per_batch * world_size
        visits = -(-turns // len(names)) + 1
        # Maximum number of visits to a class in a batch, and whether it is the same in all batches.
        self._visits = visits - 1
        if turns % len(names) and world_size > 1 and len(names) > classes_per_batch:
            self._visits = min(world_size, visits)
        self._visits_are_even = self._visits == 1 or turns % len(names) == 0
        self._max_of_a_class = items_per_class * visits
        self._processes_are_apart = (
            (len(names) == classes_per_batch or len(names) >= 3 * classes_per_batch)
            and int(counts.min()) >= 3 * self._max_of_a_class
            and len(item) == len(self._drawable)
        )

    def batch(self, number: int) -> list[SampledIndex]:
        number = as_integer("number", number)
        taken: set[int] = set()
        items: list[int] = []
        # Exclude the items of processes with a lower rank.
        for rank in range(self.rank if self._processes_are_apart else 0, self.rank + 1):
            items = self._part(number * self.world_size + rank, taken)
            taken.update(items)
        return [SampledIndex(item, True) for item in items]

    def batches_of_a_pass(self) -> int:
        return max(1, len(self._drawable) // (self.batch_size * self.world_size))

    def settings(self) -> tuple[float | Tensor, ...]:
        return (
            self.classes_per_batch,
            self.items_per_class,
            torch.from_numpy(self._labels),
            torch.from_numpy(self._ends),
        )

    def _part(self, number: int, taken: Container[int]) -> list[int]:
        """Return the items of one process in a batch. None of them is in `taken`, the items of other processes.

        Args:
            number: index of the batch times the number of processes, plus the rank of the process.
            taken: dataset indices that are not drawn.
        """
        items: list[int] = []
        counts: Counter[int] = Counter()
        wanted: Counter[int] = Counter()
        turn = number * self.classes_per_batch
        for place, label in enumerate(self._classes(turn)):
            if place < self.classes_per_batch or not wanted[label]:
                wanted[label] += self.items_per_class
            lacking = min(wanted[label] - counts[label], self.batch_size - len(items))
            for item in self._deal(label, (turn + place) // len(self._pools), lacking, taken, items):
                items.append(item)
                counts.update(self._labels_of(item))
            if len(items) == self.batch_size:
                return items
        # Some classes are too small; fill the batch with other items.
        others = (item for item in self._any(number) if item not in taken and item not in items)
        return items + list(itertools.islice(_distinct(others), self.batch_size - len(items)))

    def _any(self, number: int) -> Iterator[int]:
        """Yield labeled items in a random order that depends on `number`. With many items, an item can be repeated."""
        generator = make_generator(self.seed, "any", number)
        pool, some = self._drawable, 2 * self.batch_size * self.world_size
        if len(pool) < 4 * some:
            yield from pool[torch.randperm(len(pool), generator=generator)].tolist()
            return
        while True:
            yield from pool[torch.randint(len(pool), (some,), generator=generator)].tolist()

    def _classes(self, turn: int) -> Iterator[int]:
        """Yield the classes of a batch, and then all classes in random order.

        `turn` is the index of the first class of the batch in the sequence of classes of all batches.
        """
        yield from self._turns[turn : turn + self.classes_per_batch]
        names = list(self._pools)
        order = torch.randperm(len(names), generator=make_generator(self.seed, "more classes", turn))
        yield from (names[place] for place in order.tolist())

    def _deal(
        self, label: int, round_number: int, count: int, taken: Container[int], items: Container[int]
    ) -> list[int]:
        """Return up to `count` items of the class `label` that are neither in `taken` nor in `items`.

        `round_number` counts how often the class was selected before.
        """
        if count <= 0:
            return []
        pool = self._pools[label]
        if label not in self._dealt:
            largest, aligned = self._max_of_a_class, False
            if len(pool) < 3 * largest:
                largest, aligned = self.items_per_class * self._visits, self._visits_are_even
            self._dealt[label] = ShuffledCycle(pool, largest, self.seed, f"class {label}", aligned)
        first = round_number * self.items_per_class
        last = first + min(2 * len(pool), 2 * self.batch_size * self.world_size)  # long enough to find unused items
        found: dict[int, None] = {}
        some = max(self.batch_size, 3 * self.items_per_class)
        for begin in range(first, last, some):
            for item in self._dealt[label][begin : min(begin + some, last)]:
                if item not in taken and item not in items:
                    found[item] = None
                if len(found) == count:
                    return list(found)
        return list(found)

    def _labels_of(self, item: int) -> list[int]:
        begin = self._ends[item - 1] if item else 0
        return self._labels[begin : self._ends[item]].tolist()


def _distinct(items: Iterable[int]) -> Iterator[int]:
    """Yield the given items in their order, each only once."""
    seen: set[int] = set()
    for item in items:
        if item not in seen:
            seen.add(item)
            yield item
