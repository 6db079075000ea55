"""The same loss in tiles of a few anchors: value and gradient without the matrix of all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.losses.rows import Rows, pair_weights
from ssc_toolkit.targets import Target

PAIRS_PER_TILE = {"cpu": 2**19, "cuda": 2**25}
"""Pairs looked at together: what stays in the cache of a core, and what keeps a GPU busy."""
LEAST_ROWS = 128
"""Anchors of a tile at least: with fewer, matrix products are slow. So memory grows with the number of contrasts."""


class Tiles(NamedTuple):
    """All that the loss depends on beside queries and keys; see `dense_losses` for the members."""

    anchors: Rows
    contrasts: Rows
    itself: int | None
    target: Target
    decoupled: bool

    def spans(self) -> Iterator[tuple[int, int]]:
        """First and last item of each tile."""
        views, count = self.anchors.views, len(self.anchors.items)
        contrasts = len(self.contrasts.items) * self.contrasts.views
        pairs = PAIRS_PER_TILE.get(self.anchors.items.device.type, PAIRS_PER_TILE["cuda"])
        height = max(1, max(LEAST_ROWS, pairs // max(1, contrasts)) // max(1, views))
        for start in range(0, count, height):
            yield start, min(start + height, count)

    def rows(self, start: int, stop: int) -> slice:
        """Rows of the anchors of a span of items."""
        return slice(start * self.anchors.views, stop * self.anchors.views)


def tiled_sum(queries: Tensor, keys: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Sum of the losses of all anchors, and which of them are valid. Arguments as of `dense_losses`."""
    wanted = torch.is_grad_enabled() and (queries.requires_grad or keys.requires_grad)
    return _TiledSum.apply(queries, keys, tiles, wanted)


def tiled_losses(queries: Tensor, keys: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
    """Loss of every anchor, 0 where it is not valid, and whether it is."""
    return _TiledLosses.apply(queries, keys, tiles)


class _TiledSum(torch.autograd.Function):
    """The gradient is taken in the same pass as the value: nothing is computed twice."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, tiles: Tiles, wanted: bool) -> tuple[Tensor, Tensor]:
        valid = torch.empty(len(queries), dtype=torch.bool, device=queries.device)
        total = queries.new_zeros(())
        gradients = (torch.empty_like(queries), torch.zeros_like(keys)) if wanted else None
        for start, stop in tiles.spans():
            rows = tiles.rows(start, stop)
            losses, valid[rows], by_similarity = _tile(queries, keys, tiles, start, stop, wanted)
            total += losses.sum()
            if gradients is not None and by_similarity is not None:
                _carry_on(by_similarity, queries, keys, rows, *gradients)
        if gradients is not None:
            ctx.save_for_backward(*gradients)
        ctx.mark_non_differentiable(valid)
        return total, valid

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        by_queries, by_keys = ctx.saved_tensors
        return upstream * by_queries, upstream * by_keys, None, None


class _TiledLosses(torch.autograd.Function):
    """Each anchor's loss may get a weight of its own, so the backward pass walks the tiles again."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, tiles: Tiles) -> tuple[Tensor, Tensor]:
        parts = [_tile(queries, keys, tiles, start, stop, False)[:2] for start, stop in tiles.spans()]
        losses = torch.cat([part[0] for part in parts]) if parts else queries.new_zeros(0)
        valid = torch.cat([part[1] for part in parts]) if parts else torch.zeros_like(losses, dtype=torch.bool)
        ctx.save_for_backward(queries, keys)
        ctx.tiles = tiles
        ctx.mark_non_differentiable(valid)
        return losses, valid

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        queries, keys = ctx.saved_tensors
        by_queries, by_keys = torch.empty_like(queries), torch.zeros_like(keys)
        with torch.autocast(queries.device.type, enabled=False):  # backward() may have been called within autocast
            for start, stop in ctx.tiles.spans():
                by_similarity = _tile(queries, keys, ctx.tiles, start, stop, True)[2]
                assert by_similarity is not None
                rows = ctx.tiles.rows(start, stop)
                by_similarity *= upstream[rows, None]
                _carry_on(by_similarity, queries, keys, rows, by_queries, by_keys)
        return by_queries, by_keys, None


def _carry_on(
    by_similarity: Tensor, queries: Tensor, keys: Tensor, rows: slice, by_queries: Tensor, by_keys: Tensor
) -> None:
    """Carry the derivative by a tile's similarities on to those by its queries and by all keys."""
    torch.mm(by_similarity, keys, out=by_queries[rows])
    by_keys.addmm_(by_similarity.T, queries[rows])


def _refuse_second_derivative() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("the tiled loss has no second derivative: use implementation='dense'")


def _tile(
    queries: Tensor, keys: Tensor, tiles: Tiles, start: int, stop: int, want_gradient: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Losses of the anchors of a tile, which are valid, and their derivative by the similarities."""
    rows = tiles.rows(start, stop)
    similarities = queries[rows] @ keys.T
    weights = pair_weights(tiles.anchors.part(start, stop), tiles.contrasts, tiles.target).to(similarities.dtype)
    own = None if tiles.itself is None else tiles.itself + rows.start
    if own is not None:
        weights.diagonal(own).zero_()
    total = weights.sum(dim=1)
    attraction = (weights * similarities).sum(dim=1)
    if tiles.decoupled:
        similarities.masked_fill_(weights > 0, -torch.inf)
    if own is not None:
        similarities.diagonal(own).fill_(-torch.inf)
    highest = similarities.amax(dim=1)
    highest = torch.where(highest == -torch.inf, 0, highest)  # of an anchor without contrasts
    exponentials = similarities.sub_(highest[:, None]).exp_()
    denominator = exponentials.sum(dim=1)
    valid = (total > 0) & (denominator != 0)  # an embedding of NaN shall show
    contrast = denominator.log() + highest
    losses = torch.where(valid, contrast - attraction / torch.where(valid, total, 1), 0)
    if not want_gradient:
        return losses, valid, None
    shares = exponentials.mul_(torch.where(valid, 1 / denominator, 0)[:, None])
    shares.addcmul_(weights, torch.where(valid, 1 / total, 0)[:, None], value=-1)
    return losses, valid, shares
