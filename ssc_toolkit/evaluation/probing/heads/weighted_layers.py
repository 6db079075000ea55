"""Linear head on a learned weighted sum of layers, as in MARBLE (Yuan et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.probing.heads.base import Problem
from ssc_toolkit.evaluation.probing.heads.torch_head import Schedule, TorchHead, fit_torch_head

WEIGHTED = "weighted_layers"
"""Name of the method."""

LEARNING_RATE = 1e-2
WEIGHT_DECAY = 1e-4
BATCH_SIZE = 64
MAX_EPOCHS = 300
PATIENCE = 30
"""Number of epochs without an improvement on the validation set after which training stops."""


class WeightedLayerSum(nn.Module):
    r"""Weighted sum of layers with the same width, with learned weights: the softmax of one score per layer.

    \[ y = \sum_l \frac{e^{s_l}}{\sum_k e^{s_k}} P_l x_l \]

    Layers of unequal width are first projected by learned matrices \(P_l\) to the width of the widest layer. If all
    layers have the same width, there are no projections.

    Args:
        widths: width of each layer.

    Shape:
        - input: (N, sum of the widths), the concatenated layers
        - output: (N, maximum of the widths)

    Examples:
        >>> WeightedLayerSum([3, 3])(torch.tensor([[1.0, 2.0, 3.0, 3.0, 2.0, 1.0]])).tolist()
        [[2.0, 2.0, 2.0]]
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = list(widths)
        self.width = max(widths)
        self.scores = nn.Parameter(torch.zeros(len(self.widths)))
        is_equal = min(widths) == self.width
        self.projections = nn.ModuleList(
            nn.Identity() if is_equal else nn.Linear(width, self.width, bias=False) for width in self.widths
        )

    @property
    def weights(self) -> Tensor:
        """Weights of the layers (layers,), which sum to 1."""
        return self.scores.softmax(dim=0)

    def forward(self, embeddings: Tensor) -> Tensor:
        parts = embeddings.split(self.widths, dim=1)
        projected = [project(part) for project, part in zip(self.projections, parts, strict=True)]
        return torch.einsum("l,lnd->nd", self.weights, torch.stack(projected))


def fit_weighted_layers(problem: Problem, seed: int = 0) -> TorchHead:
    """Fit a linear head on a `WeightedLayerSum` of the layers, using Adam and early stopping.

    The learning rate is 1e-2, the weight decay is 1e-4 and the batch size is 64. Each column of each layer is
    standardized with the mean and standard deviation of the training set, so that the scale of a layer has no effect.
    The best epoch is selected by `fit_torch_head`. If `problem.layer_widths` is None,
    the embeddings are a single layer.

    Args:
        problem: embeddings and labels to fit the head to.
        seed: seed of the initial weights and of the order of the tracks in each epoch.

    Returns:
        The head. Its `settings` contain the weight of each layer by name.

    Raises:
        InputError: if the widths of the layers do not sum to the width of the embeddings.
    """
    dim = problem.train_x.shape[1]
    widths: Mapping[str, int] = {"embedding": dim} if problem.layer_widths is None else problem.layer_widths
    if sum(widths.values()) != dim or min(widths.values()) < 1:
        raise InputError(f"layer_widths: expected widths that sum to the {dim} columns, got {dict(widths)}")
    schedule = Schedule(LEARNING_RATE, WEIGHT_DECAY, BATCH_SIZE, MAX_EPOCHS, PATIENCE)

    def make_layers() -> nn.Module:
        weighted = WeightedLayerSum(list(widths.values()))
        return nn.Sequential(weighted, nn.Linear(weighted.width, len(problem.names)))

    head = fit_torch_head(problem, make_layers, schedule, "weighted layers", seed)
    weighted = cast(nn.Sequential, head.layers)[0]
    assert isinstance(weighted, WeightedLayerSum)
    weights = dict(zip(widths, (round(weight, 4) for weight in weighted.weights.tolist()), strict=True))
    head.settings = {**head.settings, "layer_weights": weights}
    return head
