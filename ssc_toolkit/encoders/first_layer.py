"""First convolution and batch norm of an encoder in training, computed as one convolution.

A convolution is linear, so that mean and variance of its outputs follow from the mean m and the covariance C of the
patches of its input: a channel with weights w has mean w . m and variance w . C w. The batch norm can therefore be
folded into weights and bias of the convolution, also in training. The outputs of the convolution, which are many times
larger than the input, are then not normalized, and no gradient of the input is computed.
"""

from __future__ import annotations

from typing import TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssc_toolkit.encoders.layer_kinds import CONVOLUTIONS, is_batch_norm_in_training, is_plain, is_trained_on_cpu

_Conv: TypeAlias = nn.Conv1d | nn.Conv2d
_OF_EACH_EXAMPLE = (*CONVOLUTIONS, nn.ReLU, nn.MaxPool1d, nn.MaxPool2d)
"""Layers that compute each example by itself, so that a batch can be computed in slices."""
_MAX_TAPS = 32  # covariances of larger patches would cost more than the batch norm
_SLICE_BYTES = 2**21  # of outputs of the convolution, for each thread; they fit in the level-2 cache of a core


def normalize_image(norm: nn.BatchNorm2d, image: Tensor) -> tuple[Tensor, ...]:
    """Normalize an image; in training on a CPU, return weight and bias of the batch norm instead of applying them.

    Args:
        norm: batch norm of one channel.
        image: image (N, 1, rows, columns).

    Returns:
        The output of the batch norm, or the normalized image, weight and bias, for `apply_layers`.

    Examples:
        >>> [tuple(value.shape) for value in normalize_image(nn.BatchNorm2d(1), torch.randn(2, 1, 8, 6))]
        [(2, 1, 8, 6), (1,), (1,)]
    """
    if not is_trained_on_cpu(image) or image.requires_grad or not is_plain(norm, nn.BatchNorm2d):
        return (norm(image),)
    if not is_batch_norm_in_training(norm) or image.dtype != norm.weight.dtype:
        return (norm(image),)
    factor = advance(norm)
    statistics = norm.running_mean, norm.running_var
    return F.batch_norm(image, *statistics, None, None, True, factor, norm.eps), norm.weight, norm.bias


