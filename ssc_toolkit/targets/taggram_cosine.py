"""Target for the class probabilities of a teacher, whose weight is their cosine."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.targets.base import Target, check_class_rows, known_rows


class TaggramCosine(Target):
    r"""Target whose weight is the cosine of the probabilities of the labels of two items.

    Use it for the output of a tagging model, such as the table that `ssc-toolkit tag` writes. The weight of two items
    with probabilities a and b is

    $$w = \frac{\sum_c a_c b_c}{\sqrt{\sum_c a_c^2} \sqrt{\sum_c b_c^2}}$$

    It is 0 if all probabilities of an item are 0. A row that contains NaN is unknown. The cosine depends only on the
    ratios of the probabilities. `LabelOverlap` also depends on their size.

    Shape:
        - rows: probabilities of R anchors, (R, classes), 0 to 1 as bool, integer or floating point
        - columns: probabilities of C contrasts, (C, classes)
        - output: weights (R, C), float64 in a loss of float64 embeddings, otherwise float32

    Examples:
        >>> import torch
        >>> probabilities = torch.tensor([[0.8, 0.0], [0.4, 0.0], [0.3, 0.4], [0.0, 0.1]])
        >>> TaggramCosine()(probabilities[:1], probabilities)
        tensor([[1.0000, 1.0000, 0.6000, 0.0000]])
    """

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.forward_in(rows, columns, torch.float32)

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        return (_unit(rows.to(dtype)) @ _unit(columns.to(dtype)).T).clamp(max=1)

    def known(self, labels: Any, labeled: Any) -> Any:
        """Return the mask of known labels, in which rows that contain NaN are unknown."""
        return known_rows(labels, labeled)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items, classes), at least one class, and 0 to 1 in labeled rows."""
        check_class_rows("TaggramCosine", labels, labeled, are_probabilities=True)
        if not labels.shape[1]:
            raise ValueError(f"labels: TaggramCosine expects at least one class, got {tuple(labels.shape)}")


def _unit(rows: Tensor) -> Tensor:
    """Divide rows by their norm. Division by the maximum first avoids underflow. Rows of zeros are not changed."""
    largest = rows.amax(dim=1, keepdim=True)
    return F.normalize(rows / torch.where(largest > 0, largest, 1), dim=1)
