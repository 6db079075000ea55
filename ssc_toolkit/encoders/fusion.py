"""Faster layers for inference: folded batch norms and memory layouts that are fast on a CPU.

Folding merges a batch norm into the preceding convolution. Only neighbors in an `nn.Sequential` are folded, because
their order of computation is known. In the encoders of this library, folded layers replace the original layers. Other
modules may access single layers of a sequence or use their outputs. In these modules, the original layers are kept in
addition to the folded layers.
"""

from __future__ import annotations

import itertools
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ssc_toolkit.encoders.layer_kinds import CONVOLUTIONS, is_plain
from ssc_toolkit.encoders.strided import StridedConv2d

_FRESH = (*CONVOLUTIONS, nn.MaxPool1d, nn.MaxPool2d)
"""Classes of layers whose output a following ReLU may overwrite."""


class ChannelsLastConv1d(nn.Conv1d):
    """A 1-D convolution in the channels-last memory layout.

    Input and output have the shape (N, channels, samples), stored as (N, samples, channels).
    """

    def forward(self, input: Tensor) -> Tensor:
        padding = (0, *cast("tuple[int]", self.padding))
        image, weight = input[:, :, None], self.weight[:, :, None]
        return F.conv2d(image, weight, self.bias, (1, *self.stride), padding)[:, :, 0]


class ChannelsLastMaxPool1d(nn.MaxPool1d):
    """A 1-D max-pooling that keeps the channels-last memory layout of its input."""

    def forward(self, input: Tensor) -> Tensor:
        width, stride = cast("tuple[int, int]", (self.kernel_size, self.stride))
        return F.max_pool2d(input[:, :, None], (1, width), (1, stride))[:, :, 0]


class WindowedConv1d(nn.Conv1d):
    """A 1-D convolution of one channel with stride = kernel size, computed as a matrix product.

    The output has the channels-last memory layout.
    """

    def forward(self, input: Tensor) -> Tensor:
        (width,) = self.kernel_size
        frames = input.shape[-1] // width
        windows = input[:, 0, : frames * width].unflatten(-1, (frames, width))
        return F.linear(windows, self.weight[:, 0], self.bias).transpose(1, 2)


class WindowedConvTranspose1d(nn.ConvTranspose1d):
    """A transposed 1-D convolution with stride = kernel size, computed as a matrix product.

    The output has the channels-last memory layout.
    """

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None:
            return super().forward(input, output_size)
        windows = input.transpose(1, 2) @ self.weight.transpose(1, 2).flatten(1)
        windows = windows.unflatten(-1, (-1, self.out_channels)).flatten(1, 2)
        return (windows if self.bias is None else windows + self.bias).transpose(1, 2)


class FoldedSequential(nn.Sequential):
    """An `nn.Sequential` that, when called as a whole, uses convolutions into which batch norms are folded.

    Access by index or name returns the original layers.
    """

    def forward(self, input: Tensor) -> Tensor:
        layers = list(self)
        while layers:
            layer = layers.pop(0)
            if layers and getattr(layers[0], "folded_from", None) is layer:
                layer = cast(nn.Module, layers.pop(0).folded)
            input = layer(input)
        return input


def fold_batch_norms(module: nn.Module) -> None:
    """Fold batch norms into the preceding convolutions in each `nn.Sequential` of a module, in place.

    The folded layers are used when the sequence is called as a whole. The module must be in eval mode. Its outputs
    are unchanged up to rounding errors, even if it also uses single layers of a sequence.

    Examples:
        >>> layers = nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.ReLU()).eval()
        >>> fold_batch_norms(layers)
        >>> type(layers).__name__, [type(layer).__name__ for layer in layers]
        ('FoldedSequential', ['Conv1d', 'BatchNorm1d', 'ReLU'])
    """
    for sequence in _sequences(module):
        for before, norm in itertools.pairwise(sequence):
            if _foldable(before, norm) and not hasattr(norm, "folded"):
                norm.folded = fuse_conv_bn_eval(cast(nn.Conv1d, before), cast(nn.BatchNorm1d, norm))
                vars(norm)["folded_from"] = before  # not registered as a submodule
                sequence.__class__ = FoldedSequential


def fuse_layers(module: nn.Module) -> None:
    """Fold batch norms into convolutions, and replace layers of a module by faster layers, in place.

    The module must be in eval mode. It must call each `nn.Sequential` as a whole, and must not use the output of a
    single layer of an `nn.Sequential`. The outputs of the module are unchanged up to rounding errors.

    Examples:
        >>> layers = nn.Sequential(nn.Conv1d(4, 8, 3), nn.BatchNorm1d(8), nn.ReLU()).eval()
        >>> fuse_layers(layers)
        >>> [type(layer).__name__ for layer in layers]
        ['ChannelsLastConv1d', 'ReLU']
    """
    for sequence in _sequences(module):
        _replace_batch_norms(sequence)
        _overwrite(sequence)
    for container in [child for child in module.modules() if isinstance(child, nn.Sequential | nn.ModuleList)]:
        for layer in container:
            _swap(layer)


def _sequences(module: nn.Module) -> list[nn.Sequential]:
    return [child for child in module.modules() if type(child) is nn.Sequential and "forward" not in vars(child)]


def _foldable(layer: nn.Module, norm: nn.Module) -> bool:
    """Return whether `layer` is a convolution and `norm` a batch norm that can be merged into it."""
    return (
        is_plain(layer, *CONVOLUTIONS)
        and is_plain(norm, nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
        and "weight" in layer._parameters
        and norm.running_mean is not None
        and norm.running_var is not None
        and not (layer.training or norm.training)
    )


def _replace_batch_norms(sequence: nn.Sequential) -> None:
    for (name, layer), (norm_name, norm) in itertools.pairwise(list(sequence._modules.items())):
        if layer is not None and norm is not None and _foldable(layer, norm):
            setattr(sequence, name, fuse_conv_bn_eval(cast(nn.Conv1d, layer), cast(nn.BatchNorm1d, norm)))
            delattr(sequence, norm_name)


def _swap(layer: nn.Module) -> None:
    # Only the class changes; state and settings stay the same.
    if is_plain(layer, nn.Conv1d) and layer.padding_mode == "zeros" and layer.groups == layer.dilation[0] == 1:
        if layer.in_channels == 1 and layer.kernel_size == layer.stride and layer.padding == (0,):
            layer.__class__ = WindowedConv1d
        elif isinstance(layer.padding, tuple):
            layer.weight.data = layer.weight.data.transpose(1, 2).contiguous().transpose(1, 2)
            layer.__class__ = ChannelsLastConv1d
    elif is_plain(layer, nn.MaxPool1d):
        plain = (layer.padding, layer.dilation) == (0, 1) and not (layer.ceil_mode or layer.return_indices)
        if plain and isinstance(layer.kernel_size, int) and isinstance(layer.stride, int):
            layer.__class__ = ChannelsLastMaxPool1d
    elif is_plain(layer, nn.ConvTranspose1d):
        plain = layer.groups == layer.dilation[0] == 1 and not any((*layer.padding, *layer.output_padding))
        if plain and layer.kernel_size == layer.stride:
            layer.__class__ = WindowedConvTranspose1d
    elif is_plain(layer, nn.Conv2d, StridedConv2d):
        layer.to(memory_format=torch.channels_last)


def _overwrite(sequence: nn.Sequential) -> None:
    for before, layer in itertools.pairwise(sequence):
        if is_plain(before, *_FRESH) and is_plain(layer, nn.ReLU):
            layer.inplace = True