def advance(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> float:
    """Count a batch, and return the weight of its statistics in the running statistics."""
    count = cast(Tensor, norm.num_batches_tracked).add_(1)
    return norm.momentum if norm.momentum is not None else 1 / float(count)


def update_statistics(norm: nn.BatchNorm1d | nn.BatchNorm2d, mean: Tensor, variance: Tensor, factor: float) -> None:
    """Update the running statistics of a batch norm with the weight `factor`.

    As in PyTorch's own batch norm, autograd does not count the update as a change of a saved tensor: an earlier call
    of the same layer in the graph may have saved the statistics.
    """
    cast(Tensor, norm.running_mean).data.lerp_(mean.detach(), factor)
    cast(Tensor, norm.running_var).data.lerp_(variance.detach(), factor)


def check_has_variance(count: int) -> int:
    """Return the number of values per channel; raise ValueError if there is only one, which has no variance."""
    if count == 1:
        raise ValueError("Expected more than 1 value per channel when training")
    return count


def split_batch(input: Tensor, conv: _Conv) -> tuple[Tensor, ...]:
    """Split a batch into slices whose convolutions fit in the caches of the cores."""
    values = conv.out_channels
    padded = cast("tuple[int, ...]", conv.padding)
    settings = zip(input.shape[2:], conv.kernel_size, conv.stride, padded, conv.dilation, strict=True)
    for size, kernel, stride, padding, dilation in settings:
        values *= (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return input.split(max(1, torch.get_num_threads() * _SLICE_BYTES // max(1, values * input.element_size())))


def fold_first_norm(
    layers: list[nn.Module], input: Tensor, affine: tuple[Tensor, ...]
) -> tuple[Tensor, list[nn.Module]] | None:
    """Apply the first convolution, its batch norm, and all layers up to the next batch norm, in slices of the batch.

    Args:
        layers: layers of a sequence; the first is the convolution.
        input: input (N, channels, ...), which requires no gradient.
        affine: weight and bias of a batch norm before the convolution that are not yet applied, or nothing.

    Returns:
        The features and the remaining layers; None if the layers are of other kinds.
    """
    if not _is_foldable(layers, input):
        return None
    conv, norm = cast(nn.Conv2d, layers[0]), cast(nn.BatchNorm2d, layers[1])
    weight, (mean, covariance, count) = conv.weight, _moments(conv, input)
    if affine:
        # The bias of the preceding batch norm is the weight of a second channel, which is 1 except in the padding.
        mean, covariance = _append_ones(conv, input, mean, covariance)
        input = torch.cat([input, torch.ones_like(input)], dim=1)
        weight = torch.cat([affine[0] * weight, affine[1] * weight], dim=1)
    if input.dim() == 4:
        input = input.contiguous(memory_format=torch.channels_last)
    weight, bias = _fold(conv, norm, weight, mean, covariance, count)
    parts = split_batch(input, conv)
    following = 2
    while following < len(layers) and is_plain(layers[following], *_OF_EACH_EXAMPLE):
        following += 1
    padding = cast("tuple[int, ...]", conv.padding)
    settings = conv.stride, padding, conv.dilation, False, [0] * len(padding), conv.groups

    def apply(part: Tensor) -> Tensor:
        features = torch.convolution(part, weight, bias, *settings)
        for layer in layers[2:following]:
            # The backward pass of a convolution does not need its output.
            features = features.relu_() if layer is layers[2] and is_plain(layer, nn.ReLU) else layer(features)
        return features

    if following <= 3:  # with a ReLU alone, joining the slices would take longer than computing them
        return apply(input), layers[following:]
    return torch.cat([apply(part) for part in parts]), layers[following:]


def _is_foldable(layers: list[nn.Module], input: Tensor) -> bool:
    if len(layers) < 2 or input.requires_grad:
        return False
    conv, norm = cast(_Conv, layers[0]), cast(nn.BatchNorm2d, layers[1])
    return (
        is_plain(conv, *CONVOLUTIONS)
        and is_plain(norm, nn.BatchNorm1d, nn.BatchNorm2d)
        and is_batch_norm_in_training(norm)
        and conv.padding_mode == "zeros"
        and not isinstance(conv.padding, str)
        and conv.groups == 1
        and conv.weight[0].numel() <= _MAX_TAPS
        and conv.weight.dtype == norm.weight.dtype == input.dtype
    )


def _fold(
    conv: _Conv, norm: nn.BatchNorm1d | nn.BatchNorm2d, weight: Tensor, center: Tensor, covariance: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution with the batch norm, and update the running statistics."""
    flat = weight.flatten(1).double()
    bias = torch.zeros_like(norm.bias) if conv.bias is None else conv.bias
    mean = flat @ center + bias
    variance = ((flat @ covariance) * flat).sum(1)
    factor = advance(norm)
    unbiased = variance * (count / (count - 1))
    update_statistics(norm, mean.to(weight.dtype), unbiased.to(weight.dtype), factor)
    scale = norm.weight * (variance + norm.eps).rsqrt()
    folded = (flat * scale[:, None]).view_as(weight)
    return folded.to(weight.dtype), (norm.bias + (bias - mean) * scale).to(weight.dtype)


@torch.no_grad()
def _moments(conv: _Conv, input: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and covariance of the patches of the input in float64, and the number of patches."""
    counts, means, products = [], [], []
    for part in split_batch(input, conv):
        patches = _unfold(conv, part)
        counts.append(patches.shape[0] * patches.shape[2])
        means.append(patches.mean(dim=(0, 2)))
        patches -= means[-1][:, None]
        products.append((patches @ patches.mT).sum(0))
    total, weights = check_has_variance(sum(counts)), torch.tensor(counts, dtype=torch.float64)
    centers = torch.stack(means).double()
    mean = (weights[:, None] * centers).sum(0) / total
    apart = centers - mean
    covariance = (torch.stack(products).double().sum(0) + (weights * apart.T) @ apart) / total
    return mean, covariance, total


@torch.no_grad()
def _append_ones(conv: _Conv, input: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the patches of the input with a second channel of ones."""
    ones = _unfold(conv, torch.ones_like(input[:1]))[0].double()
    own = ones.mean(1)
    ones -= own[:, None]
    average = _unfold(conv, input.mean(0, keepdim=True))[0].double() - mean[:, None]
    across = average @ ones.T / ones.shape[1]
    rows = torch.cat([covariance, across], 1), torch.cat([across.T, ones @ ones.T / ones.shape[1]], 1)
    return torch.cat([mean, own]), torch.cat(rows)


def _unfold(conv: _Conv, input: Tensor) -> Tensor:
    """Return the patches (N, channels * taps, positions) of an input."""
    padding = cast("tuple[int, ...]", conv.padding)
    if input.dim() == 4:
        return F.unfold(input, conv.kernel_size, conv.dilation, padding, conv.stride)
    return F.unfold(input[:, :, None], (1, *conv.kernel_size), (1, *conv.dilation), (0, *padding), (1, *conv.stride))
