"""Batches and settings that the tests of losses run over."""

from __future__ import annotations

import pytest
import torch
from hypothesis import strategies as st
from loss_reference import SIGNALS, Batch
from torch.utils._python_dispatch import TorchDispatchMode

from ssc_toolkit.losses.functional import semi_supcon_loss

sizes = {
    "seed": st.integers(0, 2**31),
    "items": st.integers(1, 7),
    "views": st.integers(1, 4),
    "dim": st.integers(1, 6),
    "labeled_fraction": st.sampled_from([0.0, 0.3, 0.7, 1.0]),
}
batches = st.fixed_dictionaries(sizes)
any_batches = st.fixed_dictionaries(sizes | {"kind": st.sampled_from(list(SIGNALS))})
temperatures = st.sampled_from([0.01, 0.05, 0.1, 0.5, 2.0])
REDUCTIONS = ("mean", "sum", "none")
implementations = pytest.mark.parametrize("implementation", ["dense", "tiled"])
reductions = pytest.mark.parametrize("reduction", REDUCTIONS)
ROWS_PER_TILE = 16
"""Rows of a tile under the fixture `small_tiles`: batches have up to 28 rows, so that two tiles are walked over."""


def flat(embeddings, *per_item):
    """The flat form of (items, views, dim) embeddings and of values per item."""
    views = embeddings.shape[1]
    return embeddings.flatten(0, 1), *(tensor.repeat_interleave(views, dim=0) for tensor in per_item)


def loss_of(made: Batch, **options):
    """The loss of a batch under its own labels and target."""
    return semi_supcon_loss(made.embeddings, **made.signal.given, target=made.signal.target, **options)


class LargestTensor(TorchDispatchMode):
    """Sees the number of elements of the largest tensor that an operation made."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result
