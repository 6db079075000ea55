"""SampleCNN: convolutions over the raw waveform."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from ssc_toolkit.encoders.base import Encoder

WIDTHS = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512)
"""Channels after the stem and after each of the nine blocks."""


class SampleCNN(Encoder):
    """SampleCNN as in CLMR and SemiSupCon (Lee et al. 2017, arXiv 1703.01789; Spijkervet and Burgoyne 2021).

    A strided stem, nine blocks of convolution and max-pooling by 3, one convolution more: 59 049 = 3^10
    samples (2.68 s at 22 050 Hz) give one frame. Longer input gives several, which are averaged.
    2 368 512 parameters. Layers are named and ordered as in CLMR, so that its weights load.

    Args:
        sample_rate: hertz.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples), at least
          59 049 samples
        - output: (N, 512) or (items, views, 512)

    Examples:
        >>> import torch
        >>> SampleCNN()(torch.randn(2, 1, 59049)).shape
        torch.Size([2, 512])
    """

    def __init__(self, sample_rate: int = 22050) -> None:
        super().__init__(embedding_dim=WIDTHS[-1], sample_rate=sample_rate, minimum_samples=3 ** len(WIDTHS))
        blocks = [_block(1, WIDTHS[0], stride=3, padding=0)]
        for width_in, width_out in itertools.pairwise(WIDTHS):
            blocks.append(_block(width_in, width_out).append(nn.MaxPool1d(3)))
        blocks.append(_block(WIDTHS[-1], WIDTHS[-1]))
        self.sequential = nn.Sequential(*blocks)

    def encode(self, signals: Tensor) -> Tensor:
        return self.sequential(signals[:, None]).mean(dim=-1)


def _block(width_in: int, width_out: int, stride: int = 1, padding: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(width_in, width_out, kernel_size=3, stride=stride, padding=padding),
        nn.BatchNorm1d(width_out),
        nn.ReLU(),
    )
