"""One row an embedding: what the losses work on, whatever form the caller used."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.targets import Target
from ssc_toolkit.targets.base import Labeled, Labels


class Rows(NamedTuple):
    """Embeddings (B * views, D), the views of an item in a row, and ids (B,), labels (B, ...) and masks (B,) of items.

    What is known of an item is there once, so pairs of items and not of rows are looked at. Labels without a
    mask are all known. Pairs of items of one group (B,) take no part in the loss.
    """

    embeddings: Tensor
    items: Tensor
    labels: Labels | None
    labeled: Labeled | None
    views: int
    groups: Tensor | None = None

    def part(self, start: int, stop: int) -> Rows:
        """Items start to stop."""
        if start == 0 and stop >= len(self.items):
            return self
        rows = self.embeddings[start * self.views : stop * self.views]
        return self._replace(embeddings=rows).map(lambda value: value[start:stop])

    def flat(self) -> Rows:
        """Every row as an item of its own, with the id of the one that it is a view of."""
        if self.views == 1:
            return self

        return self._replace(views=1).map(lambda value: value.repeat_interleave(self.views, dim=0))

    def map(self, function: Callable[[Tensor], Tensor]) -> Rows:
        """A function of every tensor that describes items, in an order of its own."""
        return self._replace(
            items=function(self.items),
            labels=map_signals(self.labels, function),
            labeled=map_signals(self.labeled, function),
            groups=None if self.groups is None else function(self.groups),
        )


def map_signals(value: Labels | None, function: Callable[[Tensor], Tensor]) -> Any:
    """A function of every tensor of labels or masks, in the order of their names."""
    if isinstance(value, dict):
        return {name: function(value[name]) for name in sorted(value)}
    return None if value is None else function(value)


def as_rows(
    embeddings: Tensor,
    labels: Labels | None,
    labeled: Labeled | None,
    items: Tensor | None,
    target: Target,
    name: str = "",
    groups: Tensor | None = None,
) -> Rows:
    """Check a batch and bring it to one row an embedding.

    Args:
        embeddings: (items, views, dim), or (N, dim) together with `items`.
        labels: (items, ...), (N, ...) in the flat form, or a dict of such.
        labeled: bool (items,) or (N,), or a dict of such.
        items: integer ids (items,) or (N,); 0, 1, … by default where there are views.
        target: what the labels have to fit.
        name: what the arguments' names begin with in errors: "key" or nothing.
        groups: integer ids (items,) or (N,) of the groups of items whose pairs take no part.

    Raises:
        ValueError, TypeError: naming the argument.
    """
    said = {part: f"{name}_{part}" if name else part for part in ("items", "labels", "labeled", "groups")}
    said["embeddings"] = f"{name}s" if name else "embeddings"
    for key, value in (("embeddings", embeddings), ("items", items)):
        if not isinstance(value, Tensor) and not (key == "items" and value is None):
            raise TypeError(f"{said[key]}: expected a tensor, got {type(value).__name__}")
    if not embeddings.is_floating_point():
        raise TypeError(f"{said['embeddings']}: expected floating point, got {embeddings.dtype}")
    if embeddings.dim() not in (2, 3):
        raise ValueError(
            f"{said['embeddings']}: expected (items, views, dim), or (N, dim) with {said['items']}, "
            f"got {tuple(embeddings.shape)}"
        )
    if embeddings.shape[-1] == 0:
        raise ValueError(f"{said['embeddings']}: expected dim of at least 1, got {tuple(embeddings.shape)}")
    views = embeddings.shape[1] if embeddings.dim() == 3 else 1
    if items is None:
        if embeddings.dim() == 2:
            raise ValueError(
                f"{said['items']}: flat {said['embeddings']} {tuple(embeddings.shape)} need an item id for each row, "
                "or pass them as (items, views, dim)"
            )
        items = torch.arange(len(embeddings), device=embeddings.device)
    _check_ids(len(embeddings), items, said["items"])
    if groups is not None:
        _check_ids(len(embeddings), groups, said["groups"])
    given: dict[str, Labels | None] = {"items": items, "labels": labels, "labeled": labeled, "groups": groups}
    for key, argument in given.items():
        for tensor in signals_of(argument).values():
            if isinstance(tensor, Tensor) and tensor.device != embeddings.device:
                raise ValueError(f"{said[key]}: expected on {embeddings.device} like embeddings, got {tensor.device}")
    if labels is None:
        if labeled is not None:
            raise ValueError(f"{said['labels']}: {said['labeled']} was given without labels")
    else:
        _check_labels(len(embeddings), labels, labeled, said)
        if isinstance(labels, dict) and not target.takes_dicts:
            raise TypeError(
                f"{said['labels']}: {type(target).__name__} expects a tensor, got a dict; Union and WeightedSum take "
                "several signals"
            )
        try:
            target.check(labels, labeled)
        except (TypeError, ValueError) as error:
            raise type(error)(str(error).replace("labels", said["labels"], 1)) from error
    return Rows(embeddings.reshape(len(items) * views, embeddings.shape[-1]), items, labels, labeled, views, groups)


def _check_ids(count: int, ids: Tensor, name: str) -> None:
    if not isinstance(ids, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(ids).__name__}")
    if ids.shape != (count,):
        raise ValueError(f"{name}: expected shape ({count},), got {tuple(ids.shape)}")
    if ids.is_floating_point() or ids.dtype == torch.bool:
        raise TypeError(f"{name}: expected integer ids, got {ids.dtype}")


def _check_labels(count: int, labels: Labels, labeled: Labeled | None, said: dict[str, str]) -> None:
    signals = signals_of(labels)
    if not signals:
        raise ValueError(f"{said['labels']}: expected at least one signal, got an empty dict")
    for key, signal in signals.items():
        where = f"{said['labels']}[{key!r}]" if key else said["labels"]
        if not isinstance(signal, Tensor):
            raise TypeError(f"{where}: expected a tensor, got {type(signal).__name__}")
        if signal.dim() == 0 or len(signal) != count:
            raise ValueError(f"{where}: expected {count} rows, one an item, got shape {tuple(signal.shape)}")
    if labeled is None:
        return
    if isinstance(labeled, dict) and not isinstance(labels, dict):
        raise TypeError(f"{said['labeled']}: a dict of masks goes with a dict of labels, got one label tensor")
    for key, mask in signals_of(labeled).items():
        where = f"{said['labeled']}[{key!r}]" if key else said["labeled"]
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"{where}: expected a tensor of bool, got {kind}")
        if mask.shape != (count,):
            raise ValueError(f"{where}: expected shape ({count},), got {tuple(mask.shape)}")


def signals_of(value: Labels | None) -> dict[str, Tensor]:
    """Labels or masks as a dict; a single signal has no name."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def with_mask(rows: Rows, other: Rows | None = None) -> Rows:
    """Rows with the mask that they may do without; with `other`, only if that has one."""
    if rows.labels is None or rows.labeled is not None or (other is not None and other.labeled is None):
        return rows
    return rows._replace(labeled=torch.ones(len(rows.items), dtype=torch.bool, device=rows.items.device))


