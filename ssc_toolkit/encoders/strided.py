"""Strided 2-D convolutions that are right in bfloat16."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssc_toolkit.encoders.tracing import is_traced


class StridedConv2d(nn.Conv2d):
    """A 2-D convolution whose output may be a single column, in bfloat16 on a CPU too.

    There, oneDNN computes a single column of a strided convolution from memory that was never written: outputs differ
    from call to call or are NaN. So one more column is computed, from zeros on the right, and cut off; the values of
    the first are the same.

    Args:
        As for `torch.nn.Conv2d`, with a stride and padding of numbers.

    Examples:
        >>> image = torch.randn(2, 1, 64, 1)
        >>> layer = StridedConv2d(1, 4, kernel_size=3, stride=2, padding=1)
        >>> layer(image).shape
        torch.Size([2, 4, 32, 1])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (N, in_channels, rows, columns)."""
        if is_traced() or input.device.type != "cpu" or not _is_bfloat16(input):
            return super().forward(input)
        kernel, stride, padding = self.kernel_size[1], self.stride[1], int(self.padding[1])
        if (input.shape[-1] + 2 * padding - kernel) // stride > 0:
            return super().forward(input)
        return super().forward(F.pad(input, (0, stride)))[..., :1].contiguous()


def _is_bfloat16(input: Tensor) -> bool:
    """Whether a convolution of the input is computed in bfloat16."""
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") == torch.bfloat16
    return input.dtype == torch.bfloat16
