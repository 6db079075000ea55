"""Batch with one row per embedding, the form to which all losses convert their input."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from ssc_toolkit.targets import Target
from ssc_toolkit.targets.base import Labeled, LabelTensors
from ssc_toolkit.tracing import is_traced_or_transformed


class Rows(NamedTuple):
    """Batch of B items with one or more views each. Each view has one row of embeddings.

    Ids, labels and masks have one entry per item. The target weight of two items holds for all pairs of their views.

    Attributes:
        embeddings: (B * views, dim), with the views of an item next to each other.
        items: (B,) integer ids.
        labels: (B, ...), or a dict of such tensors. None: the batch has no labels.
        labeled: (B,) bool, True where the labels are known, or a dict of such masks. None: all labels are known.
        views: number of views per item.
        groups: (B,) integer ids of groups. The loss ignores pairs of different items of one group. None: no groups.
    """

    embeddings: Tensor
    items: Tensor
    labels: LabelTensors | None
    labeled: Labeled | None
    views: int
    groups: Tensor | None = None

    def part(self, start: int, stop: int) -> Rows:
        """Return the items with indices `start` to `stop - 1`, with all their views."""
        if start == 0 and stop >= len(self.items):
            return self
        rows = self.embeddings[start * self.views : stop * self.views]
        return self._replace(embeddings=rows).map(lambda value: value[start:stop])

    def flat(self) -> Rows:
        """Return the same embeddings as a batch with one view per item. Views of one item then have the same id."""
        if self.views == 1:
            return self

        return self._replace(views=1).map(lambda value: value.repeat_interleave(self.views, dim=0))

    def map(self, function: Callable[[Tensor], Tensor]) -> Rows:
        """Return a copy in which `function` was applied to ids, labels, masks and groups, in this order."""
        return self._replace(
            items=function(self.items),
            labels=map_signals(self.labels, function),
            labeled=map_signals(self.labeled, function),
            groups=None if self.groups is None else function(self.groups),
        )


def map_signals(value: LabelTensors | None, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to a tensor of labels or masks, or to each tensor of a dict in the order of the sorted names."""
    if isinstance(value, dict):
        return {name: function(value[name]) for name in sorted(value)}
    return None if value is None else function(value)


def as_rows(
    embeddings: Tensor,
    labels: LabelTensors | None,
    labeled: Labeled | None,
    items: Tensor | None,
    target: Target,
    name: str = "",
    groups: Tensor | None = None,
) -> Rows:
    """Check a batch and convert it to `Rows`.

    Args:
        embeddings: (items, views, dim), or (N, dim).
        labels: (items, ...), or (N, ...) for embeddings (N, dim), or a dict of such tensors.
        labeled: bool (items,) or (N,), or a dict of such masks.
        items: integer ids (items,) or (N,). The default is 0, 1, …, so each row of embeddings (N, dim) is an item;
            such embeddings without `items` require labels.
        target: target whose `check` method checks the labels.
        name: prefix of the names of the arguments in error messages, "key" or an empty string. With "key", they are
            "keys", "key_labels" and so on.
        groups: integer ids (items,) or (N,) of the groups of items. Pairs of different items of one group are ignored.

    Raises:
        ValueError: if a shape, a device or a value is invalid.
        TypeError: if a type, dtype or layout is invalid.
    """
    names = {part: f"{name}_{part}" if name else part for part in ("items", "labels", "labeled", "groups")}
    names["embeddings"] = f"{name}s" if name else "embeddings"
    _check_embeddings(embeddings, names["embeddings"])
    views = embeddings.shape[1] if embeddings.dim() == 3 else 1
    if items is None and embeddings.dim() == 2 and labels is None:
        raise ValueError(
            f"{names['items']}: expected an item id for each row, because {names['embeddings']} "
            f"{tuple(embeddings.shape)} have no labels, got None; or pass {names['embeddings']} (items, views, dim)"
        )
    items = torch.arange(len(embeddings), device=embeddings.device) if items is None else items
    items = _checked_ids(embeddings, items, names["items"])
    groups = None if groups is None else _checked_ids(embeddings, groups, names["groups"])
    if labels is None and labeled is not None:
        raise ValueError(f"{names['labels']}: expected labels, because {names['labeled']} was given, got None")
    if labels is not None:
        _check_labels(embeddings, labels, labeled, names)
        labels = map_signals(labels, _signed)
        _check_by_target(embeddings, labels, labeled, target, names)
        labeled = target.known(labels, labeled)
    return Rows(rearrange(embeddings, "... dim -> (...) dim"), items, labels, labeled, views, groups)


