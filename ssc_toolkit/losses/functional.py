"""The semi-supervised contrastive loss as a pure function."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ssc_toolkit.losses.dense import dense_losses
from ssc_toolkit.losses.distributed import gather_rows, processes, sum_over_processes
from ssc_toolkit.losses.queue import ContrastQueue
from ssc_toolkit.losses.rows import Rows, as_rows, check_same_signals
from ssc_toolkit.losses.tiled import Tiles, tiled_losses, tiled_sum
from ssc_toolkit.targets import SameClass, Target
from ssc_toolkit.targets.base import (
    Labeled,
    Labels,
    TargetFunction,
    as_target,
    in_function_transform,
    is_traced,
    values_are_readable,
)

Reduction = Literal["mean", "sum", "none"]
Denominator = Literal["all", "negatives"]
Implementation = Literal["auto", "dense", "tiled"]

LARGEST_DENSE = {"cpu": 0, "cuda": 2**24}
"""Pairs up to which "auto" is dense. On a CPU tiles are faster at any size, on a GPU few launches are."""


def semi_supcon_loss(
    embeddings: Tensor,
    labels: Labels | None = None,
    *,
    labeled: Labeled | None = None,
    items: Tensor | None = None,
    keys: Tensor | None = None,
    key_labels: Labels | None = None,
    key_labeled: Labeled | None = None,
    key_items: Tensor | None = None,
    target: Target | TargetFunction | None = None,
    temperature: float | Tensor = 0.1,
    reduction: Reduction = "mean",
    denominator: Denominator = "all",
    implementation: Implementation = "auto",
    gather: bool = False,
    queue: ContrastQueue | None = None,
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
        embeddings: (items, views, dim) with any number of views, or flat rows (N, dim) with `items`, `labels` or
            both. Floating point; need not be normalized.
        labels: labels of each item, shape (items,) or (items, ...) as `target` expects; (N, ...) in
            the flat form; a dict of signals for a target that takes several. None: nothing is labelled.
        labeled: bool (items,) or (N,), True where the labels are known, or a dict with one mask for each
            signal. None: all are, if `labels` is given. What unlabelled rows of `labels` hold does not
            matter, NaN included.
        items: integer ids, (items,) or (N,); rows with the same id are views of one item. By default
            all items are different, and each flat row is an item of its own.
        keys: what the anchors are compared with instead of each other, as embeddings of a second encoder or
            of earlier batches: (items, views, dim), or (N, dim). Without `key_items` they are as many as
            `embeddings`, views of the same items, and share their labels.
        key_labels: labels of the keys, with `key_items`.
        key_labeled: mask of the keys, with `key_items`.
        key_items: ids of the keys, which are matched with `items`.
        target: weight of a pair of labelled items, `SameClass()` by default.
        temperature: positive number that divides the cosine similarities, or a scalar tensor.
        reduction: "mean" over the anchors that have positives, "sum", or "none".
        denominator: "all": the first term runs over all contrasts. "negatives": over those with w = 0 only
            (decoupled contrastive learning; Yeh et al. 2022, arXiv 2110.06848); an anchor without negatives
            then does not count. A kernel that never reaches 0 leaves no negatives among labelled items: it
            does not go with this option.
        implementation: "dense" holds the matrix of all pairs; it can be compiled and differentiated
            twice. "tiled" gives the same value and gradient with memory that grows as N (dim + classes).
            "auto" is dense while a graph is compiled or traced, under `torch.func`, and for small batches on a
            GPU. "tiled" is refused under `torch.func`.
        gather: take the contrasts from all processes of the initialized process group; see below.
        queue: rows of earlier batches as further contrasts; `CrossBatchMemory` passes it.

    With `gather` every process contrasts its own anchors with the rows of all. "mean" and "sum" return the
    value of the whole batch on every process, and a gradient that is multiplied by the number of
    processes: DistributedDataParallel then divides by it when it averages, and every parameter gets
    the gradient that one process with the whole batch would give it. "none" returns the local anchors'
    losses with their plain gradient.

    Returns:
        A scalar, or for "none" the loss of each anchor, (items, views) or (N,).

    Raises:
        ValueError: for shapes that do not fit, `temperature` <= 0, an unknown option, or labels
            that `target` does not accept.
        TypeError: for integer embeddings, a `labeled` that is not bool, or non-integer `items`.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> embeddings = torch.randn(4, 2, 8, generator=generator)   # 4 items, 2 views
        >>> labels = torch.tensor([0, 1, 0, 0])
        >>> labeled = torch.tensor([True, True, True, False])        # the last label is not known
        >>> loss = semi_supcon_loss(embeddings, labels, labeled=labeled, temperature=0.1)
        >>> loss.shape
        torch.Size([])
    """
    check_settings(temperature, reduction, denominator, implementation)
    target = SameClass() if target is None else as_target(target)
    if not isinstance(temperature, Tensor):
        temperature = float(temperature)
    ids = items
    if keys is not None and items is None and isinstance(embeddings, Tensor) and embeddings.dim() > 0:
        ids = torch.arange(len(embeddings), device=embeddings.device)
    anchors = as_rows(embeddings, labels, labeled, ids, target)
    if keys is None:
        if key_items is not None or key_labels is not None or key_labeled is not None:
            raise ValueError("keys: key_items, key_labels or key_labeled were given without keys")
        contrasts, itself = anchors, 0
    else:
        contrasts, itself = _as_keys(embeddings, anchors, keys, key_labels, key_labeled, key_items, target), None
    if gather and processes() > 1:
        items_are_given = items is not None or key_items is not None
        contrasts, start = gather_rows(contrasts, items_are_given)
        if not items_are_given:
            anchors = anchors._replace(items=anchors.items + start)
        itself = start * contrasts.views if keys is None else None
    if queue is not None:
        contrasts = queue.joined(contrasts)
    losses = contrast(anchors, contrasts, itself, target, temperature, reduction, denominator, implementation, gather)
    return losses.view(embeddings.shape[:-1]) if reduction == "none" else losses


