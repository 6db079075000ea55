"""Targets that read weights from a table, for musical keys and for any precomputed similarity."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ssc_toolkit.checks import check_choice, check_positive
from ssc_toolkit.targets.base import (
    Target,
    as_numbers,
    check_integers,
    check_vectors,
    select_known_rows,
    values_are_readable,
)


class SimilarityMatrix(Target):
    """Target that reads weights from a precomputed matrix of similarities.

    The label of an item is an index into the matrix, for example the index of its artist. The weight of a pair is
    `matrix[label of the anchor, label of the contrast]`.

    Args:
        matrix: floating-point weights in [0, 1] for each two of M label values, (M, M). It need not be symmetric. It is
            not part of the state dict.

    Shape:
        - rows: integer labels of R anchors, 0 to M - 1, (R,)
        - columns: integer labels of C contrasts, 0 to M - 1, (C,)
        - output: weights (R, C), with the dtype of the matrix

    Raises:
        ValueError: if the matrix is not square, or has values outside of 0 to 1.
        TypeError: if the matrix is not floating point.

    Examples:
        >>> import torch
        >>> artists = SimilarityMatrix(torch.tensor([[1.0, 0.3], [0.3, 1.0]]))
        >>> artists(torch.tensor([0, 1]), torch.tensor([1, 1, 0]))
        tensor([[0.3000, 0.3000, 1.0000],
                [1.0000, 1.0000, 0.3000]])
    """

    matrix: Tensor

    numbers = "row numbers"
    """What the labels of the class are called in error messages."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        matrix = as_numbers("matrix", matrix)
        if not matrix.is_floating_point():
            raise TypeError(f"matrix: expected floating point, got {matrix.dtype}")
        if matrix.dim() != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"matrix: expected a square matrix, got {tuple(matrix.shape)}")
        if not bool(((matrix >= 0) & (matrix <= 1)).all()):
            raise ValueError("matrix: expected weights from 0 to 1")
        self.register_buffer("matrix", matrix.detach(), persistent=False)

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        return _look_up(self.matrix, rows, columns)

    def check(self, labels: Tensor, labeled: Tensor | None) -> None:
        """Raise TypeError unless labels are integers, and ValueError if a known label is not an index of the matrix."""
        name, size = type(self).__name__, len(self.matrix)
        check_vectors(name, labels, "one number per item")
        check_integers(name, labels, self.numbers)
        if values_are_readable(labels):
            known = select_known_rows(labels, labeled)
            if not bool(((known >= 0) & (known < size)).all()):
                raise ValueError(f"labels: {name} expects 0 to {size - 1} in every labeled row, got other values")

    def extra_repr(self) -> str:
        return f"{len(self.matrix)} rows"


class KeySimilarity(SimilarityMatrix):
    r"""Target whose weight depends on the relation of two musical keys.

    The label of a major key is its tonic in semitones above C, 0 to 11. The label of a minor key is 12 more.

    The kernel "mirex" uses the weights of the MIREX key evaluation, made symmetric: 1 for the same key, 0.5 for two
    keys of the same mode a fifth apart, 0.3 for relative keys, 0.2 for parallel keys, and 0 for other pairs.

    The kernel "fifths" uses \(\exp(-d^2 / (2 \sigma^2))\), where d is the number of steps between the key signatures on
    the circle of fifths, 0 to 6. Relative keys have the same signature, so their weight is 1.

    Args:
        kernel: "mirex" or "fifths".
        bandwidth_fifths: σ of the kernel "fifths" in steps on the circle, positive.

    Shape:
        - rows: integer keys of R anchors, 0 to 23, (R,)
        - columns: integer keys of C contrasts, 0 to 23, (C,)
        - output: weights (R, C), float64 in a loss of float64 embeddings, otherwise float32

    Raises:
        ValueError: if `kernel` is unknown, or `bandwidth_fifths` is not positive.

    Examples:
        >>> import torch
        >>> c_major, g_major, a_minor = torch.tensor([[0], [7], [9 + 12]])
        >>> KeySimilarity()(c_major, torch.cat([c_major, g_major, a_minor]))
        tensor([[1.0000, 0.5000, 0.3000]])
        >>> KeySimilarity("fifths", bandwidth_fifths=1.0)(c_major, torch.cat([c_major, g_major, a_minor]))
        tensor([[1.0000, 0.6065, 1.0000]])
    """

    numbers = "keys"

    def __init__(self, kernel: Literal["mirex", "fifths"] = "mirex", bandwidth_fifths: float = 1.0) -> None:
        check_choice("kernel", kernel, ("mirex", "fifths"))
        bandwidth_fifths = check_positive("bandwidth_fifths", bandwidth_fifths)
        exact = _mirex_weights() if kernel == "mirex" else _fifths_weights(bandwidth_fifths)
        super().__init__(exact.float())
        # No buffer in double precision, because some devices do not support it.
        self._exact = exact
        self.kernel, self.bandwidth_fifths = kernel, bandwidth_fifths

    def forward_in(self, rows: Tensor, columns: Tensor, dtype: torch.dtype) -> Tensor:
        return _look_up(self._exact.to(rows.device) if dtype == torch.float64 else self.matrix, rows, columns)

    def extra_repr(self) -> str:
        return f"{self.kernel!r}" + (f", bandwidth_fifths={self.bandwidth_fifths}" if self.kernel == "fifths" else "")


def _look_up(matrix: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    last = len(matrix) - 1  # labels that are not known can have any value
    return matrix[rows.long().clamp(0, last)[:, None], columns.long().clamp(0, last)]


def _mirex_weights() -> Tensor:
    weights = torch.eye(24, dtype=torch.float64)
    for tonic in range(12):
        for minor in (0, 12):
            for fifth in (7, 5):
                weights[tonic + minor, (tonic + fifth) % 12 + minor] = 0.5
        relative = (tonic + 9) % 12 + 12
        weights[tonic, relative] = weights[relative, tonic] = 0.3
        weights[tonic, tonic + 12] = weights[tonic + 12, tonic] = 0.2
    return weights


def _fifths_weights(bandwidth: float) -> Tensor:
    keys = torch.arange(24)
    signature_tonic = torch.where(keys < 12, keys, keys + 3) % 12  # tonic of the major key with the same signature
    place = signature_tonic * 7 % 12
    steps = (place[:, None] - place).abs()
    return torch.exp(-((torch.minimum(steps, 12 - steps).double() / bandwidth) ** 2) / 2)
