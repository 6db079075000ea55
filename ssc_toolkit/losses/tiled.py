"""Losses of anchors computed in tiles, without storing the matrix of all pairs of anchors and contrasts.

A tile contains the pairs of some anchors and all contrasts. Values and gradients are computed tile by tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.losses.dense import compute_losses
from ssc_toolkit.losses.pairs import PairSettings
from ssc_toolkit.targets import Target

PAIRS_PER_TILE = {"cpu": 2**19, "cuda": 2**25}
"""Number of pairs in a tile by device type. On a CPU, a tile fits in the cache of a core."""
MIN_ROWS = 128
"""Minimum number of anchors in a tile. With fewer anchors, matrix products are slow."""


def list_tiles(pairs: PairSettings) -> Iterator[tuple[int, int]]:
    """Yield the first index, and the index after the last, of the items whose pairs are computed at once (a tile)."""
    views, count = pairs.anchors.views, len(pairs.anchors.items)
    contrasts = len(pairs.contrasts.items) * pairs.contrasts.views
    size = PAIRS_PER_TILE.get(pairs.anchors.items.device.type, PAIRS_PER_TILE["cuda"])
    height = max(1, max(MIN_ROWS, size // max(1, contrasts)) // max(1, views))
    for start in range(0, count, height):
        yield start, min(start + height, count)


def tiled_sum(
    queries: Tensor,
    keys: Tensor,
    pairs: PairSettings,
    lowest: Tensor | None = None,
    log_mean: Tensor | None = None,
    factors: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the sum of the losses of N anchors.

    Args:
        queries: as for `dense_losses`.
        keys: as for `dense_losses`.
        pairs: as for `dense_losses`.
        lowest: as for `dense_losses`.
        log_mean: as for `dense_losses`.
        factors: (N,) factors by which the losses of the anchors are multiplied. None: all are 1.

    Returns:
        Scalar sum, and bool (N,), True where an anchor is valid as for `dense_losses`.
    """
    wanted = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (queries, keys, lowest)
    )
    return _TiledSum.apply(queries, keys, lowest, log_mean, factors, pairs, wanted)


def tiled_losses(
    queries: Tensor, keys: Tensor, pairs: PairSettings, lowest: Tensor | None = None, log_mean: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Compute the same as `dense_losses`, with the same arguments, in less memory.

    Returns:
        Losses (N,), and bool (N,), True where an anchor is valid.
    """
    return _TiledLosses.apply(queries, keys, lowest, log_mean, pairs)


class _Gradients:
    """Derivatives of a loss with respect to `queries`, `keys` and `lowest`, to which those of each tile are added."""

    def __init__(self, queries: Tensor, keys: Tensor, lowest: Tensor | None) -> None:
        self.queries, self.keys = queries, keys
        self.by_queries, self.by_keys = torch.empty_like(queries), torch.zeros_like(keys)
        self.by_lowest = None if lowest is None else torch.zeros_like(lowest)

    def add(self, rows: slice, tile: _Tile) -> None:
        """Add the derivatives of one tile, whose anchors are the slice `rows` of the queries."""
        assert tile.by_similarity is not None
        torch.mm(tile.by_similarity, self.keys, out=self.by_queries[rows])
        self.by_keys.addmm_(tile.by_similarity.T, self.queries[rows])
        if self.by_lowest is not None and tile.by_lowest is not None:
            self.by_lowest += tile.by_lowest

    def whole(self) -> tuple[Tensor, ...]:
        """Return the derivatives with respect to queries, keys and, unless it is None, `lowest`."""
        found = (self.by_queries, self.by_keys, self.by_lowest)
        return tuple(value for value in found if value is not None)


class _TiledSum(torch.autograd.Function):
    """Autograd function of `tiled_sum`. The forward pass computes the gradient together with the value."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        lowest: Tensor | None,
        log_mean: Tensor | None,
        factors: Tensor | None,
        pairs: PairSettings,
        wanted: bool,
    ) -> tuple[Tensor, Tensor]:
        valid = torch.empty(len(queries), dtype=torch.bool, device=queries.device)
        total = queries.new_zeros(())
        gradients = _Gradients(queries, keys, lowest) if wanted else None
        for start, stop in list_tiles(pairs):
            rows = pairs.rows(start, stop)
            own = None if factors is None else factors[rows]
            tile = _tile(queries[rows] @ keys.T, pairs, start, stop, lowest, log_mean, wanted, own)
            valid[rows] = tile.valid
            total += tile.losses.sum() if own is None else (tile.losses * own).sum()
            if gradients is not None:
                gradients.add(rows, tile)
        if gradients is not None:
            ctx.save_for_backward(*gradients.whole())
        ctx.mark_non_differentiable(valid)
        return total, valid

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        found = [upstream * gradient for gradient in ctx.saved_tensors]
        return *found, *[None] * (7 - len(found))


