"""Head that is trained by gradient descent, with frozen embeddings or together with the encoder."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.probing.heads.base import Problem


class TorchHead(nn.Module):
    """A head that standardizes embeddings and applies layers. It computes the loss for its kind of labels.

    Args:
        layers: module that maps embeddings (N, dim) to outputs (N, classes or columns).
        problem: data that the head is fitted to. The mean and standard deviation of the training set standardize the
            embeddings and, for regression, the labels.
    """

    input_mean: Tensor
    input_std: Tensor
    output_mean: Tensor
    output_std: Tensor

    def __init__(self, layers: nn.Module, problem: Problem) -> None:
        super().__init__()
        self.layers = layers
        self.kind: Kind = problem.kind
        self.settings: Mapping[str, Any] = {}
        numbers = problem.train_y if problem.kind == "number" else np.zeros((1, len(problem.names)))
        for name, values in (("input", problem.train_x), ("output", numbers)):
            mean, std = _moments(values)
            self.register_buffer(f"{name}_mean", mean)
            self.register_buffer(f"{name}_std", std)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Predict labels from embeddings (N, dim).

        Returns:
            Class logits (N, classes), or for numeric labels the predicted values on the standardized scale, one column
            for each label (N, labels).
        """
        return self.layers((embeddings - self.input_mean) / self.input_std)

    def loss(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute the mean loss, a scalar, from embeddings (N, dim) and their labels.

        It is cross-entropy for class indices (N,), binary cross-entropy for multi-hot labels (N, classes), and the
        squared error of standardized numbers for numbers (N, columns).
        """
        outputs = self(embeddings)
        if self.kind == "class":
            return functional.cross_entropy(outputs, labels)
        if self.kind == "multi-hot":
            return functional.binary_cross_entropy_with_logits(outputs, labels)
        return functional.mse_loss(outputs, (labels - self.output_mean) / self.output_std)

    @torch.no_grad()
    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Predict class probabilities (N, classes) or numbers (N, columns) from embeddings (N, dim)."""
        outputs = self(torch.as_tensor(embeddings, dtype=torch.float32, device=self.input_mean.device))
        if self.kind == "class":
            outputs = outputs.softmax(dim=1)
        elif self.kind == "multi-hot":
            outputs = outputs.sigmoid()
        else:
            outputs = outputs * self.output_std + self.output_mean
        return outputs.cpu().numpy()


def train_head(
    head: TorchHead,
    problem: Problem,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    batch_size: int,
    max_epochs: int,
    patience: int,
) -> int:
    """Train a head on frozen embeddings, and load the weights of the epoch with the best score on the validation set.

    Args:
        head: the head, which is changed.
        problem: embeddings and labels to fit the head to.
        optimizer: optimizer of the parameters of the head.
        generator: generator of the order of the tracks in each epoch.
        batch_size: number of tracks in a batch.
        max_epochs: maximum number of epochs.
        patience: number of epochs without an improvement after which training stops.

    Returns:
        The best epoch, from 1.
    """
    x, y = torch.tensor(problem.train_x, dtype=torch.float32), torch.from_numpy(problem.train_y)
    best: tuple[float, int, Mapping[str, Any]] | None = None
    for epoch in range(1, max_epochs + 1):
        for rows in torch.randperm(len(x), generator=generator).split(batch_size):
            optimizer.zero_grad()
            head.loss(x[rows], y[rows]).backward()
            optimizer.step()
        quality = problem.quality(head.predict(problem.valid_x))
        if best is None or quality > best[0]:
            best = (quality, epoch, copy.deepcopy(head.state_dict()))
        elif epoch - best[1] >= patience:
            break
    assert best is not None
    head.load_state_dict(best[2])
    return best[1]


def _moments(values: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of each column of values (N, columns), as tensors (columns,).

    For a constant column, the standard deviation is set to 1.
    """
    mean, std = values.mean(axis=0), values.std(axis=0)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(np.where(std > 0, std, 1.0), dtype=torch.float32)
