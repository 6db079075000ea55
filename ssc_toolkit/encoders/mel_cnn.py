"""MelCNN: a small convolutional encoder over a log-mel spectrogram, which can be trained on a CPU."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from ssc_toolkit.checks import check_integer, check_positive
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.first_layer import normalize_image
from ssc_toolkit.encoders.log_mel import LogMel
from ssc_toolkit.encoders.receptive_field import compute_receptive_field
from ssc_toolkit.encoders.strided import StridedConv2d


class MelCNN(Encoder):
    """Encoder with a small convolutional network over a log-mel spectrogram.

    Two strided 2-D convolutions are followed by two 1-D convolutions over time and the mean over time. The channels of
    the first 1-D convolution include all frequency bands, so that features can depend on absolute pitch. The network
    has about a million parameters and needs 20 million multiply-adds for a clip of 3 s.

    Args:
        sample_rate: sample rate of the waveforms in hertz.
        n_mels: number of mel bands between 30 Hz and `max_hz`.
        n_fft: window length in samples; 128 ms by default, long enough to resolve semitones.
        hop_length: hop size in samples; 40 ms by default.
        max_hz: upper edge of the highest band in hertz, limited to half the sample rate, which is the default.
        channels: number of channels of each of the two 2-D convolutions.
        embedding_dim: width of the embedding.

    Raises:
        ValueError: if a number is out of range.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples), at least `n_fft`
          samples (2 048 by default)
        - output: (N, embedding_dim) or (items, views, embedding_dim), the mean of the frames. With `frames=True`, the
          output is (..., frames, embedding_dim), with one frame per four hops of the spectrogram. By default, frame k
          is centered on sample 2 560 k + 1 024

    Examples:
        >>> import torch
        >>> encoder = MelCNN(sample_rate=16000)
        >>> encoder(torch.randn(4, 2, 1, 48000)).shape                 # (items, views, channels, samples)
        torch.Size([4, 2, 256])
    """

    rearrangeable: ClassVar[bool] = True

    def __init__(
        self,
        sample_rate: int = 16000,
        n_mels: int = 96,
        n_fft: int | None = None,
        hop_length: int | None = None,
        max_hz: float | None = None,
        channels: int = 32,
        embedding_dim: int = 256,
    ) -> None:
        sample_rate = check_integer("sample_rate", sample_rate)
        n_mels, channels = check_integer("n_mels", n_mels), check_integer("channels", channels)
        embedding_dim = check_integer("embedding_dim", embedding_dim)
        n_fft = check_integer("n_fft", round(0.128 * sample_rate) if n_fft is None else n_fft)
        hop_length = check_integer("hop_length", round(0.04 * sample_rate) if hop_length is None else hop_length)
        max_hz = sample_rate / 2 if max_hz is None else min(check_positive("max_hz", max_hz, "hertz"), sample_rate / 2)
        super().__init__(
            embedding_dim=embedding_dim,
            sample_rate=sample_rate,
            min_samples=n_fft,
            receptive_field_samples=compute_receptive_field([(n_fft, hop_length), (5, 2), (3, 2), (3, 1), (3, 1)]),
        )
        self.log_mel = LogMel(sample_rate, n_fft, hop_length, n_mels, max_hz=max_hz)
        self.scale = nn.BatchNorm2d(1)
        self.spectral = nn.Sequential(
            StridedConv2d(1, channels, kernel_size=5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            StridedConv2d(channels, channels, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )
        bands = math.ceil(math.ceil(n_mels / 2) / 2)
        self.temporal = nn.Sequential(
            nn.Conv1d(channels * bands, embedding_dim, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm1d(embedding_dim),
            nn.ReLU(),
            nn.Conv1d(embedding_dim, embedding_dim, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm1d(embedding_dim),
            nn.ReLU(),
        )

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers: the log-mel spectrogram, and each convolution after its ReLU."""
        return ("log_mel", "spectral.2", "spectral.5", "temporal.2", "temporal.5")

    def encode_frames(self, signals: Tensor) -> Tensor:
        image, *affine = normalize_image(self.scale, self.log_mel(signals)[:, None].to(self.scale.weight.dtype))
        # The channels-last layout makes 2-D convolutions on a CPU about a third faster.
        image = self.stage(self.spectral, image.contiguous(memory_format=torch.channels_last), *affine)
        return self.stage(self.temporal, image.flatten(1, 2))
