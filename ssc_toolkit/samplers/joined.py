"""Sampler of batches that consist of the batches of several samplers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ssc_toolkit.samplers.base import NumberedBatchSampler, SampledIndex


class JoinedBatchSampler(NumberedBatchSampler):
    """Sampler whose batch k consists of the batches k of several samplers, one after the other.

    For example, a `BalancedBatchSampler` draws the labeled items of each batch, and a `SemiSupervisedBatchSampler` with
    `labeled_fraction=0` the unlabeled ones.

    Args:
        samplers: batch samplers with the same rank and number of processes.
        steps: number of batches in an epoch. None: the largest number of the samplers.

    Raises:
        ValueError: if there are no samplers, or if their ranks or numbers of processes differ.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.samplers import BalancedBatchSampler, SemiSupervisedBatchSampler
        >>> balanced = BalancedBatchSampler(torch.tensor([0] * 50 + [1] * 5), classes_per_batch=2, items_per_class=2)
        >>> others = SemiSupervisedBatchSampler([], range(55, 100), batch_size=4, labeled_fraction=0)
        >>> [index.labeled for index in JoinedBatchSampler([balanced, others]).batch(0)]
        [True, True, True, True, False, False, False, False]
    """

    def __init__(self, samplers: Sequence[NumberedBatchSampler], steps: int | None = None) -> None:
        processes = {(sampler.rank, sampler.world_size) for sampler in samplers}
        if len(processes) != 1:
            raise ValueError(f"samplers: expected samplers of one rank and number of processes, got {len(processes)}")
        rank, world_size = processes.pop()
        super().__init__(sum(sampler.batch_size for sampler in samplers), samplers[0].seed, rank, world_size, steps)
        self.samplers = list(samplers)

    def batch(self, number: int) -> list[SampledIndex]:
        return [index for sampler in self.samplers for index in sampler.batch(number)]

    def batches_of_a_pass(self) -> int:
        return max(sampler.batches_of_a_pass() for sampler in self.samplers)

    def settings(self) -> tuple[float | Tensor, ...]:
        return tuple(value for sampler in self.samplers for value in (sampler.seed, *sampler.settings()))
