"""The semi-supervised contrastive loss as a pure function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.targets import SameClass, Target

Reduction = Literal["mean", "sum", "none"]
TargetFunction = Callable[[Tensor, Tensor], Tensor]


class Rows(NamedTuple):
    """One row an embedding: what the loss works on, whatever form the caller used."""

    embeddings: Tensor
    items: Tensor
    labels: Tensor | None
    labeled: Tensor | None


def semi_supcon_loss(
    embeddings: Tensor,
    labels: Tensor | None = None,
    labeled: Tensor | None = None,
    *,
    items: Tensor | None = None,
    target: Target | TargetFunction | None = None,
    temperature: float = 0.1,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Contrastive loss over views of an item and, where labels are known, over similar items.

    With z the embeddings scaled to length 1, \(s_{ij} = z_i \cdot z_j / \tau\), and target weights
    \(w_{ij}\) that are 1 for two views of one item, `target(labels_i, labels_j)` for two labelled
    items, 0 otherwise and for i = j:

    $$L_i = \log \sum_{k \neq i} e^{s_{ik}} - \frac{1}{W_i} \sum_j w_{ij} s_{ij},
    \qquad W_i = \sum_j w_{ij}$$

    An anchor without positives (W = 0) has loss 0 and is not counted in the mean. With no labels
    this is NT-Xent (Chen et al. 2020, arXiv 2002.05709); with a class for every item it is SupCon
    (Khosla et al. 2020, arXiv 2004.11362, eq. 2); mixed, SemiSupCon (Guinot et al. 2024, arXiv
    2407.13840). It is computed in float32, or float64 for float64 embeddings.

    Args:
        embeddings: (items, views, dim) with any number of views, or (N, dim) together with `items`.
            Floating point; need not be normalised.
        labels: labels of each item, shape (items,) or (items, ...) as `target` expects; (N, ...) in
            the flat form. None: nothing is labelled.
        labeled: bool (items,) or (N,), True where the labels are known. None: all are, if `labels`
            is given. What unlabelled rows of `labels` hold does not matter, NaN included.
        items: integer (N,) ids in the flat form; rows with the same id are views of one item.
        target: weight of a pair of labelled items, `SameClass()` by default.
        temperature: positive number that divides the cosine similarities.
        reduction: "mean" over the anchors that have positives, "sum", or "none".

    Returns:
        A scalar, or for "none" the loss of each anchor, (items, views) or (N,).

    Raises:
        ValueError: for shapes that do not fit, `temperature` <= 0, an unknown `reduction`, or labels
            that `target` does not accept.
        TypeError: for integer embeddings, a `labeled` that is not bool, or non-integer `items`.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> embeddings = torch.randn(4, 2, 8, generator=generator)   # 4 items, 2 views
        >>> labels = torch.tensor([0, 1, 0, 0])
        >>> labeled = torch.tensor([True, True, True, False])        # the last label is not known
        >>> loss = semi_supcon_loss(embeddings, labels, labeled, temperature=0.1)
        >>> loss.shape
        torch.Size([])
    """
    check_settings(temperature, reduction)
    target = SameClass() if target is None else target
    rows = _as_rows(embeddings, labels, labeled, items)
    if isinstance(target, Target) and rows.labels is not None and rows.labeled is not None:
        target.check(rows.labels, rows.labeled)

    # Autocast would send the similarities to half precision, where they overflow at low temperature.
    with torch.autocast(embeddings.device.type, enabled=False):
        losses, valid = _anchor_losses(rows, target, temperature)
    if reduction == "none":
        return losses.view(embeddings.shape[:-1])
    if reduction == "sum":
        return losses.sum()
    return losses.sum() / valid.sum().clamp(min=1)


def check_settings(temperature: float, reduction: str) -> None:
    """Raise ValueError for a temperature or a reduction that the loss does not know."""
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: expected 'mean', 'sum' or 'none', got {reduction!r}")


def _anchor_losses(rows: Rows, target: Target | TargetFunction, temperature: float) -> tuple[Tensor, Tensor]:
    """Loss of every anchor, 0 where it has no positive, and whether it has one."""
    z = F.normalize(_at_least_float32(rows.embeddings), dim=-1)
    similarities = z @ z.T / temperature
    itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
    weights = _target_weights(rows, target).to(similarities.dtype).masked_fill(itself, 0)
    total = weights.sum(dim=1)
    valid = total > 0
    contrast = torch.logsumexp(similarities.masked_fill(itself, -torch.inf), dim=1)
    attraction = (weights * similarities).sum(dim=1) / torch.where(valid, total, 1)
    return torch.where(valid, contrast - attraction, 0), valid


def _target_weights(rows: Rows, target: Target | TargetFunction) -> Tensor:
    same_item = rows.items[:, None] == rows.items[None, :]
    if rows.labels is None or rows.labeled is None:
        return same_item.float()
    both_known = rows.labeled[:, None] & rows.labeled[None, :]
    # `where`, not a product: unknown labels may be NaN.
    supervised = torch.where(both_known, target(rows.labels, rows.labels), 0)
    return torch.where(same_item, 1, supervised)


def _as_rows(embeddings: Tensor, labels: Tensor | None, labeled: Tensor | None, items: Tensor | None) -> Rows:
    if not embeddings.is_floating_point():
        raise TypeError(f"embeddings: expected floating point, got {embeddings.dtype}")
    if embeddings.dim() == 3:
        if items is not None:
            raise ValueError("items: only for flat embeddings (N, dim); (items, views, dim) numbers its items itself")
        views = embeddings.shape[1]
        items = torch.arange(len(embeddings), device=embeddings.device)
    elif embeddings.dim() == 2:
        if items is None:
            raise ValueError(
                f"items: flat embeddings {tuple(embeddings.shape)} need an item id for each row, "
                "or pass embeddings as (items, views, dim)"
            )
        views = 1
    else:
        raise ValueError(
            f"embeddings: expected (items, views, dim) or (N, dim) with items, got {tuple(embeddings.shape)}"
        )
    if items.shape != embeddings.shape[:1]:
        raise ValueError(f"items: expected shape ({len(embeddings)},), got {tuple(items.shape)}")
    if items.is_floating_point() or items.dtype == torch.bool:
        raise TypeError(f"items: expected integer ids, got {items.dtype}")
    labeled = _check_labels(len(embeddings), labels, labeled)
    return Rows(
        embeddings=embeddings.reshape(-1, embeddings.shape[-1]),
        items=items.repeat_interleave(views),
        labels=None if labels is None else labels.repeat_interleave(views, dim=0),
        labeled=None if labeled is None else labeled.repeat_interleave(views),
    )


def _check_labels(count: int, labels: Tensor | None, labeled: Tensor | None) -> Tensor | None:
    if labels is None:
        if labeled is not None:
            raise ValueError("labels: labeled was given without labels")
        return None
    if labels.dim() == 0 or len(labels) != count:
        raise ValueError(f"labels: expected {count} rows, one an item, got shape {tuple(labels.shape)}")
    if labeled is None:
        return torch.ones(count, dtype=torch.bool, device=labels.device)
    if labeled.dtype != torch.bool:
        raise TypeError(f"labeled: expected bool, got {labeled.dtype}")
    if labeled.shape != (count,):
        raise ValueError(f"labeled: expected shape ({count},), got {tuple(labeled.shape)}")
    return labeled


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()
