"""Linear maps that are fitted to any number of frames in constant memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LinearMap:
    """Linear map from frames to targets.

    Attributes:
        weight: (width, targets).
        bias: (targets,).
    """

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Map frames (N, width) to outputs (N, targets)."""
        return frames @ self.weight + self.bias


class FrameStatistics:
    r"""Sums over frames from which ridge regressions are solved, so that no frames are kept.

    The ridge regression of the targets y on the standardized frames x minimizes

    \[
    \frac{1}{N} \sum_i \lVert W x_i + b - y_i \rVert^2 + \lambda \lVert W \rVert^2
    \]

    (Hoerl and Kennard, Technometrics 1970). Its solution depends on the frames only through the sums of x, y, x xᵀ and
    x yᵀ, whose memory does not grow with the number of frames.

    Args:
        width: width of the frames.
        targets: number of targets.

    Examples:
        >>> random = np.random.default_rng(0)
        >>> statistics = FrameStatistics(3, 1)
        >>> for _ in range(10):
        ...     frames = random.normal(size=(50, 3))
        ...     statistics.add(frames, frames[:, :1] - 2 * frames[:, 1:2] + 1)
        >>> statistics.solve(1e-6)(np.array([[1.0, 1.0, 0.0]])).round(2).tolist()
        [[0.0]]
    """

    def __init__(self, width: int, targets: int) -> None:
        self.count = 0
        self._products = np.zeros((1 + width, 1 + width))
        self._targets = np.zeros((1 + width, targets))
        self._offset: np.ndarray | None = None

    def add(self, frames: np.ndarray, targets: np.ndarray) -> None:
        """Add frames (N, width) and their targets (N, targets)."""
        if not len(frames):
            return
        own = np.asarray(frames, dtype=np.float64)
        if self._offset is None:
            self._offset = own.mean(axis=0)  # keeps the sums of products of centered values accurate
        own = np.column_stack([np.ones(len(own)), own - self._offset])
        self.count += len(own)
        self._products += own.T @ own
        self._targets += own.T @ targets

    def solve(self, regularization: float) -> LinearMap:
        """Return the ridge regression for a weight of the penalty, which is the λ of the equation above 0."""
        if self._offset is None:
            raise ValueError("expected frames, got none")
        mean, target_mean = self._products[0, 1:] / self.count, self._targets[0] / self.count
        covariance = self._products[1:, 1:] / self.count - np.outer(mean, mean)
        scale = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
        correlation = covariance / np.outer(scale, scale)
        joint = (self._targets[1:] / self.count - np.outer(mean, target_mean)) / scale[:, None]
        weight = np.linalg.solve(correlation + regularization * np.eye(len(scale)), joint) / scale[:, None]
        return LinearMap(weight, target_mean - (mean + self._offset) @ weight)
