"""Batch samplers: which items make up a batch."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import Sampler

from ssc_toolkit.samplers.budget import label_budget
from ssc_toolkit.samplers.membership import labelled_pairs
from ssc_toolkit.seeds import generator_for


class SampledIndex(int):
    """A dataset index that also says whether the item's label may be seen.

    It is an ordinary integer to any dataset; `labeled` is False where the item was drawn as an
    unlabelled one, whatever labels it has.
    """

    labeled: bool

    def __new__(cls, index: int, labeled: bool) -> SampledIndex:
        number = super().__new__(cls, index)
        number.labeled = labeled
        return number

    def __reduce__(self) -> tuple:
        return SampledIndex, (int(self), self.labeled)


class NumberedBatchSampler(Sampler[list[int]], ABC):
    """A batch sampler whose batch k is a pure function of its arguments and k.

    So nothing has to be stored to resume, and workers that fetch ahead change nothing. Iterating goes through one
    epoch, a run of successive batches: those of epoch e are numbered e * len(self) to (e + 1) * len(self) - 1.

    Args:
        batch_size: items in the batch of one process.
        seed: of everything that is drawn.
        rank: number of this process; each process gets its own part of batch k.
        world_size: number of processes.
        steps: batches of an epoch; by default as many as it takes to go through the items once.
    """

    def __init__(self, batch_size: int, seed: int, rank: int, world_size: int, steps: int | None) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 to world_size - 1 = {world_size - 1}, got {rank}")
        if steps is not None and steps < 1:
            raise ValueError(f"steps: expected at least 1 batch, got {steps}")
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.steps = steps
        self.epoch = 0
        self._handed_out = 0
        self._resume_at: int | None = None

    @abstractmethod
    def batch(self, number: int) -> list[SampledIndex]:
        """Batch `number` of this process, counted from 0 over all epochs."""

    @abstractmethod
    def batches_of_a_pass(self) -> int:
        """Batches that it takes to go through the items once."""

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch the next iteration goes through."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches_of_a_pass() if self.steps is None else self.steps

    def __iter__(self) -> Iterator[list[int]]:
        first, last = self.epoch * len(self), (self.epoch + 1) * len(self)
        resume_at, self._resume_at = self._resume_at, None
        if resume_at is not None and first <= resume_at < last:
            first = resume_at
        for number in range(first, last):
            self._handed_out = number + 1
            yield list(self.batch(number))

    def state_dict(self, batches: int | None = None) -> dict[str, int]:
        """Where to go on, and what the numbers of the batches depend on.

        Args:
            batches: how many were trained on, over all epochs. By default how many were handed out, which is more where
                the workers of a loader fetch ahead.
        """
        done = self._handed_out if batches is None else batches
        return {"batches": done, **self._identity()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the batches of a state: the next iteration gives the remaining ones of their epoch.

        Raises:
            ValueError: if the state is that of a sampler with other settings.
        """
        for name, value in self._identity().items():
            if state[name] != value:
                raise ValueError(f"state: {name} is {state[name]}, but this sampler has {value}")
        self._handed_out = self._resume_at = state["batches"]
        self.epoch = state["batches"] // len(self)

    def _identity(self) -> dict[str, int]:
        own = {"seed": self.seed, "batch_size": self.batch_size, "world_size": self.world_size}
        return {**own, "batches_of_an_epoch": len(self)}


