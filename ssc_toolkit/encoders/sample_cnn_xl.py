"""SampleCNN-XL: SampleCNN with wide late layers."""

from __future__ import annotations

from typing import ClassVar

from ssc_toolkit.encoders.sample_cnn import SampleCNN


class SampleCNNXL(SampleCNN):
    """SampleCNN-XL: SampleCNN with widths that double up to 2048.

    The layers of `SampleCNN`, its arguments and its shapes, with an embedding of 2048. 25 190 400
    parameters.

    Examples:
        >>> import torch
        >>> encoder = SampleCNNXL(strides=(3, 3, 3, 3, 3, 1, 1, 1, 1, 1))
        >>> encoder(torch.randn(2, 1, 243)).shape
        torch.Size([2, 2048])
    """

    widths: ClassVar[tuple[int, ...]] = (128, 128, 128, 256, 256, 512, 512, 1024, 1024, 2048)
