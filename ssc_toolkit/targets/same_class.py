"""Target for class labels, in which items of the same class are positives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssc_toolkit.checks import as_integer
from ssc_toolkit.targets.base import (
    Target,
    check_integers,
    check_vectors,
    select_known_rows,
    values_are_readable,
)


class SameClass(Target):
    """Target with weight 1 for two items of the same class, and 0 otherwise (Khosla et al. 2020, arXiv 2004.11362).

    Args:
        ignore_index: label that means "unknown", such as -1 or -100. Items with this label count as unlabeled, as do
            items for which `labeled` is False. This also works in compiled code, and without waiting for a GPU. None:
            every label is a class.

    Shape:
        - rows: integer class indices of R anchors, (R,)
        - columns: integer class indices of C contrasts, (C,)
        - output: weights (R, C), float32

    Raises:
        TypeError: if `ignore_index` is not an integer.
        ValueError: if `ignore_index` does not fit in 64 bits.

    Examples:
        >>> import torch
        >>> SameClass()(torch.tensor([0, 1]), torch.tensor([1, 1, 0]))
        tensor([[0., 0., 1.],
                [1., 1., 0.]])
        >>> SameClass(ignore_index=-1)(torch.tensor([0, -1]), torch.tensor([0, -1]))
        tensor([[1., 0.],
                [0., 0.]])
    """

    def __init__(self, ignore_index: int | None = None) -> None:
        super().__init__()
        self.ignore_index = None if ignore_index is None else as_integer("ignore_index", ignore_index)
        if self.ignore_index is not None and not -(2**63) <= self.ignore_index < 2**63:
            raise ValueError(f"ignore_index: expected an integer of 64 bits, got {ignore_index}")

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        same = rows[:, None] == columns[None, :]
        if self.ignore_index is not None:
            same = same & self._is_class(rows)[:, None]
        return same.float()

    def _is_class(self, labels: Tensor) -> Tensor:
        """Return a mask that is True for labels that differ from the constructor argument `ignore_index`.

        Labels are compared in 64 bits, because `ignore_index` may not fit in their dtype.
        """
        return torch.ne(labels.long(), self.ignore_index)  # type: ignore[arg-type]  # is called only with a number

    def known(self, labels: Any, labeled: Any) -> Any:
        """Return a mask of the labels that are known and differ from the constructor argument `ignore_index`."""
        if self.ignore_index is None:
            return labeled
        has_class = self._is_class(labels)
        return has_class if labeled is None else labeled & has_class

    def check(self, labels: Any, labeled: Any) -> None:
        """Raise TypeError unless labels are integers, and ValueError for a wrong shape or a negative known label."""
        if labels.dim() == 2:
            one = labels.shape[1] == 1
            fix = "squeeze them" if one else "for multi-hot labels pass target=SharedLabels(minimum=1)"
            raise ValueError(
                f"labels: SameClass expects one class index per item, shape (items,), got {tuple(labels.shape)}; {fix}"
            )
        check_vectors("SameClass", labels, "one class index per item")
        check_integers("SameClass", labels, "class indices")
        if values_are_readable(labels) and bool((select_known_rows(labels, self.known(labels, labeled)) < 0).any()):
            raise ValueError(
                "labels: expected class indices >= 0 for labeled items, got a negative one; mark unknown labels with "
                "labeled=False, or pass the index that means unknown as target=SameClass(ignore_index=...)"
            )

    def extra_repr(self) -> str:
        return "" if self.ignore_index is None else f"ignore_index={self.ignore_index}"
