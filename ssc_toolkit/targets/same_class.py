"""Positives are the items of the same class."""

from __future__ import annotations

from torch import Tensor

from ssc_toolkit.targets.base import Target, check_integers, check_vectors, known_rows, values_are_readable


class SameClass(Target):
    """Weight 1 for two items of the same class, else 0 (Khosla et al. 2020, arXiv 2004.11362).

    Shape:
        - rows: (R,) integer class indices
        - columns: (C,) integer class indices
        - output: (R, C) float32

    Examples:
        >>> import torch
        >>> SameClass()(torch.tensor([0, 1]), torch.tensor([1, 1, 0]))
        tensor([[0., 0., 1.],
                [1., 1., 0.]])
    """

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return (rows[:, None] == columns[None, :]).float()

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError for labels that are not 1-D or negative, TypeError for non-integers."""
        if labels.dim() == 2:
            one = labels.shape[1] == 1
            cure = "squeeze them" if one else "for multi-hot labels pass target=SharedLabels(minimum=1)"
            raise ValueError(
                f"labels: SameClass expects one class index an item, shape (items,), got {tuple(labels.shape)}; {cure}"
            )
        check_vectors("SameClass", labels, "one class index an item")
        check_integers("SameClass", labels, "class indices")
        if values_are_readable(labels) and bool((known_rows(labels, labeled) < 0).any()):
            raise ValueError(
                "labels: a labelled item has a negative class index; mark unknown labels with labeled=False instead"
            )
