"""Log-mel front end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CPU_SLICE = 8  # clips at once, so that their frames stay in cache


class LogMel(nn.Module):
    """Logarithmic mel spectrogram, in float32 whatever the autocast around it.

    log(1 + compression * mel power), so that silence maps to zero.

    Args:
        sample_rate: hertz.
        n_fft: window length in samples.
        hop_length: samples from frame to frame.
        n_mels: number of bands.
        lowest_hz: lower edge of the lowest band.
        highest_hz: upper edge of the highest band; the Nyquist frequency if None.
        compression: factor before the logarithm.

    Shape:
        - input: (N, samples), at least `n_fft`
        - output: (N, n_mels, frames), frames = (samples - n_fft) // hop_length + 1

    Examples:
        >>> import torch
        >>> LogMel(sample_rate=16000, n_mels=72)(torch.randn(2, 16000)).shape
        torch.Size([2, 72, 24])
    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 1024,
        hop_length: int = 640,
        n_mels: int = 72,
        lowest_hz: float = 30.0,
        highest_hz: float | None = None,
        compression: float = 1e3,
    ) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        highest_hz = sample_rate / 2 if highest_hz is None else highest_hz
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.compression = compression
        bands = melscale_fbanks(
            n_fft // 2 + 1, lowest_hz, highest_hz, n_mels, sample_rate, norm=None, mel_scale="slaney"
        )
        self.bands: Tensor
        self.window: Tensor
        # Bins above the highest band do not count.
        used = int(bands.any(dim=1).nonzero().max()) + 1
        self.register_buffer("bands", bands[:used].clone())
        self.register_buffer("window", torch.hann_window(n_fft).clone())

    def forward(self, signals: Tensor) -> Tensor:
        with torch.autocast(signals.device.type, enabled=False):
            if signals.device.type != "cpu" or torch.compiler.is_compiling():
                return self._log_mel(signals.float())
            return torch.cat([self._log_mel(part.float()) for part in signals.split(_CPU_SLICE)])

    def _log_mel(self, signals: Tensor) -> Tensor:
        frames = signals.unfold(-1, self.n_fft, self.hop_length)
        spectrum = torch.fft.rfft(frames * self.window)[..., : len(self.bands)]
        power = torch.view_as_real(spectrum).square().sum(-1)
        return torch.log1p(self.compression * (power @ self.bands)).transpose(1, 2)