def contrast(
    anchors: Rows,
    contrasts: Rows,
    itself: int | None,
    target: Target,
    temperature: float | Tensor,
    reduction: Reduction,
    denominator: Denominator,
    implementation: Implementation,
    gather: bool,
) -> Tensor:
    """Loss of anchors against contrasts, both checked: the whole of the maths, for every form of it.

    Args:
        anchors: (N, ...).
        contrasts: (M, ...); of all processes, with `gather`.
        itself: the contrast that is the first anchor; anchor i is contrast i + itself. None: anchors are
            not among the contrasts.
        target, temperature, reduction, denominator, implementation, gather: as of `semi_supcon_loss`.
    """
    # Autocast would send the similarities to half precision, where they overflow at low temperature.
    with torch.autocast(anchors.embeddings.device.type, enabled=False):
        normalized = unit_length(anchors.embeddings)
        others = normalized
        if contrasts is not anchors:
            others = unit_length(contrasts.embeddings).to(normalized.dtype)
        queries = normalized / temperature
        tiles = Tiles(anchors, contrasts, itself, target, denominator == "negatives")
        if _is_dense(implementation, queries, others):
            losses, valid = dense_losses(queries, others, *tiles)
            total = losses if reduction == "none" else losses.sum()
        elif reduction == "none":
            total, valid = tiled_losses(queries, others, tiles)
        else:
            total, valid = tiled_sum(queries, others, tiles)
        if reduction == "none":
            return total
        anchors_in_mean = valid.sum() if reduction == "mean" else torch.ones_like(valid.sum())
        if gather and processes() > 1:
            return _over_processes(total, anchors_in_mean, reduction)
        return total / anchors_in_mean.clamp(min=1)


