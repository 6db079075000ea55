"""Gradient checkpointing that updates the running statistics of batch norms only once."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from ssc_toolkit.encoders.sliced_blocks import apply_layers
from ssc_toolkit.tracing import is_traced


def run_checkpointed(layers: nn.Module, *inputs: Tensor) -> Tensor:
    """Apply layers, and recompute their activations in the backward pass instead of storing them.

    The recomputation uses the same random numbers and does not update the running statistics of batch norms.

    Args:
        layers: module to apply.
        inputs: inputs of the module.

    Returns:
        Output of the module.

    Examples:
        >>> import torch
        >>> layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        >>> run_checkpointed(layers, torch.randn(8, 3)).sum().backward()
        >>> layers[1].num_batches_tracked
        tensor(1)
    """
    if is_traced():  # the recomputation in a compiled backward pass does not update buffers
        return checkpoint(layers, *inputs, use_reentrant=False)
    contexts = lambda: (contextlib.nullcontext(), _RunningStatisticsKept(layers))  # noqa: E731
    return checkpoint(apply_layers, layers, *inputs, use_reentrant=False, context_fn=contexts)


class _RunningStatisticsKept(contextlib.AbstractContextManager[None]):
    """Context manager that disables updates of the running statistics of batch norms in `layers`.

    The recomputation in each backward pass enters it.
    """

    # A momentum of zero leaves the averages unchanged. Restoring a copy instead would mark the buffers
    # as modified, and the backward pass raises an error for saved tensors that were modified.
    def __init__(self, layers: nn.Module) -> None:
        self.norms = [
            layer for layer in layers.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats
        ]
        self.before: list[tuple[float | None, Tensor]] = []

    def __enter__(self) -> None:
        self.before = [(norm.momentum, cast(Tensor, norm.num_batches_tracked).clone()) for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for norm, (momentum, count) in zip(self.norms, self.before, strict=True):
            norm.momentum = momentum
            cast(Tensor, norm.num_batches_tracked).copy_(count)
