"""How many inputs one output depends on."""

from __future__ import annotations

from collections.abc import Iterable


def receptive_field(layers: Iterable[tuple[int, int]]) -> int:
    """Width of what one output of a chain of convolutions and pools sees, zero padding included.

    Args:
        layers: (kernel size, stride) of each layer, first to last.

    Examples:
        >>> receptive_field([(3, 3), (3, 1), (3, 3)])                      # 3 * (3 * 1 + 2) samples
        15
    """
    width = 1
    for kernel_size, stride in reversed(list(layers)):
        width = (width - 1) * stride + kernel_size
    return width