class Pairs(NamedTuple):
    """Pairs of rows, (anchors, contrasts): target weights, and True where a pair takes no part. None: all take part."""

    weights: Tensor
    ignored: Tensor | None


@torch.no_grad()
def describe_pairs(
    anchors: Rows, contrasts: Rows, target: Target, label_weight: float = 1.0, ignored: Tensor | None = None
) -> Pairs:
    """Target weights and ignored pairs of rows; a row and itself count as views of one item.

    Args:
        anchors: N rows of some items.
        contrasts: M rows of some items.
        target: weight of a pair of labeled items.
        label_weight: factor of the weights that the target gives.
        ignored: bool (items, items), True where a pair of different items takes no part.
    """
    same_item = anchors.items[:, None] == contrasts.items
    left_out = [] if ignored is None else [ignored]
    if anchors.groups is not None and contrasts.groups is not None:
        left_out.append(anchors.groups[:, None] == contrasts.groups)
    if anchors.labels is None or contrasts.labels is None:
        weights = same_item.float()
    else:
        anchors, contrasts = with_mask(anchors, contrasts), with_mask(contrasts, anchors)
        labels = (anchors.labels, contrasts.labels, anchors.labeled, contrasts.labeled)
        weights = target.weights(*labels)  # type: ignore[arg-type]  # neither is None here
        if label_weight != 1:
            weights = weights * label_weight
        weights.masked_fill_(same_item, 1)
        by_target = target.ignored(*labels)  # type: ignore[arg-type]
        left_out += [] if by_target is None else [by_target]
    whole = None
    if left_out:
        whole = functools.reduce(torch.logical_or, left_out) & ~same_item
        weights.masked_fill_(whole, 0)
        whole = _of_rows(whole, anchors.views, contrasts.views)
    return Pairs(_of_rows(weights, anchors.views, contrasts.views), whole)


def pair_weights(anchors: Rows, contrasts: Rows, target: Target) -> Tensor:
    """Target weight of each pair of rows, (anchors, contrasts); a row and itself count as views of one item."""
    return describe_pairs(anchors, contrasts, target).weights


def _of_rows(weights: Tensor, anchor_views: int, contrast_views: int) -> Tensor:
    """What is told of pairs of items, told of pairs of rows, in memory of their own."""
    if anchor_views == contrast_views == 1:
        return weights
    height, width = weights.shape
    pairs = weights[:, None, :, None].expand(-1, anchor_views, -1, contrast_views)
    return pairs.clone(memory_format=torch.contiguous_format).view(height * anchor_views, width * contrast_views)
