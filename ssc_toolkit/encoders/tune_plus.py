"""TUNe+: a U-Net over the waveform, followed by a tail of convolutions."""

from __future__ import annotations

import itertools
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ssc_toolkit.checks import check_integer
from ssc_toolkit.encoders.base import Encoder

WIDTH_FACTORS = (1, 2, 4, 8, 16)
"""Number of channels at each depth of the U-Net, as a multiple of `channels`."""

_UNIT = 3 ** (len(WIDTH_FACTORS) - 1)


class TUNePlus(Encoder):
    """TUNe+, the tailed U-Net (Vélez Vásquez and Burgoyne 2022, "Tailed U-Net: multi-scale music representation").

    The encoder path has four poolings by 3. The decoder path has four transposed convolutions, each with a skip
    connection from the encoder path. The tail has poolings by 3 again, with skip connections from the decoder path, and
    ends with five convolutions. 59 049 = 3^10 samples (2.68 s at 22 050 Hz) give one frame. Longer inputs give several
    frames, which are averaged. The network has 2 220 390 parameters.

    Inputs can have any length of at least 59 049 samples. Up to 80 samples at the end, which do not fill a window of
    81 = 3^4 samples, are dropped, so that encoder path and decoder path have the same lengths. For 59 049 and 59 535
    samples, which are multiples of 81, nothing is dropped.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        channels: number of channels of the first layer.

    Raises:
        ValueError: if a number is not a positive integer.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples), at least
          59 049 samples
        - output: (N, 512) or (items, views, 512), the mean of the frames; with `frames=True`
          (..., frames, 512), frames = samples // 59 049; frame k is centered on sample 59 049 k + 29 524

    Examples:
        >>> import torch
        >>> TUNePlus()(torch.randn(2, 1, 59535)).shape
        torch.Size([2, 512])
    """

    rearrangeable: ClassVar[bool] = True

    def __init__(self, sample_rate: int = 22050, channels: int = 11) -> None:
        channels = check_integer("channels", channels)
        super().__init__(
            embedding_dim=512,
            sample_rate=sample_rate,
            min_samples=3**10,
            receptive_field_samples=_receptive_field(),
        )
        widths = [channels * factor for factor in WIDTH_FACTORS]
        deepest = widths[-1]
        self.pooling = nn.Sequential(nn.MaxPool1d(3))
        self.down = nn.ModuleList(_block(a, b) for a, b in itertools.pairwise([1, *widths]))
        rising = list(itertools.pairwise(widths[::-1]))
        self.upsample = nn.ModuleList(nn.ConvTranspose1d(a, b, kernel_size=3, stride=3) for a, b in rising)
        self.up = nn.ModuleList(_block(2 * b, b) for _, b in rising)
        self.tail = nn.ModuleList(_block(a + b, b) for a, b in itertools.pairwise(widths))
        self.extra = nn.ModuleList(_block(a, 2 * deepest) for a in [deepest, *[2 * deepest] * 3])
        self.last = nn.Sequential(*_block(2 * deepest, 512), nn.AvgPool1d(3))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers: encoder path, decoder path, tail, and the last convolutions."""
        paths = {"down": self.down, "up": self.up, "tail": self.tail, "extra": self.extra}
        return (*(f"{path}.{number}" for path, blocks in paths.items() for number in range(len(blocks))), "last")

    def encode_frames(self, signals: Tensor) -> Tensor:
        first = cast("nn.Sequential", self.down[0])[0]
        features = signals[:, None, : signals.shape[-1] // _UNIT * _UNIT].to(cast(Tensor, first.weight).dtype)
        way_down = [self.stage(self.down[0], features)]
        for block in self.down[1:]:
            way_down.append(self.stage(block, self.pooling(way_down[-1])))
        way_up = [way_down[-1]]
        for upsample, block, skipped in zip(self.upsample, self.up, way_down[-2::-1], strict=True):
            way_up.append(self.stage(block, self._join(upsample(way_up[-1]), skipped)))
        features = way_up[-1]
        for block, skipped in zip(self.tail, way_up[-2::-1], strict=True):
            features = self.stage(block, self._join(self.pooling(features), skipped))
        for block in self.extra:
            features = self.stage(block, self.pooling(features))
        return self.stage(self.last, self.pooling(features))

    def _join(self, features: Tensor, skipped: Tensor) -> Tensor:
        if not self.fused:
            return torch.cat([features, skipped], dim=1)
        # Fused layers use the channels-last layout.
        return torch.cat([features.mT, skipped.mT], dim=2).mT


class _KaimingConv1d(nn.Conv1d):
    """A 1-D convolution with uniform Kaiming initialization for a following ReLU (He et al. 2015)."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")


def _block(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        _KaimingConv1d(width_in, width_out, kernel_size=3, padding=1), nn.BatchNorm1d(width_out), nn.ReLU()
    )


def _receptive_field() -> int:
    """Return the receptive field of `TUNePlus` in samples, along encoder path, decoder path and tail."""
    way = ["pool", "conv", "pool", *["conv", "pool"] * 8, *["conv", "upsample"] * 4, *["conv", "pool"] * 4, "conv"]
    first, last = 0, 0
    for layer in way:
        if layer == "conv":
            first, last = first - 1, last + 1
        elif layer == "pool":
            first, last = 3 * first, 3 * last + 2
        else:
            first, last = first // 3, last // 3
    return last - first + 1