def _checked_ids(embeddings: Tensor, ids: Any, name: str) -> Tensor:
    """Check that there is one integer id per item, and return the ids in a dtype that supports arithmetic.

    `name` is that of the argument in error messages.
    """
    ids = _signed(_checked_tensor(ids, name, embeddings.device))
    if ids.shape != embeddings.shape[:1]:
        raise ValueError(f"{name}: expected shape ({len(embeddings)},), got {tuple(ids.shape)}")
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"{name}: expected integer ids, got {ids.dtype}")
    return ids


def _check_embeddings(embeddings: Tensor, name: str) -> None:
    _checked_tensor(embeddings, name)
    if embeddings.device.type == "meta":
        raise ValueError(f"{name}: expected a tensor that has values, got one on the meta device")
    if not embeddings.is_floating_point():
        raise TypeError(f"{name}: expected floating point, got {embeddings.dtype}")
    if embeddings.dim() not in (2, 3):
        raise ValueError(f"{name}: expected (items, views, dim) or (N, dim), got {tuple(embeddings.shape)}")
    if embeddings.shape[-1] == 0:
        raise ValueError(f"{name}: expected dim of at least 1, got {tuple(embeddings.shape)}")


def _checked_tensor(value: Any, name: str, device: torch.device | None = None) -> Tensor:
    """Return `value`, or raise an error unless it is a dense tensor, on `device` if that is given."""
    if not isinstance(value, Tensor):
        kind = type(value).__name__
        raise TypeError(f"{name}: expected a tensor, got {kind}; convert lists and arrays with torch.as_tensor")
    if value.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {value.layout}; pass {name}.to_dense()")
    if device is not None and value.device != device:
        raise ValueError(f"{name}: expected on {device} like embeddings, got {value.device}")
    return value


def _signed(value: Tensor) -> Tensor:
    """Convert unsigned integers of more than 8 bits, which PyTorch cannot compute with, to signed integers."""
    wider = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}
    return value.to(wider[value.dtype]) if value.dtype in wider else value


def _check_by_target(
    embeddings: Tensor, labels: LabelTensors, labeled: Labeled | None, target: Target, names: dict[str, str]
) -> None:
    if isinstance(labels, dict) and not target.takes_dicts:
        raise TypeError(
            f"{names['labels']}: {type(target).__name__} expects a tensor, got a dict; MaxTarget and WeightedSum "
            "accept a dict of signals"
        )
    try:
        target.check(labels, labeled)
    except (TypeError, ValueError) as error:
        advice = ""
        if isinstance(labels, Tensor) and labels.is_floating_point() and labels.shape == embeddings.shape:
            advice = "; if these are the embeddings of a second view, pass torch.stack([first, second], dim=1)"
        raise type(error)(str(error).replace("labels", names["labels"], 1) + advice) from error


def _check_labels(embeddings: Tensor, labels: LabelTensors, labeled: Labeled | None, names: dict[str, str]) -> None:
    count, device = len(embeddings), embeddings.device
    signals = split_by_signal(labels)
    if not signals:
        raise ValueError(f"{names['labels']}: expected at least one signal, got an empty dict")
    for key, signal in signals.items():
        where = f"{names['labels']}[{key!r}]" if key else names["labels"]
        _checked_tensor(signal, where, device)
        if signal.dim() == 0 or len(signal) != count:
            raise ValueError(f"{where}: expected {count} rows, one per item, got shape {tuple(signal.shape)}")
    if labeled is None:
        return
    if isinstance(labeled, dict) and not isinstance(labels, dict):
        raise TypeError(f"{names['labeled']}: expected a tensor, because labels is a tensor, got a dict of masks")
    for key, mask in split_by_signal(labeled).items():
        where = f"{names['labeled']}[{key!r}]" if key else names["labeled"]
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(
                f"{where}: expected a tensor of bool, got {kind}; use torch.as_tensor({where}, dtype=torch.bool)"
            )
        _checked_tensor(mask, where, device)
        if mask.shape != (count,):
            raise ValueError(f"{where}: expected shape ({count},), got {tuple(mask.shape)}")


