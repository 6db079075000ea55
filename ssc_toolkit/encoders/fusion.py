"""Layers for inference: batch norms folded away, layouts that a CPU likes.

Only what stands side by side in an `nn.Sequential` is folded, for there the order of computation is known.
"""

from __future__ import annotations

import itertools
from typing import TypeGuard, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

LayerType = TypeVar("LayerType", bound=nn.Module)

_FRESH = (nn.Conv1d, nn.Conv2d, nn.MaxPool1d, nn.MaxPool2d)
"""Layers whose output nobody else reads, so that a ReLU may overwrite it."""


class ChannelsLastConv1d(nn.Conv1d):
    """A 1-D convolution that computes with the channels of a frame side by side in memory.

    (N, channels, samples) in and out, as strides over (N, samples, channels).
    """

    def forward(self, input: Tensor) -> Tensor:
        padding = (0, *cast("tuple[int]", self.padding))
        image, weight = input[:, :, None], self.weight[:, :, None]
        return F.conv2d(image, weight, self.bias, (1, *self.stride), padding)[:, :, 0]


class ChannelsLastMaxPool1d(nn.MaxPool1d):
    """A 1-D max-pool that keeps the strides that `ChannelsLastConv1d` gives."""

    def forward(self, input: Tensor) -> Tensor:
        width, stride = cast("tuple[int, int]", (self.kernel_size, self.stride))
        return F.max_pool2d(input[:, :, None], (1, width), (1, stride))[:, :, 0]


class WindowedConv1d(nn.Conv1d):
    """A convolution of one channel whose windows do not overlap: a matrix product; output strides channels-last."""

    def forward(self, input: Tensor) -> Tensor:
        (width,) = self.kernel_size
        frames = input.shape[-1] // width
        windows = input[:, 0, : frames * width].unflatten(-1, (frames, width))
        return F.linear(windows, self.weight[:, 0], self.bias).transpose(1, 2)


class WindowedConvTranspose1d(nn.ConvTranspose1d):
    """A transposed convolution whose windows do not overlap: a matrix product; output strides channels-last."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        windows = input.transpose(1, 2) @ self.weight.transpose(1, 2).flatten(1)
        windows = windows.unflatten(-1, (-1, self.out_channels)).flatten(1, 2)
        return (windows if self.bias is None else windows + self.bias).transpose(1, 2)


def fuse_layers(module: nn.Module) -> None:
    """Fold batch norms into the convolutions before them and swap layers for faster ones, in place.

    Only for modules in eval mode; outputs stay equal within rounding.

    Examples:
        >>> layers = nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.ReLU()).eval()
        >>> fuse_layers(layers)
        >>> [type(layer).__name__ for layer in layers]
        ['ChannelsLastConv1d', 'ReLU']
    """
    for sequence in [child for child in module.modules() if type(child) is nn.Sequential]:
        _fold_batch_norms(sequence)
        _overwrite(sequence)
    for container in [child for child in module.modules() if isinstance(child, nn.Sequential | nn.ModuleList)]:
        for layer in container:
            _swap(layer)


def _fold_batch_norms(sequence: nn.Sequential) -> None:
    layers: list[nn.Module] = []
    for layer in sequence:
        before = layers[-1] if layers else None
        if isinstance(layer, _BatchNorm) and (_is(before, nn.Conv1d) or _is(before, nn.Conv2d)) and not _watched(layer):
            layers[-1] = fuse_conv_bn_eval(before, layer)
        else:
            layers.append(layer)
    if len(layers) < len(sequence):
        del sequence[:]
        sequence.extend(layers)


def _swap(layer: nn.Module) -> None:
    # The class alone changes: state and settings are the same.
    if _is(layer, nn.Conv1d) and layer.padding_mode == "zeros" and layer.groups == layer.dilation[0] == 1:
        if layer.in_channels == 1 and layer.kernel_size == layer.stride and layer.padding == (0,):
            layer.__class__ = WindowedConv1d
        elif isinstance(layer.padding, tuple):
            layer.weight.data = layer.weight.data.transpose(1, 2).contiguous().transpose(1, 2)
            layer.__class__ = ChannelsLastConv1d
    elif _is(layer, nn.MaxPool1d) and (layer.padding, layer.dilation) == (0, 1) and not layer.ceil_mode:
        layer.__class__ = ChannelsLastMaxPool1d
    elif _is(layer, nn.ConvTranspose1d):
        plain = layer.groups == layer.dilation[0] == 1 and not any((*layer.padding, *layer.output_padding))
        if plain and layer.kernel_size == layer.stride:
            layer.__class__ = WindowedConvTranspose1d
    elif _is(layer, nn.Conv2d):
        layer.to(memory_format=torch.channels_last)


def _overwrite(sequence: nn.Sequential) -> None:
    for before, layer in itertools.pairwise(sequence):
        if isinstance(before, _FRESH) and not _watched(before) and isinstance(layer, nn.ReLU):
            layer.inplace = True


def _is(layer: nn.Module | None, kind: type[LayerType]) -> TypeGuard[LayerType]:
    """Whether a layer computes what its kind does, from parameters of its own."""
    return (
        isinstance(layer, kind)
        and type(layer).forward is kind.forward
        and not hasattr(layer, "parametrizations")
        and not _watched(layer)
    )


def _watched(layer: nn.Module) -> bool:
    return bool(layer._forward_hooks or layer._forward_pre_hooks)