def _over_processes(total: Tensor, anchors_in_mean: Tensor, reduction: Reduction) -> Tensor:
    """The value of the whole batch, with the gradient that DDP's averaging turns into that of the whole batch."""
    count = sum_over_processes(anchors_in_mean).clamp(min=1) if reduction == "mean" else 1
    share = total / count
    scaled = share * processes()
    return scaled + (sum_over_processes(share) - scaled.detach())


def _is_dense(implementation: Implementation, queries: Tensor, keys: Tensor) -> bool:
    if len(keys) == 0:  # nothing to make tiles of
        return True
    transformed = not torch.compiler.is_compiling() and in_function_transform()
    if implementation == "tiled" and transformed:
        raise RuntimeError("implementation: the tiled loss does not go through torch.func; use 'dense' or 'auto'")
    if implementation != "auto":
        return implementation == "dense"
    if transformed or is_traced():
        return True
    return len(queries) * len(keys) <= LARGEST_DENSE.get(queries.device.type, LARGEST_DENSE["cuda"])


def _as_keys(
    embeddings: Tensor,
    anchors: Rows,
    keys: Tensor,
    labels: Labels | None,
    labeled: Labeled | None,
    items: Tensor | None,
    target: Target,
) -> Rows:
    """Rows of the keys; those of a second encoder are views of the anchors' items."""
    if not isinstance(keys, Tensor):
        raise TypeError(f"keys: expected a tensor, got {type(keys).__name__}")
    if items is not None:
        rows = as_rows(keys, labels, labeled, items, target, "key")
        check_same_signals(anchors, rows, "key_labels")
    else:
        if labels is not None or labeled is not None:
            raise ValueError("key_items: keys with labels of their own need item ids")
        if keys.dim() != embeddings.dim() or len(keys) != len(embeddings):
            raise ValueError(
                f"key_items: keys {tuple(keys.shape)} without ids must be of the same items as the embeddings "
                f"{tuple(embeddings.shape)}, in the same form"
            )
        rows = as_rows(keys, anchors.labels, anchors.labeled, anchors.items, target, "key")
    if rows.embeddings.shape[1] != anchors.embeddings.shape[1]:
        raise ValueError(f"keys: expected dim {anchors.embeddings.shape[1]}, got {rows.embeddings.shape[1]}")
    return rows


def check_settings(
    temperature: float | Tensor,
    reduction: str,
    denominator: str = "all",
    implementation: str = "auto",
) -> None:
    """Raise ValueError for a setting that the loss does not know."""
    _check_temperature(temperature)
    for name, value, known in (
        ("reduction", reduction, ("mean", "sum", "none")),
        ("denominator", denominator, ("all", "negatives")),
        ("implementation", implementation, ("auto", "dense", "tiled")),
    ):
        if value not in known:
            raise ValueError(f"{name}: expected one of {', '.join(map(repr, known))}, got {value!r}")


def _check_temperature(temperature: Any) -> None:
    if isinstance(temperature, Tensor):
        if temperature.dim() != 0 or not temperature.is_floating_point():
            kind = f"{temperature.dtype} of shape {tuple(temperature.shape)}"
            raise ValueError(f"temperature: expected a number or a floating-point tensor of shape (), got {kind}")
        if values_are_readable(temperature) and not 0 < temperature < math.inf:
            raise ValueError(f"temperature: expected a positive number, got {temperature.item()}")
    elif isinstance(temperature, nn.Module):
        raise ValueError("temperature: expected a number or a tensor, got a module; call it: temperature=module()")
    elif not isinstance(temperature, Real):
        kind = type(temperature).__name__
        raise ValueError(f"temperature: expected a positive number, got {temperature!r} of type {kind}; pass a float")
    elif not 0 < float(temperature) < math.inf:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")


def unit_length(embeddings: Tensor) -> Tensor:
    """Rows scaled to length 1, in float32 or float64; a row of zeros stays what it is and gets no gradient."""
    rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    length = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows / torch.where(length > 0, length, torch.inf)
