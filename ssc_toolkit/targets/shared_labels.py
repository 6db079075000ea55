"""Targets for items with several labels each, in which items that have labels in common are positives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ssc_toolkit.checks import as_integer, check_choice, check_fraction
from ssc_toolkit.targets.base import Target, as_numbers, check_class_rows, known_rows


class SharedLabels(Target):
    """Target with weight 1 for two items that have at least `minimum` labels in common, and 0 otherwise.

    This is the target of SemiSupCon (Guinot et al. 2024, arXiv 2407.13840). A row that contains NaN is unknown.

    Args:
        minimum: number of labels that two items must have in common, at least 1.
        threshold: smallest probability, above 0 and at most 1, of a label that an item has. Pass it if the labels are
            probabilities, such as those that `ssc-toolkit tag` writes. None: the labels are 0 or 1.

    Shape:
        - rows: multi-hot labels of R anchors, (R, classes), 0 or 1 as bool, integer or floating point; with
          `threshold`, probabilities from 0 to 1
        - columns: labels of C contrasts, (C, classes)
        - output: weights (R, C), float32

    Raises:
        ValueError: if `minimum` is below 1, or `threshold` is not above 0 and at most 1.
        TypeError: if `minimum` is not an integer.

    Examples:
        >>> import torch
        >>> tags = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0]])
        >>> SharedLabels(minimum=1)(tags, tags)
        tensor([[1., 1., 1.],
                [1., 1., 0.],
                [1., 0., 1.]])
        >>> probabilities = torch.tensor([[0.9, 0.2], [0.6, 0.7], [0.1, 0.8]])
        >>> SharedLabels(minimum=1, threshold=0.5)(probabilities, probabilities)
        tensor([[1., 1., 0.],
                [1., 1., 1.],
                [0., 1., 1.]])
    """

    def __init__(self, minimum: int = 1, threshold: float | None = None) -> None:
        super().__init__()
        self.minimum = as_integer("minimum", minimum, 1)
        self.threshold = _check_threshold(threshold)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        rows, columns = _above(self.threshold, rows), _above(self.threshold, columns)
        return (rows.float() @ columns.float().T >= self.minimum).float()

    def known(self, labels: Any, labeled: Any) -> Any:
        """Return the mask of known labels, in which rows that contain NaN are unknown."""
        return known_rows(labels, labeled)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items, classes), and 0 or 1 or, with `threshold`, from 0 to 1."""
        check_class_rows("SharedLabels", labels, labeled, are_probabilities=self.threshold is not None)

    def extra_repr(self) -> str:
        return f"minimum={self.minimum}" + _describe_threshold(self.threshold)


class LabelOverlap(Target):
    r"""Target whose weight is the overlap of the labels of two items.

    For labels that are 0 or 1, the Dice overlap of the sets of labels A and B is 2 |A and B| / (|A| + |B|), and the
    Jaccard overlap is |A and B| / |A or B|. For probabilities a and b of the labels, the overlaps are those of fuzzy
    sets, with v the weights of the classes:

    $$\mathrm{dice} = \frac{2 \sum_c v_c \min(a_c, b_c)}{\sum_c v_c (a_c + b_c)} \qquad
    \mathrm{jaccard} = \frac{\sum_c v_c \min(a_c, b_c)}{\sum_c v_c \max(a_c, b_c)}$$

    Both equations agree for labels that are 0 or 1. Two items without labels have overlap 0. A row that contains NaN is
    unknown.

    Args:
        measure: "dice" or "jaccard".
        class_weights: positive weight of each class, (classes,). Use inverse class frequencies to give rare labels more
            weight. None: every weight is 1.
        threshold: smallest probability, above 0 and at most 1, of a label that an item has. Labels of at least this
            probability count as 1, and others as 0. None: the labels are used unchanged.

    Shape:
        - rows: multi-hot labels or probabilities of R anchors, (R, classes), 0 to 1 as bool, integer or floating point
        - columns: labels of C contrasts, (C, classes)
        - output: weights (R, C), float64 in a loss of float64 embeddings, otherwise float32

    Raises:
        ValueError: if `measure` is unknown, `class_weights` are not positive or not (classes,), or `threshold` is not
            above 0 and at most 1.
        TypeError: if `class_weights` are not real numbers.

    Examples:
        >>> import torch
        >>> tags = torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 0]])
        >>> LabelOverlap("dice")(tags, tags)
        tensor([[1.0000, 0.5000, 0.0000],
                [0.5000, 1.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
        >>> probabilities = torch.tensor([[0.9, 0.2], [0.6, 0.7]])
        >>> LabelOverlap("jaccard")(probabilities, probabilities)
        tensor([[1.0000, 0.5000],
                [0.5000, 1.0000]])
    """

    class_weights: Tensor | None

    def __init__(
        self,
        measure: Literal["dice", "jaccard"] = "dice",
        class_weights: Tensor | Sequence[float] | None = None,
        threshold: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("measure", measure, ("dice", "jaccard"))
        self.measure = measure
        self.threshold = _check_threshold(threshold)
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
        rows, columns = (_above(self.threshold, labels).to(dtype) for labels in (rows, columns))
        if weights is not None:
            rows, columns = rows * weights, columns * weights
        both = rows.sum(1)[:, None] + columns.sum(1)
        # The sum of minima is half of the sum minus the distance, which needs no tensor (R, C, classes). It must be
        # exactly 0 for labels without overlap, because pairs with a weight above 0 are positives.
        shared = (both - torch.cdist(rows, columns, p=1.0)).clamp(min=0) / 2
        shared = torch.where(rows @ columns.T > 0, shared, 0)
        if self.measure == "dice":
            shared, whole = 2 * shared, both
        else:
            whole = both - shared
        return torch.where(whole > 0, shared / whole, 0).clamp(max=1)

    def _weights_in(self, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        if self._exact_weights is None or self.class_weights is None:
            return None
        return self._exact_weights.to(device) if dtype == torch.float64 else self.class_weights.to(dtype)

    def known(self, labels: Any, labeled: Any) -> Any:
        """Return the mask of known labels, in which rows that contain NaN are unknown."""
        return known_rows(labels, labeled)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items, classes), 0 to 1, with as many classes as `class_weights`."""
        check_class_rows("LabelOverlap", labels, labeled, are_probabilities=True)
        if self.class_weights is not None and labels.shape[1] != len(self.class_weights):
            raise ValueError(
                f"labels: expected {len(self.class_weights)} classes as in class_weights, got rows of {labels.shape[1]}"
            )

    def extra_repr(self) -> str:
        weighted = ", class_weights" if self.class_weights is not None else ""
        return f"{self.measure!r}{weighted}{_describe_threshold(self.threshold)}"


def _check_threshold(threshold: float | None) -> float | None:
    return None if threshold is None else check_fraction("threshold", threshold, allow_zero=False)


def _describe_threshold(threshold: float | None) -> str:
    return "" if threshold is None else f", threshold={threshold}"


def _above(threshold: float | None, labels: Tensor) -> Tensor:
    """Return which labels have at least the probability `threshold`, or the labels if it is None."""
    return labels if threshold is None else labels >= threshold
