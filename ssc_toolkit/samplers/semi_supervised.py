"""Batches that mix labelled and unlabelled items."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ssc_toolkit.samplers.batches import NumberedBatchSampler, SampledIndex
from ssc_toolkit.samplers.budget import label_budget
from ssc_toolkit.samplers.membership import readable_integers
from ssc_toolkit.samplers.rounds import Rounds
from ssc_toolkit.seeds import whole_number


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
        ValueError: for shares out of range, items that are no indices or on both sides, too few of them for the
            proportion asked for, a missing or wrong `labels`, or a rank outside the world.

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
    ) -> None:
        super().__init__(batch_size, seed, rank, world_size, steps)
        batch_size, seed, world_size = self.batch_size, self.seed, self.world_size
        for name, share in (("labeled_fraction", labeled_fraction), ("label_budget", label_budget)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: expected 0 to 1, got {share}")
        labeled_fraction = self.labeled_fraction = float(labeled_fraction)
        self._global_size = batch_size * world_size
        self.labeled, self.unlabeled = _split_by_budget(labeled, unlabeled, label_budget, labels, seed)
        if labeled_fraction > 0 and not len(self.labeled):
            raise ValueError(f"labeled: no item to fill labeled_fraction={labeled_fraction} of a batch")
        if labeled_fraction < 1 and not len(self.unlabeled):
            raise ValueError(f"unlabeled: no item to fill the rest of a batch, labeled_fraction={labeled_fraction}")
        largest = math.ceil(labeled_fraction * self._global_size)
        # Where the fraction is a whole number of items, every batch takes as many.
        aligned = abs(labeled_fraction * self._global_size - round(labeled_fraction * self._global_size)) < 1e-9
        others = self._global_size - largest + (0 if aligned and self._is_small(largest) else 1)
        self._labeled_rounds = Rounds(self.labeled, largest, seed, "labeled", aligned)
        self._unlabeled_rounds = Rounds(self.unlabeled, others, seed, "unlabeled", aligned)

    def batch(self, number: int) -> list[SampledIndex]:
        """Batch `number`, counted from 0 over all epochs: the labelled items first."""
        number = whole_number("number", number)
        first, last = self._labeled_before(number), self._labeled_before(number + 1)
        others_first, others_last = number * self._global_size - first, (number + 1) * self._global_size - last
        indices = [SampledIndex(i, True) for i in self._labeled_rounds.batch(first, last)]
        indices += [SampledIndex(i, False) for i in self._unlabeled_rounds.batch(others_first, others_last)]
        return indices[self.rank :: self.world_size]

    def batches_of_a_pass(self) -> int:
        sides = ((self.labeled, self.labeled_fraction), (self.unlabeled, 1 - self.labeled_fraction))
        passes = [len(side) / (share * self._global_size) for side, share in sides if share > 0]
        return max(1, math.floor(max(passes)))

    def settings(self) -> tuple[float | Tensor, ...]:
        return self.labeled_fraction, self.labeled, self.unlabeled

    def _is_small(self, largest: int) -> bool:
        """Whether the unlabeled pool holds fewer than three batches."""
        return len(self.unlabeled) < 3 * (self._global_size - largest + 1)

    def _labeled_before(self, number: int) -> int:
        """Labelled items in all batches before this one."""
        # The small term keeps products such as 0.1 * 10 * 3 from falling below the whole number they are.
        return math.floor(number * self.labeled_fraction * self._global_size + 1e-6)


def _indices(name: str, items: Sequence[int] | Tensor) -> Tensor:
    """Dataset indices as a tensor."""
    if isinstance(items, range):
        return torch.arange(items.start, items.stop, items.step)
    try:
        found = torch.as_tensor(items)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected dataset indices, got {type(items).__name__}") from None
    if found.dtype == torch.bool:
        raise ValueError(
            f"{name}: expected dataset indices, got a mask {tuple(found.shape)}; its indices are "
            "torch.as_tensor(mask).nonzero().flatten()"
        )
    if found.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor of dataset indices, got layout {found.layout}")
    found = readable_integers(name, found)
    if found.dim() != 1 or (len(found) and (found.is_floating_point() or found.is_complex() or found.min() < 0)):
        raise ValueError(f"{name}: expected dataset indices from 0 on, got {found.dtype} {tuple(found.shape)}")
    return found.long()


def _split_by_budget(
    labeled: Sequence[int] | Tensor, unlabeled: Sequence[int] | Tensor, share: float, labels: Tensor | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Items whose labels may be used, and the pool of those drawn without."""
    known, unknown = _indices("labeled", labeled), _indices("unlabeled", unlabeled)
    if len(known) and len(unknown):
        is_known = torch.zeros(int(torch.maximum(known.max(), unknown.max())) + 1, dtype=torch.bool)
        is_known[known] = True
        if is_known[unknown].any():
            both = unknown[is_known[unknown]]
            raise ValueError(f"labeled, unlabeled: {len(both)} items are in both, such as {both[0]}")
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
