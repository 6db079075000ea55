"""Receptive field of a chain of layers."""

from __future__ import annotations

from collections.abc import Iterable


def compute_receptive_field(layers: Iterable[tuple[int, int]]) -> int:
    """Compute the receptive field of a chain of convolutions and poolings, including zero padding.

    Args:
        layers: pairs (kernel size, stride), one per layer, from the first to the last layer.

    Returns:
        Number of input samples that one sample of the output depends on.

    Examples:
        >>> compute_receptive_field([(3, 3), (3, 1), (3, 3)])                      # 3 * (3 * 1 + 2) samples
        15
    """
    width = 1
    for kernel_size, stride in reversed(list(layers)):
        width = (width - 1) * stride + kernel_size
    return width
