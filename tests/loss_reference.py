"""The loss written as a double loop from its equation, in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def naive_loss(embeddings, items, weight, temperature: float) -> tuple[list[float], list[bool]]:
    """Loss of each anchor and whether it has a positive.

    Args:
        embeddings: (N, D); items: (N,) ids; weight: function of two row numbers, for rows of
            different items.
    """
    rows = [[float(value) for value in row] for row in embeddings.double()]
    unit = [[value / math.sqrt(sum(v * v for v in row)) for value in row] for row in rows]
    count = len(rows)
    losses, valid = [], []
    for i in range(count):
        similarity = {
            k: sum(a * b for a, b in zip(unit[i], unit[k], strict=True)) / temperature for k in range(count) if k != i
        }
        weights = {j: 1.0 if items[i] == items[j] else weight(i, j) for j in similarity}
        total = sum(weights.values())
        valid.append(total > 0)
        if total == 0:
            losses.append(0.0)
            continue
        highest = max(similarity.values())
        contrast = highest + math.log(sum(math.exp(s - highest) for s in similarity.values()))
        losses.append(contrast - sum(weights[j] * similarity[j] for j in similarity) / total)
    return losses, valid


def naive_mean(losses: list[float], valid: list[bool]) -> float:
    """Mean over the anchors that have a positive."""
    return sum(losses) / max(1, sum(valid))


def same_class_weight(labels: Tensor, labeled: Tensor):
    """Target weight of two rows by class index."""
    return lambda i, j: float(bool(labeled[i]) and bool(labeled[j]) and int(labels[i]) == int(labels[j]))


def shared_labels_weight(labels: Tensor, labeled: Tensor, minimum: int):
    """Target weight of two multi-hot rows."""

    def weight(i: int, j: int) -> float:
        if not (labeled[i] and labeled[j]):
            return 0.0
        return float(sum(int(a) * int(b) for a, b in zip(labels[i], labels[j], strict=True)) >= minimum)

    return weight


def random_batch(seed: int, items: int, views: int, dim: int, classes: int, share_labeled: float):
    """Double-precision embeddings (items, views, dim), class labels and a mask."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(items, views, dim, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (items,), generator=generator)
    labeled = torch.rand(items, generator=generator) < share_labeled
    return embeddings, labels, labeled
