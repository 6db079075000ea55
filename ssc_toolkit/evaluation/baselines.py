"""Baselines: log-mel statistics and randomly initialized encoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ssc_toolkit.encoders import Encoder, LogMel, MelCNN, reinitialized
from ssc_toolkit.evaluation.embedding.models import WaveformModel, is_trainable

LOG_MEL_STATISTICS = "log-mel statistics"
RANDOM = "random encoder"


class LogMelStatistics(Encoder):
    """Mean and standard deviation over time of a log-mel spectrogram, without learning.

    Args:
        sample_rate: sample rate in hertz.
        n_mels: number of mel bands between 30 Hz and 5 kHz.

    Shape:
        - output: (N, 2 * n_mels)

    Examples:
        >>> LogMelStatistics()(torch.randn(2, 1, 16000)).shape
        torch.Size([2, 192])
    """

    def __init__(self, sample_rate: int = 16000, n_mels: int = 96) -> None:
        n_fft = round(0.128 * sample_rate)
        super().__init__(embedding_dim=2 * n_mels, sample_rate=sample_rate, minimum_samples=n_fft)
        self.log_mel = LogMel(sample_rate, n_fft, n_fft // 4, n_mels, highest_hz=min(5000.0, sample_rate / 2))

    def encode_frames(self, signals: Tensor) -> Tensor:
        bands = self.log_mel(signals)
        statistics = [bands.mean(dim=-1, keepdim=True), bands.std(dim=-1, correction=0, keepdim=True)]
        return torch.cat(statistics, dim=1)  # one frame for the whole input


def random_twin(model: WaveformModel, seed: int) -> WaveformModel:
    """Return the model with random weights; for a function without weights, a random MelCNN at its sample rate."""
    module: Any = model if is_trainable(model) else MelCNN(sample_rate=model.sample_rate)
    return reinitialized(module, seed)
