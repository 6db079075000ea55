"""Strided 2-D convolutions that are correct in bfloat16 on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssc_toolkit.tracing import is_traced


class StridedConv2d(nn.Conv2d):
    """A 2-D convolution that is also correct if the output is a single column in bfloat16 on a CPU.

    In this case, `nn.Conv2d` is wrong: oneDNN reads uninitialized memory, so that outputs differ between calls or are
    NaN. This class therefore zero-pads the input on the right, so that the output has a second column, and removes this
    column. The values of the first column do not change.

    Arguments are those of `torch.nn.Conv2d`; stride and padding must be numbers.

    Examples:
        >>> image = torch.randn(2, 1, 64, 1)
        >>> layer = StridedConv2d(1, 4, kernel_size=3, stride=2, padding=1)
        >>> layer(image).shape
        torch.Size([2, 4, 32, 1])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve images (N, in_channels, rows, columns) as `torch.nn.Conv2d` does."""
        if is_traced() or input.device.type != "cpu" or not _is_bfloat16(input):
            return super().forward(input)
        kernel, stride, padding = self.kernel_size[1], self.stride[1], int(self.padding[1])
        if (input.shape[-1] + 2 * padding - kernel) // stride > 0:
            return super().forward(input)
        return super().forward(F.pad(input, (0, stride)))[..., :1].contiguous()


def _is_bfloat16(input: Tensor) -> bool:
    """Return whether PyTorch computes a convolution of `input` in bfloat16, because of its dtype or autocast."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return input.dtype == torch.bfloat16
