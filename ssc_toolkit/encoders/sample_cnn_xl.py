"""SampleCNN-XL: SampleCNN with more channels in the late layers."""

from __future__ import annotations

from typing import ClassVar

from ssc_toolkit.encoders.sample_cnn import SampleCNN


class SampleCNNXL(SampleCNN):
    """SampleCNN-XL: SampleCNN with up to 2048 channels.

    Layers, arguments and shapes are those of `SampleCNN`, except that the embedding has a width of 2048. The network
    has 25 190 400 parameters.

    Examples:
        >>> import torch
        >>> encoder = SampleCNNXL(strides=(3, 3, 3, 3, 3, 1, 1, 1, 1, 1))
        >>> encoder(torch.randn(2, 1, 243)).shape
        torch.Size([2, 2048])
    """

    widths: ClassVar[tuple[int, ...]] = (128, 128, 128, 256, 256, 512, 512, 1024, 1024, 2048)
