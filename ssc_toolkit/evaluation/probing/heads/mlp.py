"""MLP head with one hidden layer, trained as in Guinot, Quinton and Fazekas (ISMIR 2024)."""

from __future__ import annotations

from torch import nn

from ssc_toolkit.evaluation.probing.heads.base import Problem
from ssc_toolkit.evaluation.probing.heads.torch_head import Schedule, TorchHead, fit_torch_head

HIDDEN = 512
LEARNING_RATE = 3e-4
WEIGHT_DECAY = 1e-6
BATCH_SIZE = 64
MAX_EPOCHS = 200
PATIENCE = 10
"""Number of epochs without an improvement on the validation set after which training stops."""


def fit_mlp(problem: Problem, seed: int = 0) -> TorchHead:
    """Fit an MLP head with one hidden layer of 512 units and ReLU, using Adam and early stopping.

    The learning rate is 3e-4, the weight decay is 1e-6 and the batch size is 64. Embeddings, and labels that are
    numbers, are standardized with the mean and standard deviation of the training set. The loss is cross-entropy for
    classes, binary cross-entropy for multi-hot labels and mean squared error for numbers. The best epoch is selected
    by `fit_torch_head` (Guinot, Quinton and Fazekas, ISMIR 2024).

    Args:
        problem: embeddings and labels to fit the head to.
        seed: seed of the initial weights and of the order of the tracks in each epoch.

    Returns:
        The fitted head.
    """
    dim, outputs = problem.train_x.shape[1], len(problem.names)

    def make_layers() -> nn.Module:
        return nn.Sequential(nn.Linear(dim, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs))

    schedule = Schedule(LEARNING_RATE, WEIGHT_DECAY, BATCH_SIZE, MAX_EPOCHS, PATIENCE)
    return fit_torch_head(problem, make_layers, schedule, "mlp head", seed)
