"""Selection of the labeled items whose labels may be used."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.samplers.membership import class_labels, labelled_pairs
from ssc_toolkit.seeds import generator_for


def label_budget(labels: Tensor, share: float, seed: int = 0) -> Tensor:
    """Select a fraction of the labeled items, nested over fractions and covering all classes.

    The seed defines one order of the items, which starts with items that cover every class and continues at random.
    The budget is the beginning of this order. A budget of 1 % is therefore a subset of the budget of 5 %, which is a
    subset of that of 10 %, and all classes are covered as soon as the budget is large enough.

    Args:
        labels: labels of the labeled items: class indices (N,) or multi-hot (N, classes), a dense or sparse tensor.
            Time and memory grow with the number of labels that the items have, not with N * classes.
        share: fraction of the items, 0 to 1; round(share * N) items are kept, at least one if share > 0.
        seed: seed of the order.

    Returns:
        Row indices, (round(share * N),) int64.

    Raises:
        ValueError: if the fraction is out of range, the labels have another shape, or a class is negative.
        TypeError: if the labels are not numbers, or the classes are not integers.

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
    """Return the class indices that occur in the labels but in no row of the budget."""
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
    # An item leads if it is the first one in the order for at least one class.
    first = torch.full((len(classes),), len(order)).scatter_reduce_(0, label, place[item], "amin")
    leads = torch.zeros(len(order), dtype=torch.bool)
    leads[first] = True
    return torch.cat([order[leads], order[~leads]])
