"""SampleCNN: convolutions over the raw waveform."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, cast

from torch import Tensor, nn

from ssc_toolkit.checks import check_integer
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.receptive_field import compute_receptive_field


class SampleCNN(Encoder):
    """SampleCNN, as used in CLMR and SemiSupCon (Lee et al. 2017, arXiv 1703.01789; Spijkervet and Burgoyne 2021).

    The network consists of a strided convolution, nine blocks of convolution and max-pooling by 3, and a last
    convolution. 59 049 = 3^10 samples (2.68 s at 22 050 Hz) give one frame. Longer inputs give several frames, which
    are averaged. The network has 2 368 512 parameters. The names and the order of the layers are those of CLMR, so that
    weights of CLMR can be loaded.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        strides: ten integers, at least 1. The first is the kernel size and the stride of the first convolution, the
            others are the pooling factors of the nine blocks. The product of all strides is the number of samples per
            frame and the minimum input length. The convolutions of the blocks always have kernel size 3.

    Raises:
        ValueError: if there are not exactly ten strides, or one is not an integer of at least 1.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples), at least
          59 049 samples (the product of the strides)
        - output: (N, 512) or (items, views, 512), the mean of the frames; with `frames=True`
          (..., frames, 512), frames = samples // 59 049; frame k is centered on sample 59 049 k + 29 524

    Examples:
        >>> import torch
        >>> encoder = SampleCNN(strides=(3, 3, 3, 3, 3, 3, 3, 1, 1, 1))
        >>> encoder.min_samples
        2187
        >>> encoder(torch.randn(2, 1, 5000)).shape, encoder(torch.randn(2, 1, 5000), frames=True).shape
        (torch.Size([2, 512]), torch.Size([2, 2, 512]))
    """

    widths: ClassVar[tuple[int, ...]] = (128, 128, 128, 256, 256, 256, 256, 256, 256, 512)
    """Number of channels after the first convolution and after each of the nine blocks."""

    rearrangeable: ClassVar[bool] = True

    def __init__(self, sample_rate: int = 22050, strides: Sequence[int] = (3,) * 10) -> None:
        if not hasattr(strides, "__len__") or len(strides) != len(self.widths):
            raise ValueError(f"strides: expected {len(self.widths)} integers, got {strides!r}")
        strides = [check_integer("strides", stride) for stride in strides]
        blocks = [layer for stride in strides[1:] for layer in ((3, 1), (stride, stride))]
        super().__init__(
            embedding_dim=self.widths[-1],
            sample_rate=sample_rate,
            min_samples=math.prod(strides),
            receptive_field_samples=compute_receptive_field([(strides[0], strides[0]), *blocks, (3, 1)]),
        )
        stem = nn.Conv1d(1, self.widths[0], kernel_size=strides[0], stride=strides[0])
        layers = [nn.Sequential(stem, nn.BatchNorm1d(self.widths[0]), nn.ReLU())]
        for (width_in, width_out), stride in zip(itertools.pairwise(self.widths), strides[1:], strict=True):
            layers.append(make_conv_block(width_in, width_out, pool=stride))
        layers.append(make_conv_block(self.widths[-1], self.widths[-1]))
        self.sequential = nn.Sequential(*layers)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers: the first convolution, the nine blocks and the last convolution."""
        return tuple(f"sequential.{number}" for number in range(len(self.sequential)))

    def encode_frames(self, signals: Tensor) -> Tensor:
        stem = cast("nn.Sequential", self.sequential[0])[0]
        features = signals[:, None].to(cast(Tensor, stem.weight).dtype)
        for block in self.sequential:
            features = self.stage(block, features)
        return features


def make_conv_block(width_in: int, width_out: int, pool: int | None = None) -> nn.Sequential:
    """Return a block of convolution, batch norm, optional max-pooling and ReLU.

    Args:
        width_in: number of input channels.
        width_out: number of output channels.
        pool: factor of the max-pooling. None: no max-pooling.

    Shape:
        - input: (N, width_in, samples)
        - output: (N, width_out, samples // pool), or (N, width_out, samples) if `pool` is None
    """
    layers: list[nn.Module] = [nn.Conv1d(width_in, width_out, kernel_size=3, padding=1), nn.BatchNorm1d(width_out)]
    if pool is not None:
        # Max-pooling before the ReLU gives the same output and gradient as after it, and makes the ReLU cheaper.
        layers.append(nn.MaxPool1d(pool))
    return nn.Sequential(*layers, nn.ReLU())
