"""Head that is trained by gradient descent, with frozen embeddings or together with the encoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssc_toolkit.data.cells import Kind
from ssc_toolkit.evaluation.probing.heads.base import Problem
from ssc_toolkit.seeds import make_generator


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


class Schedule(NamedTuple):
    """Settings of the training of a `TorchHead` on frozen embeddings.

    Attributes:
        learning_rate: learning rate of Adam.
        weight_decay: weight decay of Adam.
        batch_size: number of tracks in a batch.
        max_epochs: maximum number of epochs.
        patience: number of epochs without an improvement on the validation set after which training stops.
    """

    learning_rate: float
    weight_decay: float
    batch_size: int
    max_epochs: int
    patience: int


def fit_torch_head(
    problem: Problem, make_layers: Callable[[], nn.Module], schedule: Schedule, name: str, seed: int
) -> TorchHead:
    """Train a head with Adam on frozen embeddings, and return it with the weights of the best epoch.

    The best epoch has the highest score on the validation set. If the problem has inner folds, it is the median of the
    best epochs of the folds, and the returned head is trained for this number of epochs on the whole training set.

    Args:
        problem: embeddings and labels to fit the head to.
        make_layers: function that returns new layers with random weights.
        schedule: settings of the training.
        name: name of the method, which determines the random order of the tracks together with the seed.
        seed: seed of the initial weights and of the order of the tracks in each epoch.

    Returns:
        The head. Its `settings` contain the best epoch.
    """
    if not problem.inner:
        return _train_head(problem, make_layers, schedule, name, seed)
    found = [_train_head(part, make_layers, schedule, name, seed).settings["epochs"] for part in problem.inner]
    epochs = round(float(np.median(found)))
    return _train_head(problem, make_layers, schedule._replace(max_epochs=epochs), name, seed)


def _train_head(
    problem: Problem, make_layers: Callable[[], nn.Module], schedule: Schedule, name: str, seed: int
) -> TorchHead:
    """Train a head, and load the weights of the epoch with the best score on the validation set.

    Without a validation set, the weights of the last epoch are kept. The arguments are those of `fit_torch_head`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = TorchHead(make_layers(), problem)
    optimizer = torch.optim.Adam(
        head.parameters(), lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    generator = make_generator(seed, name)
    x, y = torch.tensor(problem.train_x, dtype=torch.float32), torch.from_numpy(problem.train_y)
    best: tuple[float, int, Mapping[str, Any]] | None = None
    for epoch in range(1, schedule.max_epochs + 1):
        for rows in torch.randperm(len(x), generator=generator).split(schedule.batch_size):
            optimizer.zero_grad()
            head.loss(x[rows], y[rows]).backward()
            optimizer.step()
        if not len(problem.valid_x):
            continue
        quality = problem.quality(head.predict(problem.valid_x))
        if best is None or quality > best[0]:
            best = (quality, epoch, copy.deepcopy(head.state_dict()))
        elif epoch - best[1] >= schedule.patience:
            break
    head.settings = {"epochs": schedule.max_epochs if best is None else best[1]}
    if best is not None:
        head.load_state_dict(best[2])
    return head


def _moments(values: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation of each column of values (N, columns), as tensors (columns,).

    For a constant column, the standard deviation is set to 1.
    """
    mean, std = values.mean(axis=0), values.std(axis=0)
    return torch.tensor(mean, dtype=torch.float32), torch.tensor(np.where(std > 0, std, 1.0), dtype=torch.float32)
