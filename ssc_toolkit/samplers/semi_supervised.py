"""Sampler of batches that mix labeled and unlabeled items."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ssc_toolkit.checks import as_integer, as_tensor, check_fraction, check_number
from ssc_toolkit.samplers.base import NumberedBatchSampler, SampledIndex
from ssc_toolkit.samplers.label_budget import as_readable_integers, label_budget
from ssc_toolkit.samplers.proportions import ProportionedCycles
from ssc_toolkit.samplers.shared_pool import SharedPool
from ssc_toolkit.samplers.shuffled_cycle import ShuffledCycle


class SemiSupervisedBatchSampler(NumberedBatchSampler):
    """Sampler of batches with a fixed fraction of labeled items (SemiSupCon, Guinot et al. 2024, arXiv 2407.13840).

    The sampler draws items from two sets. The labeled set contains the fraction `label_budget` of the labeled items.
    The unlabeled set contains all other items, and their labels are not used. All items of a set are drawn, in random
    order, before an item is drawn again, so items of the smaller set are repeated more often. A batch contains no item
    twice if both sets are large enough.

    If there are no other items, both sets are the same, and an item is drawn either with or without its label. Each
    item is then drawn once before any item is drawn again. A batch contains an item twice, with and without its
    label, only if there are fewer items than in the batch of all processes.

    Batch k depends only on the arguments of the constructor and on k. Training can thus resume from k alone, and
    workers that prefetch do not change the batches. An iteration yields one epoch.

    Args:
        labeled: dataset indices of the labeled items.
        unlabeled: dataset indices of the unlabeled items.
        batch_size: number of items in the batch of one process.
        labeled_fraction: fraction of labeled items in a batch (b_s in the paper), 0 to 1. If it does not correspond to
            an integer number of items, the numbers in two batches differ by at most one, and their mean has the exact
            fraction.
        label_budget: fraction of the labeled items whose labels may be used (p_s in the paper), 0 to 1.
        labels: labels of the labeled items: class indices (labeled items,) or multi-hot (labeled items, classes).
            Required for a `label_budget` below 1, which selects items of every class if it is large enough.
        seed: seed of all random choices.
        rank: index of this process, 0 to world_size - 1. Processes get different items of batch k.
        world_size: number of processes.
        steps: number of batches in an epoch. None: the number of batches in one pass over each set, the larger of the
            two numbers.
        sources: dataset indices of parts of the unlabeled items, such as those of different datasets. No item is in two
            parts.
        proportions: fraction of the unlabeled items of the batches that comes from each part, above 0. If their sum is
            below 1, the other unlabeled items give the rest, and if it is 1, the other unlabeled items are not drawn.

    Attributes:
        labeled: dataset indices of the items in the labeled set, (labeled items,) int64.
        unlabeled: dataset indices of the items in the unlabeled set, (unlabeled items,) int64.
        shares_pool: whether both sets are the same, and items are drawn both with and without labels.

    Raises:
        ValueError: if a fraction is out of range, items are not distinct indices, an item is both labeled and
            unlabeled, there are too few labeled or unlabeled items, `labels` is missing or has a wrong length, or
            `rank` is not below `world_size`.

    Examples:
        >>> sampler = SemiSupervisedBatchSampler(range(10), range(10, 100), batch_size=4, labeled_fraction=0.5)
        >>> batch = sampler.batch(0)
        >>> [int(index) < 10 for index in batch], [index.labeled for index in batch]
        ([True, True, False, False], [True, True, False, False])
        >>> loader = torch.utils.data.DataLoader(torch.arange(100), batch_sampler=sampler)
    """

    def __init__(
        self,
        labeled: Sequence[int] | Tensor,
        unlabeled: Sequence[int] | Tensor,
        batch_size: int,
        *,
        labeled_fraction: float = 0.5,
        label_budget: float = 1.0,
        labels: Tensor | None = None,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        steps: int | None = None,
        sources: Sequence[Sequence[int] | Tensor] = (),
        proportions: Sequence[float] = (),
    ) -> None:
        super().__init__(batch_size, seed, rank, world_size, steps)
        batch_size, seed, world_size = self.batch_size, self.seed, self.world_size
        labeled_fraction = self.labeled_fraction = check_fraction("labeled_fraction", labeled_fraction)
        label_budget = check_fraction("label_budget", label_budget)
        self._global_size = batch_size * world_size
        self.labeled, self.unlabeled = _split_by_budget(labeled, unlabeled, label_budget, labels, seed)
        self._pools, self._proportions = _split_by_source(self.unlabeled, unlabeled, sources, proportions)
        if self._pools:
            self.unlabeled = torch.cat(self._pools)
        if labeled_fraction > 0 and not len(self.labeled):
            raise ValueError(f"labeled: expected at least 1 item for labeled_fraction={labeled_fraction}, got none")
        if labeled_fraction < 1 and not len(self.unlabeled):
            raise ValueError(f"unlabeled: expected at least 1 item for labeled_fraction={labeled_fraction}, got none")
        largest = math.ceil(labeled_fraction * self._global_size)
        # If the fraction is an integer number of items, every batch has the same number of labeled items.
        aligned = abs(labeled_fraction * self._global_size - round(labeled_fraction * self._global_size)) < 1e-9
        others = self._global_size - largest + (0 if aligned and self._is_small(largest) else 1)
        self.shares_pool = self.unlabeled is self.labeled and 0 < labeled_fraction < 1
        self._shared = None
        if self.shares_pool and len(self.labeled) >= self._global_size:
            self._shared = SharedPool(self.labeled, self._global_size, labeled_fraction, seed)
        self._labeled_rounds = ShuffledCycle(self.labeled, largest, seed, "labeled", aligned)
        self._unlabeled_rounds: ShuffledCycle | ProportionedCycles
        if self._pools:
            self._unlabeled_rounds = ProportionedCycles(self._pools, self._proportions, others, seed, "unlabeled")
        else:
            self._unlabeled_rounds = ShuffledCycle(self.unlabeled, others, seed, "unlabeled", aligned)

    def batch(self, number: int) -> list[SampledIndex]:
        """Return batch `number` of this process, labeled items first. Batches are numbered from 0 over all epochs."""
        number = as_integer("number", number)
        labeled, unlabeled = self._sides(number) if self._shared is None else self._shared.batch(number)
        indices = [SampledIndex(i, True) for i in labeled] + [SampledIndex(i, False) for i in unlabeled]
        return indices[self.rank :: self.world_size]

    def _sides(self, number: int) -> tuple[list[int], list[int]]:
        """Return dataset indices of the labeled and of the unlabeled items in batch `number` of all processes."""
        first, last = self._labeled_before(number), self._labeled_before(number + 1)
        others_first, others_last = number * self._global_size - first, (number + 1) * self._global_size - last
        return self._labeled_rounds.batch(first, last), self._unlabeled_rounds.batch(others_first, others_last)

    def batches_of_a_pass(self) -> int:
        sides = ((self.labeled, self.labeled_fraction), (self.unlabeled, 1 - self.labeled_fraction))
        passes = [len(side) / (fraction * self._global_size) for side, fraction in sides if fraction > 0]
        parts = zip(self._pools, self._proportions, strict=True)
        rest = (1 - self.labeled_fraction) * self._global_size
        passes += [len(pool) / (own * rest) for pool, own in parts if rest > 0]
        return max(1, math.floor(max(passes)))

    def settings(self) -> tuple[float | Tensor, ...]:
        return self.labeled_fraction, self.labeled, self.unlabeled, *self._proportions, *self._pools

    def _is_small(self, largest: int) -> bool:
        """Return whether there are fewer unlabeled items than three batches of all processes need.

        `largest` is the maximum number of labeled items in a batch of all processes.
        """
        return len(self.unlabeled) < 3 * (self._global_size - largest + 1)

    def _labeled_before(self, number: int) -> int:
        """Return the number of labeled items in all batches before batch `number`."""
        # The small term prevents rounding errors from making a product such as 0.1 * 10 * 3 less than an integer.
        return math.floor(number * self.labeled_fraction * self._global_size + 1e-6)


def _indices(name: str, items: Sequence[int] | Tensor) -> Tensor:
    """Check that dataset indices are distinct integers of at least 0, and convert them to a tensor, (items,) int64."""
    if isinstance(items, range):
        return torch.arange(items.start, items.stop, items.step)
    found = as_tensor(name, items, "dataset indices")
    if found.dtype == torch.bool:
        raise ValueError(
            f"{name}: expected dataset indices, got a mask {tuple(found.shape)}; its indices are "
            "torch.as_tensor(mask).nonzero().flatten()"
        )
    if found.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor of dataset indices, got layout {found.layout}")
    found = as_readable_integers(name, found)
    if found.dim() != 1 or (len(found) and (found.is_floating_point() or found.is_complex() or found.min() < 0)):
        raise ValueError(f"{name}: expected dataset indices of at least 0, got {found.dtype} {tuple(found.shape)}")
    found = found.long()
    if (repeated := len(found) - len(found.unique())) > 0:
        raise ValueError(f"{name}: expected distinct dataset indices, got {repeated} more than once")
    return found


def _split_by_budget(
    labeled: Sequence[int] | Tensor,
    unlabeled: Sequence[int] | Tensor,
    fraction: float,
    labels: Tensor | None,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Return dataset indices of the items whose labels may be used, and of the items that are drawn without labels.

    Arguments are as for `SemiSupervisedBatchSampler`; `fraction` is its `label_budget`.
    """
    known, unknown = _indices("labeled", labeled), _indices("unlabeled", unlabeled)
    if len(known) and len(unknown):
        is_known = torch.zeros(int(torch.maximum(known.max(), unknown.max())) + 1, dtype=torch.bool)
        is_known[known] = True
        if is_known[unknown].any():
            both = unknown[is_known[unknown]]
            raise ValueError(
                f"labeled, unlabeled: expected no common items, got {len(both)} in both, such as {both[0]}"
            )
    if labels is None and fraction < 1:
        raise ValueError("labels: expected the labels of the labeled items for a label_budget below 1, got None")
    if labels is not None and not hasattr(labels, "__len__"):
        raise TypeError(f"labels: expected a tensor of classes or multi-hot rows, got {type(labels).__name__}")
    if labels is not None and len(labels) != len(known):
        raise ValueError(f"labels: expected one row for each of {len(known)} labeled items, got {len(labels)}")
    if labels is not None and fraction < 1:
        kept = label_budget(labels, fraction, seed)
        is_kept = torch.zeros(len(known), dtype=torch.bool)
        is_kept[kept] = True
        known, unknown = known[is_kept], torch.cat([unknown, known[~is_kept]])
    if not len(unknown):
        unknown = known
    return known, unknown