class _TiledLosses(torch.autograd.Function):
    """Autograd function of `tiled_losses`. The backward pass computes the tiles again with the upstream gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        lowest: Tensor | None,
        log_mean: Tensor | None,
        pairs: PairSettings,
    ) -> tuple[Tensor, Tensor]:
        losses = queries.new_zeros(len(queries))
        valid = torch.zeros_like(losses, dtype=torch.bool)
        for start, stop in list_tiles(pairs):
            rows = pairs.rows(start, stop)
            tile = _tile(queries[rows] @ keys.T, pairs, start, stop, lowest, log_mean, False, None)
            losses[rows], valid[rows] = tile.losses, tile.valid
        # Autograd saves the tensors, and raises an error if they are changed in place before the backward pass.
        described: list[Tensor] = []
        ctx.pairs = pairs.map(lambda tensor: described.append(tensor) or tensor)  # type: ignore[func-returns-value]
        ctx.of_target = _tensors(pairs.settings.target)
        read = [tensor.clone() if tensor.is_inference() else tensor for tensor in described]
        ctx.save_for_backward(queries, keys, lowest, log_mean, *read, *ctx.of_target)
        ctx.mark_non_differentiable(valid)
        return losses, valid

    @staticmethod
    def backward(ctx: Any, upstream: Tensor, _: Any) -> tuple[Tensor | None, ...]:
        _refuse_second_derivative()
        queries, keys, lowest, log_mean, *described = ctx.saved_tensors
        now = _tensors(ctx.pairs.settings.target)
        if len(now) != len(ctx.of_target) or any(a is not b for a, b in zip(now, ctx.of_target, strict=True)):
            raise RuntimeError("target: expected the same tensors in the backward pass as in the loss, got others")
        in_order = iter(described)
        pairs = ctx.pairs.map(lambda _: next(in_order))
        gradients = _Gradients(queries, keys, lowest)
        with torch.autocast(queries.device.type, enabled=False):  # the caller may call backward() within autocast
            for start, stop in list_tiles(pairs):
                rows = pairs.rows(start, stop)
                similarities = queries[rows] @ keys.T
                tile = _tile(similarities, pairs, start, stop, lowest, log_mean, True, upstream[rows])
                gradients.add(rows, tile)
        found = gradients.whole()
        return *found, *[None] * (5 - len(found))


def _tensors(target: Target) -> list[Tensor]:
    return [*target.buffers(), *target.parameters()]


def _refuse_second_derivative() -> None:
    if torch.is_grad_enabled():
        raise RuntimeError("implementation: expected 'dense' for a second derivative, got 'tiled'")


class _Tile(NamedTuple):
    """Result for the pairs of R anchors and all M contrasts.

    Attributes:
        losses: (R,) losses of the anchors.
        valid: bool (R,), True where an anchor is counted in the mean.
        by_similarity: (R, M) derivative of the sum of losses times factors with respect to the similarities, or None.
        by_lowest: derivative of the same sum with respect to the scalar `lowest`, or None.
    """

    losses: Tensor
    valid: Tensor
    by_similarity: Tensor | None = None
    by_lowest: Tensor | None = None


def _tile(
    similarities: Tensor,
    pairs: PairSettings,
    start: int,
    stop: int,
    lowest: Tensor | None,
    log_mean: Tensor | None,
    want_gradient: bool,
    factors: Tensor | None,
) -> _Tile:
    """Compute the losses of the R anchors of items `start` to `stop - 1`, and derivatives if `want_gradient`.

    This overwrites `similarities`, (R, M) for M contrasts. The derivatives are those of the sum of the losses, each
    multiplied by its entry in `factors`, (R,). The other arguments are as for `dense_losses`.
    """
    if not pairs.settings.weighting.is_plain:
        return _weighted_tile(similarities, pairs, start, stop, lowest, log_mean, want_gradient, factors)
    weights, ignored = pairs.describe(start, stop)
    weights = weights.to(similarities.dtype)
    own = None if pairs.itself is None else pairs.itself + pairs.rows(start, stop).start
    if own is not None:
        weights.diagonal(own).zero_()
    total = weights.sum(dim=1)
    attraction = (weights * similarities).sum(dim=1)
    if pairs.settings.is_decoupled:
        similarities.masked_fill_(weights > 0, -torch.inf)
    if ignored is not None:
        similarities.masked_fill_(ignored, -torch.inf)
    if own is not None:
        similarities.diagonal(own).fill_(-torch.inf)
    highest = similarities.amax(dim=1)
    highest = torch.where(highest == -torch.inf, 0, highest)  # for an anchor without contrasts
    exponentials = similarities.sub_(highest[:, None]).exp_()
    denominator = exponentials.sum(dim=1)
    valid = (total > 0) & (denominator != 0)  # != keeps NaN, so NaN in an embedding gives a NaN loss
    contrast = denominator.log() + highest
    losses = torch.where(valid, contrast - attraction / torch.where(valid, total, 1), 0)
    if not want_gradient:
        return _Tile(losses, valid)
    factors = torch.ones_like(losses) if factors is None else factors
    shares = exponentials.mul_(torch.where(valid, factors / denominator, 0)[:, None])
    shares.addcmul_(weights, torch.where(valid, factors / total, 0)[:, None], value=-1)
    return _Tile(losses, valid, shares)


def _weighted_tile(
    similarities: Tensor,
    pairs: PairSettings,
    start: int,
    stop: int,
    lowest: Tensor | None,
    log_mean: Tensor | None,
    want_gradient: bool,
    factors: Tensor | None,
) -> _Tile:
    """Compute the same as `_tile`, with the same arguments, for weighted negatives or positives.

    The derivatives are computed by autograd.
    """
    leaves = [similarities.requires_grad_(want_gradient)]
    if lowest is not None:
        lowest = lowest.detach().requires_grad_(want_gradient)
        leaves.append(lowest)
    with torch.set_grad_enabled(want_gradient):
        losses, valid = compute_losses(similarities, pairs, start, stop, lowest, log_mean)
    if not want_gradient:
        return _Tile(losses, valid)
    factors = torch.ones_like(losses) if factors is None else factors
    by_similarity, *rest = torch.autograd.grad(losses, leaves, factors, allow_unused=True)
    return _Tile(losses.detach(), valid, by_similarity, rest[0] if rest else None)
