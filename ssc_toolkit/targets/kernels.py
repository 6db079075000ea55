"""Targets for continuous labels, with weights that decrease with the distance of the labels."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.checks import check_bool, check_positive
from ssc_toolkit.targets.base import Target, check_real, check_vectors, select_known_rows, values_are_readable


class GaussianKernel(Target):
    r"""Target whose weight decreases with the Euclidean distance of continuous labels.

    The weight of two items with labels a and b is that of y-Aware InfoNCE (Dufumier et al. 2021, arXiv 2106.08808):

    $$w = \exp\left(-\frac{\lVert a - b \rVert^2}{2 \sigma^2}\right)$$

    Args:
        bandwidth: σ in units of the labels, positive.

    Shape:
        - rows: real labels of R anchors, (R,), or (R, k) for labels of k dimensions
        - columns: real labels of C contrasts, (C,) or (C, k)
        - output: weights (R, C), float64 for float64 labels or in a loss of float64 embeddings, otherwise float32

    Raises:
        ValueError: if `bandwidth` is not positive.

    Examples:
        >>> import torch
        >>> arousal = torch.tensor([0.0, 0.1, 1.0])
        >>> GaussianKernel(bandwidth=0.1)(arousal, arousal)[0]
        tensor([1.0000e+00, 6.0653e-01, 1.9287e-22])
    """

    def __init__(self, bandwidth: float) -> None:
        super().__init__()
        self.bandwidth = check_positive("bandwidth", bandwidth)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.forward_in(rows, columns, torch.float32)

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        distance = label_distance(rows, columns, dtype)
        return torch.exp(-((distance / self.bandwidth) ** 2) / 2)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items,) or (items, dimensions), and finite in labeled rows."""
        check_continuous("GaussianKernel", labels, labeled)

    def extra_repr(self) -> str:
        return f"bandwidth={self.bandwidth}"


class TempoKernel(Target):
    r"""Target whose weight decreases with the distance of two tempi in octaves.

    The weight of two items with tempi a and b is \(w = \exp(-d^2 / (2 \sigma^2))\) with \(d = \log_2(a / b)\). If
    `octave_blind` is True, d is replaced by its difference to the nearest integer.

    Args:
        bandwidth_octaves: σ in octaves, positive; 0.06 octaves is about 4 % of the tempo.
        octave_blind: whether a tempo counts as equal to its half and its double.

    Shape:
        - rows: positive tempi of R anchors in beats per minute, (R,)
        - columns: positive tempi of C contrasts in beats per minute, (C,)
        - output: weights (R, C), float64 for float64 labels or in a loss of float64 embeddings, otherwise float32

    Raises:
        ValueError: if `bandwidth_octaves` is not positive.

    Examples:
        >>> import torch
        >>> tempo = torch.tensor([60.0, 120.0])
        >>> TempoKernel(bandwidth_octaves=0.5, octave_blind=True)(tempo, tempo)
        tensor([[1., 1.],
                [1., 1.]])
        >>> TempoKernel(bandwidth_octaves=0.5)(tempo, tempo)
        tensor([[1.0000, 0.1353],
                [0.1353, 1.0000]])
    """

    def __init__(self, bandwidth_octaves: float = 0.06, octave_blind: bool = False) -> None:
        super().__init__()
        self.bandwidth_octaves = check_positive("bandwidth_octaves", bandwidth_octaves)
        self.octave_blind = check_bool("octave_blind", octave_blind)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return self.forward_in(rows, columns, torch.float32)

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        octaves = as_real(rows, dtype).log2()[:, None] - as_real(columns, dtype).log2()
        if self.octave_blind:
            octaves = octaves - octaves.round()
        return torch.exp(-((octaves / self.bandwidth_octaves) ** 2) / 2)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise ValueError unless labels are (items,), and positive in labeled rows."""
        check_vectors("TempoKernel", labels, "beats per minute")
        check_real("TempoKernel", labels)
        if values_are_readable(labels):
            known = select_known_rows(labels, labeled)
            if not bool(((known > 0) & known.isfinite()).all()):
                raise ValueError("labels: TempoKernel expects positive beats per minute in every labeled row")

    def extra_repr(self) -> str:
        return f"bandwidth_octaves={self.bandwidth_octaves}, octave_blind={self.octave_blind}"


def label_distance(rows: Tensor, columns: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Compute Euclidean distances (R, C) of continuous labels of R anchors, `rows`, and C contrasts, `columns`.

    Labels are (R,) and (C,), or (R, k) and (C, k) for k dimensions.

    The distance of equal labels is exactly 0. Computation is in `dtype`, or in float64 for labels in float64.
    """
    if rows.dim() == 1 and not (rows.is_floating_point() or columns.is_floating_point()):
        return (rows.long()[:, None] - columns.long()).abs().to(dtype)  # exact for large integers
    if not (rows.is_floating_point() or columns.is_floating_point()) and len(columns):
        shift = columns[:1].long()  # the dtype may round large integers, but not their differences
        rows, columns = rows.long() - shift, columns.long() - shift
    rows, columns = as_real(rows, dtype), as_real(columns, dtype)
    if rows.dim() == 1:
        return (rows[:, None] - columns).abs()
    return torch.cdist(rows, columns, compute_mode="donot_use_mm_for_euclid_dist")


def check_continuous(name: str, labels: Tensor, labeled: Tensor | None) -> None:
    """Raise ValueError unless labels are (items,) or (items, dimensions), and finite in labeled rows.

    `name` is the class of the target or loss in the message.
    """
    if labels.dim() not in (1, 2):
        raise ValueError(f"labels: {name} expects numbers, shape (items,) or (items, k), got {tuple(labels.shape)}")
    check_real(name, labels)
    if values_are_readable(labels) and not bool(select_known_rows(labels, labeled).isfinite().all()):
        raise ValueError(f"labels: {name} expects finite numbers in every labeled row")


def as_real(labels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Convert labels to `dtype`, float32 or float64. Labels in float64 are not changed."""
    return labels if labels.dtype == torch.float64 else labels.to(dtype)
