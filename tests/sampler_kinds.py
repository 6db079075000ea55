"""The batch samplers that tests run over."""

from __future__ import annotations

import pytest
import torch
from seeded import generator

from ssc_toolkit.samplers import BalancedBatchSampler, SemiSupervisedBatchSampler


def balanced(seed: int = 0, **options) -> BalancedBatchSampler:
    labels = torch.randint(6, (200,), generator=generator(seed))
    return BalancedBatchSampler(labels, 3, 4, seed=seed, **options)


def mixed(seed: int = 0, **options) -> SemiSupervisedBatchSampler:
    return SemiSupervisedBatchSampler(range(50), range(50, 200), 12, labeled_fraction=0.3, seed=seed, **options)


every_batch_sampler = pytest.mark.parametrize("make", [balanced, mixed])
