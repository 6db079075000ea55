"""Training of convolution blocks on a CPU, in slices of the batch that fit in its cache.

In training mode, a batch norm needs the statistics of the whole batch, so that PyTorch computes each layer for the
whole batch. For large batches, each layer then reads and writes main memory, and most of the memory is new in each
step, so that the kernel must clear it. Here a block (convolution, batch norm, max-pooling, ReLU) is computed in two
passes over slices of the batch: the first computes the convolution, its maxima and its statistics, the second
normalizes the maxima, which are fewer than the outputs. Embeddings, gradients and running statistics equal those of the
layers up to rounding errors.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssc_toolkit.encoders.first_layer import (
    advance,
    check_has_variance,
    fold_first_norm,
    split_batch,
    update_statistics,
)
from ssc_toolkit.encoders.layer_kinds import is_batch_norm_in_training, is_plain, is_trained_on_cpu


def apply_layers(layers: nn.Module, input: Tensor, *affine: Tensor) -> Tensor:
    """Apply layers; in training on a CPU, compute the blocks of an `nn.Sequential` in slices of the batch.

    Blocks are neighbors in the sequence: convolution, batch norm, max-pooling, ReLU. A first convolution of an input
    that requires no gradient is computed together with its batch norm. Layers with hooks, parametrizations or
    overridden methods, other devices, autocast and traced calls use the layers themselves.

    Args:
        layers: module to apply.
        input: input of the module.
        affine: weight and bias of a batch norm before the layers that are not yet applied, or nothing.

    Returns:
        Output of the module.

    Examples:
        >>> layers = nn.Sequential(nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.MaxPool1d(2), nn.ReLU())
        >>> apply_layers(layers, torch.randn(8, 2, 10)).shape, layers[1].num_batches_tracked
        (torch.Size([8, 4, 4]), tensor(1))
    """
    sequence = list(layers) if is_trained_on_cpu(input) and is_plain(layers, nn.Sequential) else None
    folded = fold_first_norm(sequence, input, affine) if sequence is not None else None
    if folded is not None:
        features, sequence = folded
    else:
        features = input * affine[0] + affine[1] if affine else input
    if sequence is None:
        return cast(Tensor, layers(features))
    while sequence:
        block = _find_block(sequence, features)
        features = sequence[0](features) if block is None else block(features)
        del sequence[: 1 if block is None else 4]
    return features


def _find_block(layers: list[nn.Module], input: Tensor) -> _Block | None:
    """Return the block at the beginning of the layers, or None if there is none that can be computed in slices."""
    if len(layers) < 4 or not is_plain(layers[2], nn.MaxPool1d) or not is_plain(layers[3], nn.ReLU):
        return None
    conv, norm, width = layers[0], layers[1], _pool_width(layers[2])
    if not (width and is_plain(conv, nn.Conv1d) and is_plain(norm, nn.BatchNorm1d)):
        return None
    trained = is_batch_norm_in_training(norm)
    plain = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    fits = conv.weight.dtype == norm.weight.dtype == input.dtype and input.dim() == 3
    return _Block(conv, norm, width) if trained and plain and fits else None


def _pool_width(pool: nn.MaxPool1d) -> int:
    """Return the width of a max-pooling without overlap, padding or indices; 0 for another one."""
    width = pool.kernel_size
    plain = pool.stride == width and (pool.padding, pool.dilation) == (0, 1)
    return width if isinstance(width, int) and plain and not (pool.ceil_mode or pool.return_indices) else 0


@dataclass(frozen=True)
class _Block:
    """A convolution, a batch norm, max-pooling of a width and a ReLU."""

    conv: nn.Conv1d
    norm: nn.BatchNorm1d
    width: int

    def __call__(self, input: Tensor) -> Tensor:
        conv, norm = self.conv, self.norm
        output, mean, variance = _SlicedBlock.apply(input, conv.weight, conv.bias, norm.weight, norm.bias, self)
        if conv.bias is not None:
            mean = mean + conv.bias.detach()
        factor = advance(norm)
        update_statistics(norm, mean, variance, factor)
        return cast(Tensor, output)

    @property
    def conv_settings(self) -> tuple[Any, ...]:
        """Arguments of `torch.convolution` after the bias."""
        conv = self.conv
        return conv.stride, conv.padding, conv.dilation, False, [0], conv.groups

    def taps(self, features: Tensor) -> list[Tensor]:
        """Return one view of the features per position in a pooling window, each as long as the pooled features."""
        end = features.shape[-1] // self.width * self.width
        return [features[..., position : end : self.width] for position in range(self.width)]

    def pool(self, features: Tensor) -> Tensor:
        # Several times faster than `F.max_pool1d` with indices.
        return functools.reduce(torch.maximum, self.taps(features))

    def first_maxima(self, features: Tensor, highest: Tensor) -> Tensor:
        """Return the position of the first maximum of each pooling window."""
        positions = torch.arange(0, highest.shape[-1] * self.width, self.width).expand(highest.shape)
        below: Tensor | None = None
        for tap in self.taps(features)[:-1]:
            below = tap < highest if below is None else below.logical_and_(tap < highest)
            positions = positions + below
        return positions

    def plain(self, input: Tensor, weight: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor) -> Tensor:
        """Compute the block layer by layer, for gradients of gradients."""
        features = torch.convolution(input, weight, bias, *self.conv_settings)
        features = F.batch_norm(features, None, None, gamma, beta, training=True, eps=self.norm.eps)
        return F.max_pool1d(features, self.width).relu()


class _SlicedBlock(torch.autograd.Function):
    """Output of a block, and mean and unbiased variance of its convolution without the bias.

    Where the weight of the batch norm is negative, the convolution is computed with the opposite sign, so that
    max-pooling commutes with the batch norm.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, gamma: Tensor, beta: Tensor, block: _Block
    ) -> tuple[Tensor, Tensor, Tensor]:
        signs = torch.where(gamma < 0, -1.0, 1.0).to(gamma.dtype)
        flipped = weight * signs[:, None, None]
        convolved, highest, statistics = [], [], []
        for part in split_batch(input, block.conv):
            convolved.append(torch.convolution(part, flipped, None, *block.conv_settings))
            highest.append(block.pool(convolved[-1]))
            statistics.append(torch.batch_norm_update_stats(convolved[-1], None, None, 0.0))
        mean, variance, count = _merge(statistics, [part.numel() // len(gamma) for part in convolved])
        deviation = (variance + block.norm.eps).sqrt()
        scale = gamma.abs() / deviation
        shift = beta - mean * scale
        output = input.new_empty(len(input), *highest[0].shape[1:])
        for own, part in zip(output.split(len(highest[0])), highest, strict=True):
            torch.addcmul(shift[:, None], part, scale[:, None], out=own).relu_()
        ctx.save_for_backward(input, weight, bias, gamma, beta, signs, mean, deviation, output, *convolved, *highest)
        ctx.block, ctx.count = block, count
        mean, variance = signs * mean, variance * (count / (count - 1))
        ctx.mark_non_differentiable(mean, variance)
        return output, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        if not torch.is_grad_enabled():
            return (*_compute_gradients(ctx, gradient), None)
        arguments = ctx.saved_tensors[:5]
        needed = [value for value, is_needed in zip(arguments, ctx.needs_input_grad[:5], strict=True) if is_needed]
        found = iter(torch.autograd.grad(ctx.block.plain(*arguments), needed, gradient, create_graph=True))
        return (*(next(found) if is_needed else None for is_needed in ctx.needs_input_grad[:5]), None)


def _compute_gradients(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    """Compute the gradients of input, weight, bias, and weight and bias of the batch norm."""
    block = cast(_Block, ctx.block)
    input, weight, bias, gamma, _, signs, mean, deviation, output, *parts = ctx.saved_tensors
    convolved, highest = parts[: len(parts) // 2], parts[len(parts) // 2 :]
    size = len(highest[0])
    masked = [
        torch.ops.aten.threshold_backward(own, out, 0)
        for own, out in zip(gradient.split(size), output.split(size), strict=True)
    ]
    total = sum(own.sum((0, 2)) for own in masked)
    product = (
        sum((high - mean[:, None]).mul_(own).sum((0, 2)) for high, own in zip(highest, masked, strict=True)) / deviation
    )

    scale = gamma.abs() / deviation
    slope = -scale * product / (deviation * ctx.count)
    offset = -scale * total / ctx.count - slope * mean
    flipped = weight * signs[:, None, None]
    mask = [*ctx.needs_input_grad[:2], False]
    of_input, of_weight = torch.empty_like(input) if mask[0] else None, torch.zeros_like(weight)
    for index, part in enumerate(input.split(size)):
        own = torch.addcmul(offset[:, None], convolved[index], slope[:, None])
        own.scatter_add_(2, block.first_maxima(convolved[index], highest[index]), masked[index].mul_(scale[:, None]))
        settings = (None, *block.conv_settings, mask)
        of_part, own_weight, _ = torch.ops.aten.convolution_backward(own, part, flipped, *settings)
        if of_input is not None:
            of_input[index * size : index * size + len(part)] = of_part
        if mask[1]:
            of_weight += own_weight
    of_weight *= signs[:, None, None]
    # The batch norm subtracts the bias of the convolution.
    of_bias = None if bias is None else torch.zeros_like(bias)
    return of_input, of_weight if mask[1] else None, of_bias, product * signs, total


def _merge(statistics: Sequence[tuple[Tensor, Tensor]], counts: Sequence[int]) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance of all slices, and the number of values."""
    total = check_has_variance(sum(counts))
    means, variances = (torch.stack(values).double() for values in zip(*statistics, strict=True))
    weights = torch.tensor(counts, dtype=torch.float64)[:, None] / total
    mean = (weights * means).sum(0)
    variance = (weights * (variances + (means - mean).square())).sum(0)
    dtype = statistics[0][0].dtype
    return mean.to(dtype), variance.to(dtype), total
