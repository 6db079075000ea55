"""Target for probabilities of classes, such as the outputs of another model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ssc_toolkit.checks import check_choice
from ssc_toolkit.targets.base import Target, check_real, select_known_rows, values_are_readable


class ProbabilityOverlap(Target):
    r"""Target whose weight is the overlap of the class probabilities of two items.

    The probabilities p and q of the two items are, for example, the outputs of a model that was trained on other music
    (a teacher). The Dice overlap is \(2 p \cdot q / (p \cdot p + q \cdot q)\). The Jaccard overlap is
    \(p \cdot q / (p \cdot p + q \cdot q - p \cdot q)\). Both are 1 for equal probabilities. If all probabilities are 0
    or 1, they are the overlaps of `LabelOverlap`. Two items whose probabilities are all 0 have overlap 0.

    Args:
        measure: "dice" or "jaccard".

    Shape:
        - rows: probabilities of R anchors, 0 to 1, (R, classes). They need not sum to 1.
        - columns: probabilities of C contrasts, (C, classes)
        - output: weights (R, C), float64 for float64 probabilities or in a loss of float64 embeddings, otherwise
          float32

    Raises:
        ValueError: if `measure` is unknown.

    Examples:
        >>> import torch
        >>> teacher = torch.tensor([[0.8, 0.2], [0.8, 0.2], [0.0, 1.0]])
        >>> ProbabilityOverlap("dice")(teacher, teacher)[0]
        tensor([1.0000, 1.0000, 0.2381])
    """

    def __init__(self, measure: Literal["dice", "jaccard"] = "dice") -> None:
        super().__init__()
        check_choice("measure", measure, ("dice", "jaccard"))
        self.measure = measure

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.forward_in(rows, columns, torch.float32)

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        dtype = torch.promote_types(dtype, rows.dtype) if rows.is_floating_point() else dtype
        rows, columns = rows.to(dtype), columns.to(dtype)
        shared = rows @ columns.T
        both = rows.square().sum(1)[:, None] + columns.square().sum(1)
        if self.measure == "dice":
            shared, whole = 2 * shared, both
        else:
            whole = both - shared
        return torch.where(whole > 0, shared / whole, 0).clamp(max=1)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items, classes), and from 0 to 1 in labeled rows."""
        if labels.dim() != 2:
            raise ValueError(
                f"labels: ProbabilityOverlap expects probabilities, shape (items, classes), got {tuple(labels.shape)}"
            )
        check_real("ProbabilityOverlap", labels)
        if values_are_readable(labels):
            known = select_known_rows(labels, labeled)
            if not bool(((known >= 0) & (known <= 1)).all()):
                raise ValueError("labels: ProbabilityOverlap expects 0 to 1 in every labeled row, got other values")

    def extra_repr(self) -> str:
        return f"{self.measure!r}"
