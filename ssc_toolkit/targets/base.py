"""What every target has in common: a block of weights, and a check of the labels."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Target(nn.Module, ABC):
    """Base class of the targets; a module, so that what it holds moves with the loss.

    Subclasses implement `forward(rows, columns)` and may extend `check`. A plain function with the
    signature of `forward` is a target too, without the check.
    """

    @abstractmethod
    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Weights of one block of pairs.

        Args:
            rows: labels of the anchors, shape (R, ...).
            columns: labels of the others, shape (C, ...).

        Returns:
            (R, C) weights in [0, 1]. Pairs with an unlabelled side may hold anything: the loss never
            reads them.
        """

    def check(self, labels: Tensor, labeled: Tensor) -> None:
        """Raise if the labels do not fit this target.

        Shapes and dtypes are checked always, values only where that does not make the host wait.

        Args:
            labels: (N, ...), one row an embedding.
            labeled: (N,) bool, True where the labels are known.
        """


def values_are_readable(tensor: Tensor) -> bool:
    """Whether reading values costs nothing: on the CPU, and not while a graph is compiled."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
