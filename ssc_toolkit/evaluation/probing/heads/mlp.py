"""MLP head with one hidden layer, trained as in Guinot, Quinton and Fazekas (ISMIR 2024)."""

from __future__ import annotations

import torch
from torch import nn

from ssc_toolkit.evaluation.probing.heads.base import Problem
from ssc_toolkit.evaluation.probing.heads.torch_head import TorchHead, train_head
from ssc_toolkit.seeds import make_generator

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
    classes, binary cross-entropy for multi-hot labels and mean squared error for numbers. The weights of the epoch with
    the best score on the validation set are returned (Guinot, Quinton and Fazekas, ISMIR 2024).

    Args:
        problem: embeddings and labels to fit the head to.
        seed: seed of the initial weights and of the order of the tracks in each epoch.

    Returns:
        The fitted head.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(
            nn.Linear(problem.train_x.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, len(problem.names))
        )
    head = TorchHead(layers, problem)
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)
    generator = make_generator(seed, "mlp head")
    head.settings = {"epochs": train_head(head, problem, optimizer, generator, BATCH_SIZE, MAX_EPOCHS, PATIENCE)}
    return head
