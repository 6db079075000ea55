"""Scaling of embeddings of any magnitude to length 1."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ssc_toolkit.tracing import in_function_transform


def unit_length(embeddings: Tensor) -> Tensor:
    """Scale rows to length 1, also if their squares exceed the range of the dtype.

    Each row is first multiplied by a power of two that scales its largest entry to about 1, so the squares in its norm
    neither overflow nor become 0. For rows of usual magnitude, this does not change the result. The gradient of very
    small rows can exceed the range of the dtype. It is then scaled down to fit the range and keeps its direction.

    Args:
        embeddings: (..., dim), floating point.

    Returns:
        (..., dim) in float64 for float64 embeddings, otherwise in float32. A row of zeros stays zero and has gradient
        0. A row with NaN or infinity becomes NaN.

    Examples:
        >>> unit_length(torch.tensor([[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    rows = embeddings if embeddings.dtype == torch.float64 else embeddings.float()
    factor = _power_of_two(rows.detach())
    limit = torch.finfo(embeddings.dtype).max / 2
    if not torch.compiler.is_compiling() and (in_function_transform() or forward_ad._current_level >= 0):
        return _UnitLengthInTransforms.apply(rows, factor, limit)[0]
    return _UnitLength.apply(rows, factor, limit)


def _power_of_two(rows: Tensor) -> Tensor:
    """Compute a power of two for each row, (..., 1), by which the largest entry of the row is scaled to about 1."""
    limit = 2.0 ** (1021 if rows.dtype == torch.float64 else 125)
    largest = rows.abs().amax(dim=-1, keepdim=True).clamp(0.5 / limit, limit)
    return torch.frexp(largest).mantissa / largest


def _scaled(rows: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows scaled to length 1, (..., dim), and lengths of `rows * factor`, (..., 1), which are inf for zeros."""
    scaled = rows * factor
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    length = torch.where(length > 0, length, torch.inf)
    return scaled / length, length


def _gradient(gradient: Tensor, factor: Tensor, limit: float, unit: Tensor, length: Tensor) -> Tensor:
    """Compute the gradient with respect to the rows from `gradient`, which is that with respect to the scaled rows.

    Args:
        gradient: (..., dim) gradient with respect to `unit`.
        factor: (..., 1) power of two by which each row was multiplied.
        limit: largest absolute value of the result.
        unit: (..., dim) rows scaled to length 1.
        length: (..., 1) lengths of the rows times `factor`.
    """
    across = (gradient - unit * (unit * gradient).sum(dim=-1, keepdim=True)) / length
    largest = across.detach().abs().amax(dim=-1, keepdim=True)
    return across * torch.minimum(factor, limit / largest)


class _UnitLength(torch.autograd.Function):
    """Autograd function that scales rows to length 1, with a gradient that is limited before it can overflow."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, factor: Tensor, limit: float) -> Tensor:
        unit, length = _scaled(rows, factor)
        ctx.limit = limit
        ctx.save_for_backward(rows, factor, unit, length)
        return unit

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, factor, unit, length = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative requires their graph
            unit, length = _scaled(rows, factor)
        return _gradient(gradient, factor, ctx.limit, unit, length), None, None


class _UnitLengthInTransforms(torch.autograd.Function):
    """Slower autograd function that scales rows to length 1 and supports `torch.func` and forward-mode derivatives."""

    generate_vmap_rule = True

    @staticmethod
    def forward(rows: Tensor, factor: Tensor, limit: float) -> tuple[Tensor, Tensor]:
        return _scaled(rows, factor)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: tuple[Tensor, Tensor]) -> None:
        rows, factor, ctx.limit = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(rows, factor)
        ctx.save_for_forward(rows, factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Any) -> tuple[Tensor, None, None]:
        rows, factor = ctx.saved_tensors
        return _gradient(gradient, factor, ctx.limit, *_scaled(rows, factor)), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> tuple[Tensor, None]:
        rows, factor = ctx.saved_tensors
        unit, length = _scaled(rows, factor)
        tangent = tangent * factor
        return (tangent - unit * (unit * tangent).sum(dim=-1, keepdim=True)) / length, None
