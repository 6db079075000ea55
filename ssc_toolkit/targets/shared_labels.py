"""Targets for items with several labels each, in which items that have labels in common are positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ssc_toolkit.checks import as_integer, check_choice
from ssc_toolkit.targets.base import Target, as_numbers, check_multi_hot


class SharedLabels(Target):
    """Target with weight 1 for two items that have at least `minimum` labels in common, and 0 otherwise.

    This is the target of SemiSupCon (Guinot et al. 2024, arXiv 2407.13840).

    Args:
        minimum: number of labels that two items must have in common, at least 1.

    Shape:
        - rows: multi-hot labels of R anchors, (R, classes), 0 or 1 as bool, integer or floating point
        - columns: multi-hot labels of C contrasts, (C, classes)
        - output: weights (R, C), float32

    Raises:
        ValueError: if `minimum` is below 1.
        TypeError: if `minimum` is not an integer.

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
        self.minimum = as_integer("minimum", minimum, 1)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return (rows.float() @ columns.float().T >= self.minimum).float()

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items, classes), and 0 or 1 in labeled rows."""
        check_multi_hot("SharedLabels", labels, labeled)

    def extra_repr(self) -> str:
        return f"minimum={self.minimum}"


class LabelOverlap(Target):
    """Target whose weight is the overlap of the sets of labels A and B of two items.

    The Dice overlap is 2 |A and B| / (|A| + |B|). The Jaccard overlap is |A and B| / |A or B|. Here |A| is the number
    of labels in A or, with `class_weights`, the sum of their weights. Two items without labels have overlap 0.

    Args:
        measure: "dice" or "jaccard".
        class_weights: positive weight of each class, (classes,). Use inverse class frequencies to give rare labels more
            weight. None: every weight is 1.

    Shape:
        - rows: multi-hot labels of R anchors, (R, classes), 0 or 1 as bool, integer or floating point
        - columns: multi-hot labels of C contrasts, (C, classes)
        - output: weights (R, C), float64 in a loss of float64 embeddings, otherwise float32

    Raises:
        ValueError: if `measure` is unknown, or `class_weights` are not positive or not (classes,).
        TypeError: if `class_weights` are not real numbers.

    Examples:
        >>> import torch
        >>> tags = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]])
        >>> LabelOverlap("dice")(tags, tags)
        tensor([[1.0000, 0.5000, 0.0000],
                [0.5000, 1.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """

    class_weights: Tensor | None

    def __init__(
        self, measure: Literal["dice", "jaccard"] = "dice", class_weights: Tensor | Sequence[float] | None = None
    ) -> None:
        super().__init__()
        check_choice("measure", measure, ("dice", "jaccard"))
        self.measure = measure
        if class_weights is not None:
            class_weights = as_numbers("class_weights", class_weights).double()
            if class_weights.dim() != 1 or not bool((class_weights.isfinite() & (class_weights > 0)).all()):
                raise ValueError("class_weights: expected a positive number for each class, shape (classes,)")
        # No buffer in double precision, because some devices do not support it.
        self._exact_weights = class_weights
        self.register_buffer(
            "class_weights", None if class_weights is None else class_weights.float(), persistent=False
        )

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.forward_in(rows, columns, torch.float32)

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        weights = self._weights_in(dtype, rows.device)
        weighted, columns = rows.to(dtype), columns.to(dtype)
        if weights is not None:
            weighted = weighted * weights
        shared = weighted @ columns.T
        sizes = columns.sum(1) if weights is None else columns @ weights
        both = weighted.sum(1)[:, None] + sizes
        if self.measure == "dice":
            shared, whole = 2 * shared, both
        else:
            whole = both - shared
        return torch.where(whole > 0, shared / whole, 0).clamp(max=1)

    def _weights_in(self, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        if self._exact_weights is None or self.class_weights is None:
            return None
        return self._exact_weights.to(device) if dtype == torch.float64 else self.class_weights.to(dtype)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items, classes), 0 or 1, with as many classes as `class_weights`."""
        check_multi_hot("LabelOverlap", labels, labeled)
        if self.class_weights is not None and labels.shape[1] != len(self.class_weights):
            raise ValueError(
                f"labels: expected {len(self.class_weights)} classes as in class_weights, got rows of {labels.shape[1]}"
            )

    def extra_repr(self) -> str:
        return f"{self.measure!r}" + (", class_weights" if self.class_weights is not None else "")
