"""Checks of labels, and selection of the fraction of the labels that training may use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ssc_toolkit.checks import as_integer, as_tensor, check_fraction
from ssc_toolkit.seeds import make_generator

_ENTRIES_AT_ONCE = 2**24


def find_labeled_pairs(labels: Tensor, labeled: Tensor | None, what: str) -> tuple[Tensor, Tensor]:
    """Return all pairs of an item and one of its known labels, in the order of the items.

    Args:
        labels: class indices (N,) or multi-hot labels (N, classes), a dense or sparse tensor.
        labeled: bool (N,), True where the labels are known. None: all labels are known.
        what: name of the N rows in error messages, such as "items".

    Returns:
        Item indices, and class indices of the same pairs, int64 (pairs,) each.

    Raises:
        ValueError: if the shape of the labels or the mask is invalid, or a known class index is negative.
        TypeError: if the labels are not numbers, or the class indices are not integers.
    """
    labels, labeled = check_class_labels(labels, labeled, what), as_mask(labeled)
    if labels.dim() == 2:
        item, label = _present(labels)
        if labeled is None:
            return item, label
        known = labeled[item]
        return item[known], label[known]
    item = torch.arange(len(labels)) if labeled is None else labeled.nonzero()[:, 0]
    return item, labels[item].long()


def _present(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return row and column indices of the positive entries of a dense or sparse matrix, ordered by row.

    A sparse matrix is not converted to a dense one.
    """
    if rows.layout != torch.strided:
        entries = rows.to_sparse_coo().coalesce()
        row, column = entries.indices()[:, entries.values() > 0].unbind(0)
        return row, column
    some = max(1, _ENTRIES_AT_ONCE // max(1, rows.shape[1]))
    places = [(part > 0).nonzero() + torch.tensor([number * some, 0]) for number, part in enumerate(rows.split(some))]
    row, column = torch.cat(places).unbind(1)
    return row, column


def as_mask(labeled: Tensor | Sequence[bool] | None) -> Tensor | None:
    """Convert a mask (tensor, array or list) to a tensor of bool. None stays None.

    Raises:
        TypeError: if the values are not bool.
    """
    if labeled is None:
        return None
    found = as_tensor("labeled", labeled, "a mask of bool")
    if found.dtype != torch.bool:
        raise TypeError(f"labeled: expected a mask of bool, got {found.dtype}; compare it, as in labeled > 0")
    return found


def as_readable_integers(name: str, values: Tensor) -> Tensor:
    """Return `values`, with unsigned integers of more than 8 bits converted to int64.

    Raises:
        ValueError: if the tensor is on the meta device.
    """
    if values.device.type == "meta":
        raise ValueError(f"{name}: expected a tensor that has values, got one on the meta device")
    return values.long() if values.dtype in (torch.uint16, torch.uint32, torch.uint64) else values


def check_class_labels(labels: Tensor | Sequence[Any], labeled: Tensor | None, what: str) -> Tensor:
    """Convert class indices (N,) or multi-hot labels (N, classes) to a tensor, and check the known labels.

    Args:
        labels: labels of N items, as a tensor, array or list.
        labeled: bool (N,), True where the labels are known. None: all labels are known.
        what: name of the N rows in error messages, such as "items".

    Raises:
        ValueError: if the shape of the labels or the mask is invalid, or a known label is negative or not multi-hot.
        TypeError: if the labels are not numbers, or the class indices are not integers.
    """
    found = as_tensor("labels", labels, "a tensor of classes or multi-hot rows, which encode_labels creates")
    found, labeled = as_readable_integers("labels", found), as_mask(labeled)
    if found.is_complex():
        raise TypeError(f"labels: expected integer class indices or multi-hot rows, got {found.dtype}")
    if found.dim() not in (1, 2):
        raise ValueError(f"labels: expected ({what},) or ({what}, classes), got {tuple(found.shape)}")
    if labeled is not None and labeled.shape != found.shape[:1]:
        raise ValueError(f"labeled: expected {tuple(found.shape[:1])}, got {tuple(labeled.shape)}")
    if found.dim() == 1 and len(found):
        if found.is_floating_point() or found.dtype == torch.bool:
            raise TypeError(f"labels: expected integer class indices, got {found.dtype}")
        if bool(((found if labeled is None else found[labeled]) < 0).any()):
            raise ValueError(
                "labels: expected class indices of at least 0, got a negative one; leave out items without a label"
            )
    if found.dim() == 2:
        _check_multi_hot(found, labeled)
    return found


def _check_multi_hot(rows: Tensor, labeled: Tensor | None) -> None:
    """Raise ValueError unless the rows where `labeled` is True contain only 0 and 1.

    A sparse tensor is not converted to a dense one.
    """
    if rows.layout != torch.strided:
        entries = rows.to_sparse_coo().coalesce()
        parts: Iterable[Tensor] = [
            entries.values() if labeled is None else entries.values()[labeled[entries.indices()[0]]]
        ]
    else:
        some = max(1, _ENTRIES_AT_ONCE // max(1, rows.shape[1]))
        masks = [None] * len(rows) if labeled is None else labeled.split(some)
        parts = (part if mask is None else part[mask] for part, mask in zip(rows.split(some), masks, strict=False))
    for part in parts:
        if not bool(((part == 0) | (part == 1)).all()):
            odd = part[(part != 0) & (part != 1)][0].item()
            raise ValueError(f"labels: expected 0 or 1 in every labeled row of multi-hot labels, got {odd}")


def label_budget(labels: Tensor, fraction: float, seed: int = 0) -> Tensor:
    """Select a fraction of the labeled items, with every class if the fraction is large enough.

    The seed defines one random order of the items, which starts with at least one item of every class. The function
    returns the first items of this order. With the same seed, the items for a smaller fraction are therefore a subset
    of the items for a larger fraction.

    Args:
        labels: labels of the labeled items: class indices (N,) or multi-hot (N, classes), a dense or sparse tensor. For
            sparse labels, time and memory do not grow with N * classes.
        fraction: fraction of the items, 0 to 1. If it is above 0, at least one item is selected.
        seed: seed of the order.

    Returns:
        Row indices of the selected items, int64 (round(fraction * N),).

    Raises:
        ValueError: if `fraction` is out of range, the shape of the labels is invalid, or a class index is negative.
        TypeError: if the labels are not numbers, or the class indices are not integers.

    Examples:
        >>> labels = torch.tensor([0, 0, 0, 0, 0, 0, 1, 2])
        >>> label_budget(labels, fraction=3 / 8)[:3].sort().values.tolist()[1:]
        [6, 7]
    """
    fraction, seed = check_fraction("fraction", fraction), as_integer("seed", seed)
    labels = check_class_labels(labels, None, "items")
    count = round(fraction * len(labels))
    if fraction > 0 and len(labels):
        count = max(1, count)
    return _covering_order(labels, seed)[:count]


def uncovered_classes(labels: Tensor, budget: Tensor) -> Tensor:
    """Return the indices of the classes that occur in labels, but not in the rows of labels with indices `budget`."""
    item, label = find_labeled_pairs(labels, None, "items")
    is_kept = torch.zeros(len(labels), dtype=torch.bool)
    is_kept[budget] = True
    classes = label.unique()
    return classes[~torch.isin(classes, label[is_kept[item]].unique())]


def _covering_order(labels: Tensor, seed: int) -> Tensor:
    order = torch.randperm(len(labels), generator=make_generator(seed, "label budget"))
    item, label = find_labeled_pairs(labels, None, "items")
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    classes, label = label.unique(return_inverse=True)
    # The first item of each class in the random order moves to the beginning.
    first = torch.full((len(classes),), len(order)).scatter_reduce_(0, label, place[item], "amin")
    leads = torch.zeros(len(order), dtype=torch.bool)
    leads[first] = True
    return torch.cat([order[leads], order[~leads]])
