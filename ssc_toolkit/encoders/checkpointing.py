"""Gradient checkpointing that leaves the running statistics of batch norms alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def checkpointed(layers: nn.Module, *inputs: Tensor) -> Tensor:
    """Apply layers, and again during the backward pass, so that their inside is not kept between the two.

    The second pass gives the same values (random numbers included) and does not count for the running
    statistics of batch norms.

    Examples:
        >>> import torch
        >>> layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        >>> checkpointed(layers, torch.randn(8, 3)).sum().backward()
        >>> layers[1].num_batches_tracked
        tensor(1)
    """
    contexts = lambda: (contextlib.nullcontext(), _running_statistics_kept(layers))  # noqa: E731
    return checkpoint(layers, *inputs, use_reentrant=False, context_fn=contexts)


@contextlib.contextmanager
def _running_statistics_kept(layers: nn.Module) -> Iterator[None]:
    # A momentum of zero leaves the averages as they are. Putting back a copy instead would mark the
    # buffers as changed, and the backward pass refuses saved tensors that have changed.
    norms = [layer for layer in layers.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    counts = [cast(Tensor, norm.num_batches_tracked).clone() for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in zip(norms, momenta, counts, strict=True):
            norm.momentum = momentum
            cast(Tensor, norm.num_batches_tracked).copy_(count)
