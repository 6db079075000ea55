"""Which of the labels may be used."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.samplers.membership import class_labels, labelled_pairs
from ssc_toolkit.seeds import generator_for


def label_budget(labels: Tensor, share: float, seed: int = 0) -> Tensor:
    """Rows of a nested, class-covering share of labelled items.

    The items are put in one seeded order that first meets every class once and is random after
    that; the budget is its beginning. So 1 % is part of 5 %, which is part of 10 %, and classes are
    covered as soon as the budget has room for them.

    Args:
        labels: of the labeled items, class indices (N,) or multi-hot (N, classes), dense or a sparse tensor. Time and
            memory grow with the number of labels that the items have, not with N * classes.
        share: of the items, 0 to 1; round(share * N) of them are kept, at least one if share > 0.
        seed: of the order.

    Returns:
        (round(share * N),) row numbers.

    Raises:
        ValueError: for a share out of range, labels of another shape, or a negative class.
        TypeError: for labels that are no numbers, or classes that are not whole ones.

    Examples:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])
        >>> label_budget(labels, share=3 / 8)[:3].sort().values.tolist()[1:]
        [6, 7]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share: expected 0 to 1, got {share}")
    labels = class_labels(labels, None, "items")
    count = round(share * len(labels))
    if share > 0 and len(labels):
        count = max(1, count)
    return _covering_order(labels, seed)[:count]


def uncovered_classes(labels: Tensor, budget: Tensor) -> Tensor:
    """Return the class indices that occur among the labels and in no row of the budget."""
    item, label = labelled_pairs(labels, None, "items")
    is_kept = torch.zeros(len(labels), dtype=torch.bool)
    is_kept[budget] = True
    classes = label.unique()
    return classes[~torch.isin(classes, label[is_kept[item]].unique())]


def _covering_order(labels: Tensor, seed: int) -> Tensor:
    order = torch.randperm(len(labels), generator=generator_for(seed, "label budget"))
    item, label = labelled_pairs(labels, None, "items")
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    classes, label = label.unique(return_inverse=True)
    # An item leads if it is the first of the order that has some class.
    first = torch.full((len(classes),), len(order)).scatter_reduce_(0, label, place[item], "amin")
    leads = torch.zeros(len(order), dtype=torch.bool)
    leads[first] = True
    return torch.cat([order[leads], order[~leads]])
