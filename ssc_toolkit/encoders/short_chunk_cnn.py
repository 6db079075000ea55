"""Short-chunk CNN: 3 x 3 convolutions over a mel spectrogram."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import ClassVar, cast

from torch import Tensor, nn

from ssc_toolkit.checks import check_bool, check_integer
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.first_layer import normalize_image
from ssc_toolkit.encoders.log_mel import LogMel
from ssc_toolkit.encoders.receptive_field import compute_receptive_field
from ssc_toolkit.encoders.strided import StridedConv2d

RATE, N_FFT, HOP_LENGTH, N_MELS = 16000, 512, 256, 128
"""Settings of the mel spectrogram in the paper: sample rate in hertz, window and hop in samples, number of bands."""

CHANNEL_FACTORS = (1, 1, 2, 2, 2, 2, 4)
"""Number of channels after each layer, as a multiple of `channels`."""


class ShortChunkCNN(Encoder):
    """Short-chunk CNN of Won et al. 2020, "Evaluation of CNN-based automatic music tagging models".

    The network begins with a centered mel spectrogram in decibels (128 bands, windows of 512 samples, hops of 256
    samples) and batch norm. Seven layers follow, each of which consists of a 3 x 3 convolution, batch norm, ReLU and
    2 x 2 max-pooling. They reduce the 128 bands to one. The embedding is the maximum over time. The network has
    3 398 018 parameters. With `residual`, seven residual layers of stride 2 replace these layers, and the network has
    11 814 914 parameters.

    Args:
        sample_rate: sample rate of the waveforms in hertz. At 16 kHz, the windows are those of the paper. At higher
            rates, their length is the power of two nearest to 32 ms, so that low bands contain a frequency bin.
        channels: number of channels of the first layer; the last layer has four times as many.
        residual: whether to use residual layers. Each consists of two convolutions, the first of stride 2, plus a
            shortcut convolution of stride 2.

    Raises:
        ValueError: if a number is not a positive integer.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples), at least
          32 512 samples (2.04 s at 16 kHz; 257 samples with `residual`)
        - output: (N, 4 * channels) or (items, views, 4 * channels), the maximum of the frames; with
          `frames=True` (..., frames, 4 * channels). At 16 kHz, h = samples // 256 + 1 windows give h // 128 frames,
          and frame k is centered on sample 32 768 k + 16 256. With `residual`, there are ceil(h / 128) frames, and
          frame k is centered on sample 32 768 k

    Examples:
        >>> import torch
        >>> ShortChunkCNN()(torch.randn(2, 1, 32768)).shape
        torch.Size([2, 512])
        >>> ShortChunkCNN(channels=8, residual=True)(torch.randn(2, 1, 59049), frames=True).shape
        torch.Size([2, 2, 32])
    """

    rearrangeable: ClassVar[bool] = True

    def __init__(self, sample_rate: int = 16000, channels: int = 128, residual: bool = False) -> None:
        sample_rate, channels = check_integer("sample_rate", sample_rate), check_integer("channels", channels)
        residual = check_bool("residual", residual)
        longer = 2 ** max(0, round(math.log2(sample_rate / RATE)))
        n_fft, hop_length = longer * N_FFT, longer * HOP_LENGTH
        layer = [(3, 2), (3, 1)] if residual else [(3, 1), (2, 2)]
        super().__init__(
            embedding_dim=CHANNEL_FACTORS[-1] * channels,
            sample_rate=sample_rate,
            min_samples=n_fft // 2 + 1 if residual else (2 ** len(CHANNEL_FACTORS) - 1) * hop_length,
            receptive_field_samples=compute_receptive_field([(n_fft, hop_length), *layer * len(CHANNEL_FACTORS)]),
        )
        with warnings.catch_warnings():
            # As in the paper, one of the lowest bands contains no bin, because it is narrower than a bin of 31 Hz.
            warnings.filterwarnings("ignore", message="n_mels")
            self.log_mel = LogMel(
                sample_rate, n_fft, hop_length, N_MELS, min_hz=0.0, scale="decibels", mel_scale="htk", center=True
            )
        self.scale = nn.BatchNorm2d(1)
        make = ResidualBlock if residual else _block
        widths = [1, *(channels * factor for factor in CHANNEL_FACTORS)]
        self.layers = nn.ModuleList(make(a, b) for a, b in itertools.pairwise(widths))

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers: the mel spectrogram in decibels, and the seven layers."""
        return ("log_mel", *(f"layers.{number}" for number in range(len(self.layers))))

    def encode_frames(self, signals: Tensor) -> Tensor:
        image, *affine = normalize_image(self.scale, self.log_mel(signals)[:, None].to(self.scale.weight.dtype))
        for layer in self.layers:
            image = self.stage(layer, image, *affine)
            affine = []
        return image.squeeze(2)

    def pool_frames(self, features: Tensor) -> Tensor:
        """Compute embeddings (N, embedding_dim) as the maximum of framewise features (N, embedding_dim, frames)."""
        return features.amax(dim=-1)


class ResidualBlock(nn.Module):
    """Residual block, whose output is the ReLU of the sum of two paths.

    One path has two 3 x 3 convolutions, the first of stride 2. The other path has one 3 x 3 convolution of stride 2.

    Shape:
        - input: (N, width_in, bands, frames)
        - output: (N, width_out, ceil(bands / 2), ceil(frames / 2))
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            StridedConv2d(width_in, width_out, kernel_size=3, stride=2, padding=1),
            nn.BatchNorm2d(width_out),
            nn.ReLU(),
            nn.Conv2d(width_out, width_out, kernel_size=3, padding=1),
            nn.BatchNorm2d(width_out),
        )
        self.shortcut = nn.Sequential(
            StridedConv2d(width_in, width_out, kernel_size=3, stride=2, padding=1), nn.BatchNorm2d(width_out)
        )

    def forward(self, image: Tensor) -> Tensor:
        return cast(Tensor, self.straight(image) + self.shortcut(image)).relu()


def _block(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel_size=3, padding=1),
        nn.BatchNorm2d(width_out),
        nn.MaxPool2d(2),  # before the ReLU, which gives the same result and is cheaper
        nn.ReLU(),
    )
