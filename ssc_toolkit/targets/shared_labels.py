"""Positives are the items that have enough labels in common."""

from __future__ import annotations

from torch import Tensor

from ssc_toolkit.targets.base import Target, values_are_readable


class SharedLabels(Target):
    """Weight 1 for two items that share at least `minimum` labels, else 0.

    With multi-hot rows A and B: weight = 1 if |A and B| >= minimum (Guinot et al. 2024,
    arXiv 2407.13840).

    Args:
        minimum: labels that a pair must share, at least 1.

    Shape:
        - rows: (R, classes) multi-hot, bool, integer or float
        - columns: (C, classes)
        - output: (R, C) float32

    Raises:
        ValueError: if `minimum` is below 1.

    Examples:
        >>> import torch
        >>> tags = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0]])
        >>> SharedLabels(minimum=1)(tags, tags)
        tensor([[1., 1., 1.],
                [1., 1., 0.],
                [1., 0., 1.]])
    """

    def __init__(self, minimum: int = 1) -> None:
        super().__init__()
        if minimum < 1:
            raise ValueError(f"minimum: expected a whole number of labels, at least 1, got {minimum}")
        self.minimum = minimum

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return (rows.float() @ columns.float().T >= self.minimum).float()

    def check(self, labels: Tensor, labeled: Tensor) -> None:
        """Raise ValueError for labels that are not 2-D, or not 0 or 1 in a labelled row."""
        if labels.dim() != 2:
            raise ValueError(
                f"labels: SharedLabels expects multi-hot rows, shape (items, classes), got {tuple(labels.shape)}"
            )
        if values_are_readable(labels):
            known = labels[labeled]
            if not bool(((known == 0) | (known == 1)).all()):
                raise ValueError("labels: SharedLabels expects 0 or 1 in every labelled row, got other values")

    def extra_repr(self) -> str:
        return f"minimum={self.minimum}"