def _split_by_source(
    unlabeled: Tensor,
    given: Sequence[int] | Tensor,
    sources: Sequence[Sequence[int] | Tensor],
    proportions: Sequence[float],
) -> tuple[list[Tensor], list[float]]:
    """Return the parts of the unlabeled items and their fractions, the last one that of the items in no source.

    Args:
        unlabeled: dataset indices of all items that are drawn without labels.
        given: argument `unlabeled` of the sampler, which contains the sources.
        sources: as for `SemiSupervisedBatchSampler`.
        proportions: as for `SemiSupervisedBatchSampler`.
    """
    if len(sources) != len(proportions):
        raise ValueError(f"proportions: expected one for each of {len(sources)} sources, got {len(proportions)}")
    if not len(sources):
        return [], []
    fractions = [check_number("proportions", fraction, 0, 1) for fraction in proportions]
    total = sum(fractions)
    if min(fractions) == 0 or total > 1 + 1e-9:
        raise ValueError(f"proportions: expected numbers above 0 with a sum of at most 1, got {fractions}")
    pools = [_indices("sources", source) for source in sources]
    for pool in pools:
        if not len(pool):
            raise ValueError("sources: expected at least 1 item in each source, got none")
    everything = torch.cat(pools)
    if not torch.isin(everything, _indices("unlabeled", given)).all() or len(everything.unique()) < len(everything):
        raise ValueError("sources: expected different items, all of them unlabeled")
    if total > 1 - 1e-9:
        return pools, [fraction / total for fraction in fractions]
    rest = unlabeled[~torch.isin(unlabeled, everything)]
    if not len(rest):
        raise ValueError(
            f"proportions: expected a sum of 1, because no unlabeled items are outside of the sources, got {total:g}"
        )
    return [*pools, rest], [*fractions, 1 - total]
