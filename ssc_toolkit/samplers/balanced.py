"""Batches of so many items each of several classes."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Iterator

import torch
from torch import Tensor

from ssc_toolkit.samplers.batches import NumberedBatchSampler, SampledIndex
from ssc_toolkit.samplers.membership import labelled_pairs
from ssc_toolkit.samplers.rounds import Rounds
from ssc_toolkit.seeds import generator_for, whole_number


class BalancedBatchSampler(NumberedBatchSampler):
    """Batches of m items each of several classes.

    Classes are gone through in shuffled rounds, and so are the items of each class. With multi-hot labels an item
    counts for every class that it has: a class whose turn it is gets as many new items as it lacks, and further
    classes fill the batch. No item comes twice in a batch while a class has others; a class of fewer than m items
    gives what it has.

    Args:
        labels: of all items, classes (items,) or multi-hot (items, classes).
        classes_per_batch: classes whose turn it is in the batch of one process; where there are fewer, some have more
            than one turn.
        items_per_class: m.
        labeled: (items,) bool, where the labels are known; everywhere by default. The others are never drawn.
        seed: of everything that is drawn.
        rank: number of this process; each process gets its own part of batch k, without overlap.
        world_size: number of processes.
        steps: batches of an epoch; by default as many as hold the number of items.

    Raises:
        ValueError: for labels of another shape, a negative class where it is known, or too few items to fill a batch.
        TypeError: for labels that are no numbers, or classes that are not whole ones.

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
        classes_per_batch = whole_number("classes_per_batch", classes_per_batch)
        items_per_class = whole_number("items_per_class", items_per_class)
        for name, count in (("classes_per_batch", classes_per_batch), ("items_per_class", items_per_class)):
            if count < 1:
                raise ValueError(f"{name}: expected at least 1, got {count}")
        super().__init__(classes_per_batch * items_per_class, seed, rank, world_size, steps)
        seed, world_size = self.seed, self.world_size
        item, label = labelled_pairs(labels, labeled, "items")
        self.classes_per_batch = classes_per_batch
        self.items_per_class = items_per_class
        self._drawable = item.unique()
        if len(self._drawable) < self.batch_size * world_size:
            raise ValueError(
                f"labels: {len(self._drawable)} items have a label, but a batch of all processes takes "
                f"{self.batch_size * world_size}"
            )
        by_label = torch.argsort(label, stable=True)
        names, counts = label[by_label].unique_consecutive(return_counts=True)
        self._pools = dict(zip(names.tolist(), item[by_label].split(counts.tolist()), strict=True))
        # Labels of each item, one item after the other.
        self._labels = label.numpy()
        self._ends = torch.bincount(item, minlength=len(labels)).cumsum(0).numpy()
        self._turns = Rounds(names, classes_per_batch, seed, "classes", aligned=True)
        self._dealt: dict[int, Rounds] = {}
        # Where every visit to a class is numbered, its items are plenty and have no other class, processes take
        # different items without looking at each other.
        turns = classes_per_batch * world_size
        visits = -(-turns // len(names)) + 1
        # The most visits of a batch to a class, and whether all batches visit all of their classes as often.
        self._visits = visits - 1
        if turns % len(names) and world_size > 1 and len(names) > classes_per_batch:
            self._visits = min(world_size, visits)
        self._visits_are_even = self._visits == 1 or turns % len(names) == 0
        self._most_of_a_class = items_per_class * visits
        self._processes_are_apart = (
            (len(names) == classes_per_batch or len(names) >= 3 * classes_per_batch)
            and int(counts.min()) >= 3 * self._most_of_a_class
            and len(item) == len(self._drawable)
        )

    def batch(self, number: int) -> list[SampledIndex]:
        number = whole_number("number", number)
        taken: set[int] = set()
        items: list[int] = []
        # What the processes before this one take is not for this one.
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
        """A batch of one process; parts are numbered over all batches and processes."""
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
        # Classes that are too small have given all they have.
        others = (item for item in self._any(number) if item not in taken and item not in items)
        return items + list(itertools.islice(_distinct(others), self.batch_size - len(items)))

    def _any(self, number: int) -> Iterator[int]:
        """Items in random order: all of them, or, from a large pool, again and again some."""
        generator = generator_for(self.seed, "any", number)
        pool, some = self._drawable, 2 * self.batch_size * self.world_size
        if len(pool) < 4 * some:
            yield from pool[torch.randperm(len(pool), generator=generator)].tolist()
            return
        while True:
            yield from pool[torch.randint(len(pool), (some,), generator=generator)].tolist()

    def _classes(self, turn: int) -> Iterator[int]:
        """The classes whose turn it is, then all of them in random order."""
        yield from self._turns[turn : turn + self.classes_per_batch]
        names = list(self._pools)
        order = torch.randperm(len(names), generator=generator_for(self.seed, "more classes", turn))
        yield from (names[place] for place in order.tolist())

    def _deal(
        self, label: int, round_number: int, count: int, taken: Container[int], items: Container[int]
    ) -> list[int]:
        """Up to `count` items of a class that are not in the batch yet."""
        if count <= 0:
            return []
        pool = self._pools[label]
        if label not in self._dealt:
            largest, aligned = self._most_of_a_class, False
            if len(pool) < 3 * largest:
                largest, aligned = self.items_per_class * self._visits, self._visits_are_even
            self._dealt[label] = Rounds(pool, largest, self.seed, f"class {label}", aligned)
        first = round_number * self.items_per_class
        last = first + min(2 * len(pool), 2 * self.batch_size * self.world_size)  # enough that some are free
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
    """Each item the first time that it comes."""
    seen: set[int] = set()
    for item in items:
        if item not in seen:
            seen.add(item)
            yield item
