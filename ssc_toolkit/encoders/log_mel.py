"""Log-mel spectrogram front end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssc_toolkit.checks import check_bool, check_choice, check_integer, check_number, check_positive
from ssc_toolkit.tracing import is_traced

_CPU_SLICE = 8  # number of clips computed at once, so that their frames fit in the cache
_MAX_FILTERBANK = 2**25  # number of elements, 128 MiB in float32
_MIN_POWER = 1e-10  # minimum power relative to the reference, -100 dB


class LogMel(nn.Module):
    """Log-mel spectrogram, which is computed in float32 even under autocast or in a half-precision model.

    With scale "log1p", the values are log(1 + compression * mel power), which is 0 for silence. With scale "decibels",
    the values are 10 log10(mel power / reference_power), at least -100. By default, the triangular bands have a peak of
    1 and are not divided by their widths, as with `norm=None` in torchaudio and librosa.

    Args:
        sample_rate: sample rate of the signals in hertz.
        n_fft: window length in samples.
        hop_length: hop size in samples.
        n_mels: number of mel bands.
        min_hz: lower edge of the lowest band in hertz.
        max_hz: upper edge of the highest band in hertz, at most the Nyquist frequency; None for the Nyquist
            frequency.
        compression: factor of the mel power in the scale "log1p".
        scale: "log1p" or "decibels".
        reference_power: mel power at 0 dB, in the scale "decibels".
        top_db: values more than `top_db` decibels below the highest value of the clip are raised to `top_db` below it,
            in the scale "decibels". None for no limit.
        standardize: whether to standardize each band of a clip to mean 0 and standard deviation 1 over time. Constant
            bands become 0.
        center: whether to pad each end of the signal with half a window of reflected samples, so that frame k is
            centered on sample k * hop_length.
        mel_scale: "slaney" (linear below 1 kHz) or "htk".
        mel_norm: "slaney" to divide each band by half its width in hertz, as librosa does by default, or None.

    Raises:
        ValueError: if a scale is unknown, a number is out of range, the filterbank has more than 2^25 elements, or no
            band contains a frequency bin. If only some bands contain no bin, a warning is issued.

    Shape:
        - input: (N, samples), at least `n_fft` samples (`n_fft // 2 + 1` if `center`)
        - output: (N, n_mels, frames), frames = (samples - n_fft) // hop_length + 1, or
          samples // hop_length + 1 if `center`

    Examples:
        >>> import torch
        >>> LogMel(sample_rate=16000, n_mels=72)(torch.randn(2, 16000)).shape
        torch.Size([2, 72, 24])
        >>> round(LogMel(16000, scale="decibels", top_db=80)(torch.zeros(1, 16000)).max().item())
        -100
    """

    def __init__(
        self,
        sample_rate: int,
        n_fft: int = 1024,
        hop_length: int = 640,
        n_mels: int = 72,
        min_hz: float = 30.0,
        max_hz: float | None = None,
        compression: float = 1e3,
        *,
        scale: Literal["log1p", "decibels"] = "log1p",
        reference_power: float = 1.0,
        top_db: float | None = None,
        standardize: bool = False,
        center: bool = False,
        mel_scale: Literal["slaney", "htk"] = "slaney",
        mel_norm: Literal["slaney"] | None = None,
    ) -> None:
        super().__init__()
        check_choice("scale", scale, ("log1p", "decibels"))
        check_choice("mel_scale", mel_scale, ("slaney", "htk"))
        if mel_norm is not None:
            check_choice("mel_norm", mel_norm, ("slaney",))
        self.sample_rate = check_integer("sample_rate", sample_rate)
        self.n_fft = check_integer("n_fft", n_fft)
        self.hop_length = check_integer("hop_length", hop_length)
        self.compression = check_positive("compression", compression)
        self.scale = scale
        self.reference_power = check_positive("reference_power", reference_power)
        self.top_db = None if top_db is None else check_positive("top_db", top_db, "decibels")
        self.standardize = check_bool("standardize", standardize)
        self.center = check_bool("center", center)
        self.bands: Tensor
        self.window: Tensor
        n_mels = check_integer("n_mels", n_mels)
        if (self.n_fft // 2 + 1) * n_mels > _MAX_FILTERBANK:
            raise ValueError(
                f"n_fft: expected at most {_MAX_FILTERBANK} products of n_mels and n_fft / 2, got n_fft = {n_fft} with "
                f"n_mels = {n_mels}"
            )
        with torch.device("cpu"):  # the number of rows depends on values, which tensors on the meta device do not have
            bands = self._filterbank(n_mels, min_hz, max_hz, mel_scale, mel_norm)
        self.register_buffer("bands", bands.to(torch.get_default_device()))
        self.register_buffer("window", torch.hann_window(self.n_fft).clone())

    def extra_repr(self) -> str:
        names = ("sample_rate", "n_fft", "hop_length", "compression", "scale", "reference_power", "top_db")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in (*names, "standardize", "center"))

    @property
    def min_samples(self) -> int:
        """Minimum length of a signal in samples, which gives one frame."""
        return self.n_fft // 2 + 1 if self.center else self.n_fft

    def forward(self, signals: Tensor) -> Tensor:
        """Compute the log-mel spectrograms of signals (N, samples).

        Returns:
            (N, n_mels, frames) spectrograms.

        Raises:
            ValueError: if the shape is not (N, samples), or there are too few samples.
        """
        if signals.dim() != 2 or signals.shape[1] < self.min_samples:
            least, shape = self.min_samples, tuple(signals.shape)
            raise ValueError(f"signals: expected (N, samples) with at least {least} samples, got {shape}")
        if not is_traced() and not len(signals):
            return self(signals.new_zeros(1, signals.shape[1]))[:0]
        with torch.autocast(signals.device.type, enabled=False):
            if signals.device.type != "cpu" or is_traced():
                return self._log_mel(signals.to(self.bands.dtype))
            return torch.cat([self._log_mel(part.to(self.bands.dtype)) for part in signals.split(_CPU_SLICE)])

    def _log_mel(self, signals: Tensor) -> Tensor:
        if self.center:
            signals = F.pad(signals, (self.n_fft // 2, self.n_fft // 2), mode="reflect")
        frames = signals.unfold(-1, self.n_fft, self.hop_length)
        spectrum = torch.fft.rfft(frames * self.window)[..., : len(self.bands)]
        squares = torch.view_as_real(spectrum).square()
        power = squares[..., 0] + squares[..., 1]  # about five times faster than a sum over the last dimension
        values = self._logarithm(power @ self.bands).transpose(1, 2)
        if is_traced():  # with other strides, an export would depend on whether there is more than one frame
            values = values.contiguous()
        if not self.standardize:
            return values
        centered = values - values.mean(dim=-1, keepdim=True)
        # Clamp before the square root, because its gradient is infinite at 0.
        return centered / centered.square().mean(dim=-1, keepdim=True).clamp(min=1e-10).sqrt()

    def _filterbank(
        self, n_mels: int, min_hz: float, max_hz: float | None, mel_scale: str, mel_norm: str | None
    ) -> Tensor:
        from torchaudio.functional import melscale_fbanks

        nyquist = self.sample_rate / 2
        min_hz = check_number("min_hz", min_hz, 0, unit="hertz")
        max_hz = nyquist if max_hz is None else check_positive("max_hz", max_hz, "hertz")
        if not min_hz < max_hz <= nyquist:
            raise ValueError(
                f"max_hz: expected more than min_hz ({min_hz:g}) and at most half the sample rate "
                f"({nyquist:g}), got {max_hz:g}"
            )
        with warnings.catch_warnings(action="ignore"):  # its warning about empty bands is replaced below
            bands: Tensor = melscale_fbanks(
                self.n_fft // 2 + 1, min_hz, max_hz, n_mels, self.sample_rate, norm=mel_norm, mel_scale=mel_scale
            )
        empty = n_mels - int(bands.any(dim=0).sum())
        message = (
            f"n_mels: {empty} of {n_mels} bands contain no frequency bin with n_fft = {self.n_fft} at "
            f"{self.sample_rate} Hz; use fewer bands or longer windows"
        )
        if empty == n_mels:
            raise ValueError(message)
        if empty:
            warnings.warn(message, stacklevel=3)
        # Frequencies above the highest band are not used.
        used = int(bands.any(dim=1).nonzero().max()) + 1
        return bands[:used].clone()

    def _logarithm(self, power: Tensor) -> Tensor:
        if self.scale == "log1p":
            return torch.log1p(self.compression * power)
        decibels = 10 * (power / self.reference_power).clamp(min=_MIN_POWER).log10()
        if self.top_db is None:
            return decibels
        return decibels.maximum(decibels.amax(dim=(1, 2), keepdim=True) - self.top_db)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Keep window and bands in float32 in a half-precision module, because rounding would change the filterbank.
        whole: dict[str, Any] = {"bands": self.bands, "window": self.window}
        super()._apply(fn, recurse)
        for name, buffer in whole.items():
            if getattr(self, name).dtype in (torch.float16, torch.bfloat16):
                setattr(self, name, buffer.to(getattr(self, name).device))
        return self