class SemiSupervisedBatchSampler(NumberedBatchSampler):
    """Batches that mix labelled and unlabelled items in a fixed proportion.

    Of the labelled items a share `label_budget` may be used, with their labels; the unlabelled items are
    all the others, their labels hidden, and when there are no others, all the labelled ones again, with
    their labels hidden. Both sides are gone through in shuffled rounds, so the smaller side cycles; no
    item comes twice in a batch as long as its side has enough.

    Batch k is a pure function of the arguments and k (`batch`), so nothing has to be stored to resume,
    and prefetching changes nothing. Iterating goes through one epoch: as many batches as it takes to see
    each item of the larger side once.

    Args:
        labeled: dataset indices of the labelled items.
        unlabeled: dataset indices of the unlabelled items.
        batch_size: items in the batch of one process.
        labeled_fraction: share of labelled items in a batch (the paper's b_s), 0 to 1. Exact on average
            also where it is no whole number of items: successive batches differ by at most one.
        label_budget: share of the labelled items whose labels may be used (p_s), 0 to 1.
        labels: of the labelled items, class indices (n,) or multi-hot (n, classes); needed for a budget
            below 1, which covers every class first.
        seed: of everything that is drawn.
        rank: number of this process; each process gets its own part of batch k.
        world_size: number of processes.
        steps: batches of an epoch; by default as many as it takes to see each item of the larger side once.

    Raises:
        ValueError: for shares out of range, too few items for the proportion asked for, a missing or
            wrong `labels`, or a rank outside the world.

    Examples:
        >>> sampler = SemiSupervisedBatchSampler(range(10), range(10, 100), batch_size=4, labeled_fraction=0.5)
        >>> batch = sampler.batch(0)
        >>> [int(index) < 10 for index in batch], [index.labeled for index in batch]
        ([True, True, False, False], [True, True, False, False])
        >>> loader = torch.utils.data.DataLoader(torch.arange(100), batch_sampler=sampler)
    """

    def __init__(
        self,
        labeled: Sequence[int],
        unlabeled: Sequence[int],
        batch_size: int,
        *,
        labeled_fraction: float = 0.5,
        label_budget: float = 1.0,
        labels: Tensor | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        steps: int | None = None,
    ) -> None:
        super().__init__(batch_size, seed, rank, world_size, steps)
        for name, share in (("labeled_fraction", labeled_fraction), ("label_budget", label_budget)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {share}")
        self.labeled_fraction = labeled_fraction
        self._global_size = batch_size * world_size
        self.labeled, self.unlabeled = _split_by_budget(labeled, unlabeled, label_budget, labels, seed)
        if labeled_fraction > 0 and not len(self.labeled):
            raise ValueError(f"labeled: no item to fill labeled_fraction={labeled_fraction} of a batch")
        if labeled_fraction < 1 and not len(self.unlabeled):
            raise ValueError(f"unlabeled: no item to fill the rest of a batch, labeled_fraction={labeled_fraction}")
        largest = math.ceil(labeled_fraction * self._global_size)
        self._labeled_rounds = _Rounds(self.labeled, largest, seed, "labeled")
        self._unlabeled_rounds = _Rounds(self.unlabeled, self._global_size - largest + 1, seed, "unlabeled")

    def batch(self, number: int) -> list[SampledIndex]:
        """Batch `number`, counted from 0 over all epochs: the labelled items first."""
        first, last = self._labeled_before(number), self._labeled_before(number + 1)
        others_first, others_last = number * self._global_size - first, (number + 1) * self._global_size - last
        indices = [SampledIndex(i, True) for i in self._labeled_rounds[first:last]]
        indices += [SampledIndex(i, False) for i in self._unlabeled_rounds[others_first:others_last]]
        return indices[self.rank :: self.world_size]

    def batches_of_a_pass(self) -> int:
        sides = ((self.labeled, self.labeled_fraction), (self.unlabeled, 1 - self.labeled_fraction))
        passes = [len(side) / (share * self._global_size) for side, share in sides if share > 0]
        return max(1, math.floor(max(passes)))

    def _labeled_before(self, number: int) -> int:
        """Labelled items in all batches before this one."""
        # The small term keeps products such as 0.1 * 10 * 3 from falling below the whole number they are.
        return math.floor(number * self.labeled_fraction * self._global_size + 1e-6)


class BalancedBatchSampler(NumberedBatchSampler):
    """Batches of m items each of several classes.

    Classes are gone through in shuffled rounds, and so are the items of each class. With multi-hot labels an item
    counts for every class that it has: a class whose turn it is gets as many new items as it lacks, and further
    classes fill the batch. No item comes twice in a batch while a class has others; a class of fewer than m items
    gives what it has.

    Args:
        labels: of all items, classes (items,) or multi-hot (items, classes).
        classes_per_batch: classes whose turn it is in the batch of one process.
        items_per_class: m.
        labeled: (items,) bool, where the labels are known; everywhere by default. The others are never drawn.
        seed: of everything that is drawn.
        rank: number of this process; each process gets its own part of batch k, without overlap.
        world_size: number of processes.
        steps: batches of an epoch; by default as many as hold the number of items.

    Raises:
        ValueError: for labels of another shape, or too few items to fill a batch.

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
        for name, count in (("classes_per_batch", classes_per_batch), ("items_per_class", items_per_class)):
            if count < 1:
                raise ValueError(f"{name}: expected at least 1, got {count}")
        super().__init__(classes_per_batch * items_per_class, seed, rank, world_size, steps)
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
        self._turns = _Rounds(names, classes_per_batch, seed, "classes")
        self._dealt: dict[int, _Rounds] = {}

    def batch(self, number: int) -> list[SampledIndex]:
        taken: set[int] = set()
        items: list[int] = []
        for rank in range(self.rank + 1):  # what the processes before this one take is not for this one
            items = self._part(number * self.world_size + rank, taken)
            taken.update(items)
        return [SampledIndex(item, True) for item in items]

    def batches_of_a_pass(self) -> int:
        return max(1, len(self._drawable) // (self.batch_size * self.world_size))

    def _part(self, number: int, taken: Container[int]) -> list[int]:
        """A batch of one process; parts are numbered over all batches and processes."""
        items: list[int] = []
        counts: Counter[int] = Counter()
        turn = number * self.classes_per_batch
        for place, label in enumerate(self._classes(turn)):
            lacking = min(self.items_per_class - counts[label], self.batch_size - len(items))
            for item in self._deal(label, (turn + place) // len(self._pools), lacking, taken, items):
                items.append(item)
                counts.update(self._labels_of(item))
            if len(items) == self.batch_size:
                return items
        # Classes that are too small have given all they have.
        order = torch.randperm(len(self._drawable), generator=generator_for(self.seed, "any", number))
        others = (item for item in self._drawable[order].tolist() if item not in taken and item not in items)
        return items + list(itertools.islice(others, self.batch_size - len(items)))

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
            self._dealt[label] = _Rounds(pool, self.items_per_class, self.seed, f"class {label}")
        begin = round_number * self.items_per_class
        span = min(len(pool), 2 * self.batch_size * self.world_size)  # enough that some are free
        found: dict[int, None] = {}
        for item in self._dealt[label][begin : begin + span]:
            if item not in taken and item not in items:
                found[item] = None
            if len(found) == count:
                break
        return list(found)

    def _labels_of(self, item: int) -> list[int]:
        begin = self._ends[item - 1] if item else 0
        return self._labels[begin : self._ends[item]].tolist()


class _Rounds:
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
        rounds = [self._round(number) for number in range(first // size, (last - 1) // size + 1)]
        offset = first // size * size
        return torch.cat(rounds)[first - offset : last - offset].tolist()

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


def _split_by_budget(
    labeled: Sequence[int], unlabeled: Sequence[int], share: float, labels: Tensor | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Items whose labels may be used, and the pool of those drawn without."""
    known, unknown = (torch.as_tensor(list(side), dtype=torch.int64) for side in (labeled, unlabeled))
    if labels is None and share < 1:
        raise ValueError("labels: a label_budget below 1 needs the labels of the labelled items, to cover the classes")
    if labels is not None and len(labels) != len(known):
        raise ValueError(f"labels: expected one row for each of {len(known)} labelled items, got {len(labels)}")
    if labels is not None and share < 1:
        kept = label_budget(labels, share, seed)
        is_kept = torch.zeros(len(known), dtype=torch.bool)
        is_kept[kept] = True
        known, unknown = known[is_kept], torch.cat([unknown, known[~is_kept]])
    if not len(unknown):
        unknown = known
    return known, unknown
