"""One row an embedding: what the losses work on, whatever form the caller used."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.targets import Target
from ssc_toolkit.targets.base import Labeled, Labels


class Rows(NamedTuple):
    """Embeddings (N, D) with the item id (N,), labels (N, ...) and mask (N,) of each row."""

    embeddings: Tensor
    items: Tensor
    labels: Labels | None
    labeled: Labeled | None

    def part(self, start: int, stop: int) -> Rows:
        """Rows start to stop."""

        def cut(value: Labels | None) -> Labels | None:
            return {k: v[start:stop] for k, v in value.items()} if isinstance(value, dict) else _cut(value, start, stop)

        return Rows(self.embeddings[start:stop], self.items[start:stop], cut(self.labels), cut(self.labeled))


def _cut(value: Tensor | None, start: int, stop: int) -> Tensor | None:
    return None if value is None else value[start:stop]


def as_rows(
    embeddings: Tensor,
    labels: Labels | None,
    labeled: Labeled | None,
    items: Tensor | None,
    target: Target,
    name: str = "",
) -> Rows:
    """Check a batch and bring it to one row an embedding.

    Args:
        embeddings: (items, views, dim), or (N, dim) together with `items`.
        labels: (items, ...), (N, ...) in the flat form, or a dict of such.
        labeled: bool (items,) or (N,), or a dict of such.
        items: integer ids (items,) or (N,); 0, 1, … by default where there are views.
        target: what the labels have to fit.
        name: what the arguments' names begin with in errors: "key" or nothing.

    Raises:
        ValueError, TypeError: naming the argument.
    """
    said = {part: f"{name}_{part}" if name else part for part in ("items", "labels", "labeled")}
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
        raise ValueError(f"{said['embeddings']}: expected at least 1 dimension, got {tuple(embeddings.shape)}")
    views = embeddings.shape[1] if embeddings.dim() == 3 else 1
    if items is None:
        if embeddings.dim() == 2:
            raise ValueError(
                f"{said['items']}: flat {said['embeddings']} {tuple(embeddings.shape)} need an item id for each row, "
                "or pass them as (items, views, dim)"
            )
        items = torch.arange(len(embeddings), device=embeddings.device)
    if items.shape != embeddings.shape[:1]:
        raise ValueError(f"{said['items']}: expected shape ({len(embeddings)},), got {tuple(items.shape)}")
    if items.is_floating_point() or items.dtype == torch.bool:
        raise TypeError(f"{said['items']}: expected integer ids, got {items.dtype}")
    if labels is None:
        if labeled is not None:
            raise ValueError(f"{said['labels']}: {said['labeled']} was given without labels")
    else:
        labeled = _check_labels(len(embeddings), labels, labeled, said)
        target.check(labels, labeled)
    return Rows(
        embeddings.reshape(-1, embeddings.shape[-1]),
        items.repeat_interleave(views),
        _repeat(labels, views),
        _repeat(labeled, views),
    )


def _check_labels(count: int, labels: Labels, labeled: Labeled | None, said: dict[str, str]) -> Labeled:
    """The mask, made of ones where none was given."""
    signals = labels if isinstance(labels, dict) else {"": labels}
    if not signals:
        raise ValueError(f"{said['labels']}: expected at least one signal, got an empty dict")
    for key, signal in signals.items():
        where = f"{said['labels']}[{key!r}]" if key else said["labels"]
        if not isinstance(signal, Tensor):
            raise TypeError(f"{where}: expected a tensor, got {type(signal).__name__}")
        if signal.dim() == 0 or len(signal) != count:
            raise ValueError(f"{where}: expected {count} rows, one an item, got shape {tuple(signal.shape)}")
    if labeled is None:
        some = next(iter(signals.values()))
        return torch.ones(count, dtype=torch.bool, device=some.device)
    if isinstance(labeled, dict) and not isinstance(labels, dict):
        raise TypeError(f"{said['labeled']}: a dict of masks goes with a dict of labels, got one label tensor")
    for key, mask in (labeled if isinstance(labeled, dict) else {"": labeled}).items():
        where = f"{said['labeled']}[{key!r}]" if key else said["labeled"]
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            raise TypeError(f"{where}: expected bool, got {getattr(mask, 'dtype', type(mask).__name__)}")
        if mask.shape != (count,):
            raise ValueError(f"{where}: expected shape ({count},), got {tuple(mask.shape)}")
    return labeled


def _repeat(value: Labels | None, views: int) -> Labels | None:
    if value is None or views == 1:
        return value
    if isinstance(value, dict):
        return {key: tensor.repeat_interleave(views, dim=0) for key, tensor in value.items()}
    return value.repeat_interleave(views, dim=0)


@torch.no_grad()
def pair_weights(anchors: Rows, contrasts: Rows, target: Target) -> Tensor:
    """Target weight of each pair of rows, (anchors, contrasts); a row and itself count as views of one item."""
    same_item = anchors.items[:, None] == contrasts.items
    if anchors.labels is None or anchors.labeled is None or contrasts.labels is None or contrasts.labeled is None:
        return same_item.float()
    weights = target.weights(anchors.labels, contrasts.labels, anchors.labeled, contrasts.labeled)
    return weights.masked_fill_(same_item, 1)