def check_same_signals(first: Rows, second: Rows, name: str) -> None:
    """Raise ValueError if two batches have labels whose signals (kinds of labels) differ in names or shapes.

    `name` is that of the second labels in the error message.
    """
    signals = [split_by_signal(rows.labels) for rows in (first, second) if rows.labels is not None]
    shapes = [{key: tuple(tensor.shape[1:]) for key, tensor in own.items()} for own in signals]
    if len(shapes) == 2 and shapes[0] != shapes[1]:
        raise ValueError(f"{name}: expected rows like those of labels, {shapes[0]}, got {shapes[1]}")


def split_by_signal(value: LabelTensors | None) -> dict[str, Tensor]:
    """Return labels or masks as a dict by signal (kind of labels). A single tensor gets the name ""."""
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"": value}


def with_mask(rows: Rows, other: Rows | None = None) -> Rows:
    """Add a mask of True to a batch that has labels but no mask. With `other`, add it only if `other` has a mask."""
    if rows.labels is None or rows.labeled is not None or (other is not None and other.labeled is None):
        return rows
    return rows._replace(labeled=torch.ones(len(rows.items), dtype=torch.bool, device=rows.items.device))


class Pairs(NamedTuple):
    """Target weights and ignored pairs of N anchors and M contrasts.

    Attributes:
        weights: (N, M) target weights.
        ignored: bool (N, M), True where a pair is ignored. None: no pair is ignored.
    """

    weights: Tensor
    ignored: Tensor | None


@torch.no_grad()
def describe_pairs(
    anchors: Rows, contrasts: Rows, target: Target, label_weight: float = 1.0, ignored: Tensor | None = None
) -> Pairs:
    """Compute target weights and ignored pairs of N anchors and M contrasts.

    The pair of a row with itself has weight 1.

    Args:
        anchors: batch with N rows of embeddings.
        contrasts: batch with M rows of embeddings.
        target: target that computes the weight of a pair of labeled items.
        label_weight: factor of the weights that the target computes.
        ignored: bool (items of the anchors, items of the contrasts), True where a pair of different items is ignored.
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
        precision = torch.float64 if anchors.embeddings.dtype == torch.float64 else torch.float32
        weights = target.weights(*labels, precision)  # type: ignore[arg-type]  # neither is None here
        if label_weight != 1:
            weights = weights.to(torch.promote_types(weights.dtype, precision)) * label_weight
        weights = _filled(weights, same_item, 1)
        by_target = target.ignored(*labels)  # type: ignore[arg-type]
        left_out += [] if by_target is None else [by_target]
    whole = None
    if left_out:
        whole = functools.reduce(torch.logical_or, left_out) & ~same_item
        weights = _filled(weights, whole, 0)
        whole = _of_rows(whole, anchors.views, contrasts.views)
    return Pairs(_of_rows(weights, anchors.views, contrasts.views), whole)


def _filled(weights: Tensor, where: Tensor, value: float) -> Tensor:
    """Set the weights to `value` where the mask `where` is True, in place if possible."""
    # Under torch.func the mask may have a dimension that the weights do not have.
    return weights.masked_fill(where, value) if is_traced_or_transformed() else weights.masked_fill_(where, value)


def pair_weights(anchors: Rows, contrasts: Rows, target: Target) -> Tensor:
    """Compute target weights (N, M) of the N rows of `anchors` and M rows of `contrasts`, as `describe_pairs` does."""
    return describe_pairs(anchors, contrasts, target).weights


def _of_rows(weights: Tensor, anchor_views: int, contrast_views: int) -> Tensor:
    """Repeat weights of pairs of items, (A, B), for all pairs of their views.

    Returns:
        (A * anchor_views, B * contrast_views) weights.
    """
    if anchor_views == contrast_views == 1:
        return weights
    height, width = weights.shape
    pairs = weights[:, None, :, None].expand(-1, anchor_views, -1, contrast_views)
    return pairs.clone(memory_format=torch.contiguous_format).view(height * anchor_views, width * contrast_views)
