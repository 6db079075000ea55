"""MP3 compression: the codec, and a differentiable approximation that runs on any device."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Literal

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ssc_toolkit.augmentations.base import Transform, require_sample_rate
from ssc_toolkit.augmentations.distortion import straight_through
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.checks import Range, check_choice, check_range

_MPEG_1 = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MPEG_2 = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG_2_5 = (8, 16, 24, 32, 40, 48, 56, 64)
BIT_RATES_KBPS = {
    **dict.fromkeys((8000, 11025, 12000), _MPEG_2_5),
    **dict.fromkeys((16000, 22050, 24000), _MPEG_2),
    **dict.fromkeys((32000, 44100, 48000), _MPEG_1),
}
"""Bit rates in kbit/s that MP3 supports, by sample rate in hertz (ISO/IEC 11172-3 and 13818-3, MPEG 2.5)."""

MAX_PEAK = 100.0
"""Maximum magnitude of samples that are encoded (full scale is 1). At 10 000, LAME may end the Python process."""


class MP3(Transform):
    """Encode waveforms as MP3 at a constant bit rate, and decode them.

    There are two implementations. The codec is LAME, called through libsndfile. Each channel is encoded separately, on
    as many threads as PyTorch uses. The delay and the padding of the codec are removed. The backward pass treats the
    codec as the identity (straight-through estimator).

    The approximation quantizes frames of 576 coefficients of a modified discrete cosine transform, on any device. The
    quantization step of each critical band is proportional to the masking threshold that the band and its neighbors
    produce. The steps of a frame are scaled to use the bits that are available at the bit rate. Coefficients above the
    cutoff that LAME uses at this bit rate are removed. The backward pass treats only the rounding as the identity.

    A clip that contains NaN, infinity or a magnitude above 100 (`MAX_PEAK`) in any channel is returned unchanged,
    because LAME could end the Python process. The other clips of the batch are not affected.

    Args:
        bitrate_kbps: bit rate of each channel in kbit/s; a number, or a range (low, high). It is drawn uniformly from
            the bit rates in the range that MP3 supports at this sample rate (`BIT_RATES_KBPS`).
        implementation: "codec", "approximation" or "auto". "auto" uses the codec for waveforms on a CPU and the
            approximation on other devices, because the codec would copy the waveforms to the CPU.
        sample_rate: sample rate of the waveforms in hertz, one of those in `BIT_RATES_KBPS`.
        p: probability with which each clip of a batch is transformed, 0 to 1.

    Raises:
        ValueError: if MP3 does not support the sample rate, or the range contains no supported bit rate.

    Examples:
        >>> import torch
        >>> MP3(bitrate_kbps=(16, 64), sample_rate=22050)(0.1 * torch.randn(2, 1, 8000)).shape
        torch.Size([2, 1, 8000])
    """

    selective = True

    def __init__(
        self,
        bitrate_kbps: Range = (16, 64),
        *,
        implementation: Literal["auto", "codec", "approximation"] = "auto",
        sample_rate: int,
        p: float = 1.0,
    ) -> None:
        super().__init__(p=p, sample_rate=require_sample_rate(sample_rate))
        known = list_bit_rates_kbps(sample_rate)
        self.bitrate_kbps = check_range("bitrate_kbps", bitrate_kbps, 1, 1000)
        self._rates = [rate for rate in known if self.bitrate_kbps[0] <= rate <= self.bitrate_kbps[1]]
        if not self._rates:
            raise ValueError(
                f"bitrate_kbps: expected {', '.join(map(str, known))} at {sample_rate} Hz, got {self.bitrate_kbps}"
            )
        check_choice("implementation", implementation, ("auto", "codec", "approximation"))
        self.implementation = implementation

    def draw_values(self, generator: ExampleGenerator) -> dict[str, Tensor]:
        picked = generator.integers((0, len(self._rates) - 1))
        return {"bitrate_kbps": torch.tensor(self._rates)[picked]}

    def transform(self, waveforms: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        rate = require_sample_rate(self.sample_rate)
        can_be_coded = (waveforms.detach().abs() <= MAX_PEAK).flatten(1).all(1)[:, None, None]  # False for NaN
        signals = torch.where(can_be_coded, waveforms, 0.0)
        signals = rearrange(signals, "clips channels samples -> (clips channels) samples")
        bit_rates = values["bitrate_kbps"].repeat_interleave(waveforms.shape[1])
        on_cpu = waveforms.device.type == "cpu"
        if self.implementation == "codec" or (self.implementation == "auto" and on_cpu):
            coded = straight_through(signals, _encode_and_decode(signals, bit_rates, rate))
        else:
            coded = approximate_coding(signals, bit_rates, rate)
        return torch.where(can_be_coded, coded.view_as(waveforms), waveforms)


def list_bit_rates_kbps(sample_rate: int) -> tuple[int, ...]:
    """Return the bit rates in kbit/s that MP3 supports at a sample rate in hertz.

    Raises:
        ValueError: if MP3 does not support the sample rate.
    """
    check_choice("sample_rate", sample_rate, BIT_RATES_KBPS)
    return BIT_RATES_KBPS[sample_rate]


def find_nearest_bit_rate(bitrate_kbps: float, sample_rate: int) -> int:
    """Return the bit rate of MP3 in kbit/s that is nearest to `bitrate_kbps`, the higher one if two are as near."""
    return min(list_bit_rates_kbps(sample_rate), key=lambda rate: (abs(rate - bitrate_kbps), -rate))


def _encode_and_decode(signals: Tensor, bit_rates: Tensor, sample_rate: int) -> Tensor:
    """Encode mono signals (N, samples) as MP3 at `bit_rates`, (N,) in kbit/s, and decode them."""
    arrays = signals.detach().cpu().float().numpy()
    rates = bit_rates.tolist()
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        decoded = list(pool.map(_code_one, arrays, rates, repeat(sample_rate)))
    return torch.from_numpy(np.stack(decoded)).to(signals)


def _code_one(samples: np.ndarray, bitrate_kbps: int, sample_rate: int) -> np.ndarray:
    import soundfile

    known = BIT_RATES_KBPS[sample_rate]
    # libsndfile maps a compression level of 0 to the highest bit rate and 1 to the lowest, and rejects exactly 1.
    level = min((known[-1] - bitrate_kbps) / (known[-1] - known[0]), 0.9999)
    file = io.BytesIO()
    soundfile.write(
        file,
        np.pad(samples, (0, _DELAY)),
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=level,
    )
    # If a frame at this bit rate is large enough, LAME stores its delay in a first frame without audio.
    header = file.getvalue()[:_HEADER_BYTES]
    begin = 0 if b"Info" in header or b"Xing" in header else _DELAY
    file.seek(0)
    decoded, _ = soundfile.read(file, dtype="float32")
    segment = decoded[begin : begin + len(samples)]
    return np.pad(segment, (0, len(samples) - len(segment)))


_DELAY = 1105  # samples: 576 from the encoder, 529 from the decoder
_HEADER_BYTES = 64
_FRAME = 576
_BANDS = 22
_STEPS = 12
_MASKED = 10**-1.2  # masking threshold as a fraction of the power of a band
_SIDE_BITS = 136  # bits of a frame for header and side information


def approximate_coding(signals: Tensor, bit_rates: Tensor, sample_rate: int) -> Tensor:
    """Apply the differentiable approximation of MP3 to signals (N, samples), at `bit_rates`, (N,) in kbit/s."""
    samples = signals.shape[-1]
    count = -(-samples // _FRAME) + 1
    window, basis = _cosine_transform(signals)
    frames = F.pad(signals, (_FRAME, count * _FRAME - samples)).unfold(-1, 2 * _FRAME, _FRAME)
    coefficients = (frames * window) @ basis
    frequencies = (torch.arange(_FRAME, device=signals.device) + 0.5) * (sample_rate / 2 / _FRAME)
    kept = frequencies < _cutoff_hz(bit_rates, sample_rate)[:, None]
    coefficients = coefficients * kept[:, None]
    with torch.no_grad():
        step = _choose_quantizer_step(coefficients, bit_rates, frequencies, sample_rate)
        quantized = (coefficients / step).round_() * step
    quantized = straight_through(coefficients, quantized)
    overlapping = (quantized @ basis.T) * window
    first, second = overlapping[:, :-1, _FRAME:], overlapping[:, 1:, :_FRAME]
    return _GAIN * rearrange(first + second, "signals frames hop -> signals (frames hop)")[:, :samples]


def _cosine_transform(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sine window (1152,) and the orthogonal basis (1152, 576) of the modified discrete cosine transform."""
    time = torch.arange(2 * _FRAME, device=like.device, dtype=torch.float64)
    number = torch.arange(_FRAME, device=like.device, dtype=torch.float64)
    window = torch.sin(math.pi * (time + 0.5) / (2 * _FRAME))
    angle = (math.pi / _FRAME) * (time[:, None] + 0.5 + _FRAME / 2) * (number + 0.5)
    return window.to(like.dtype), (math.sqrt(2 / _FRAME) * torch.cos(angle)).to(like.dtype)


def _cutoff_hz(bit_rates: Tensor, sample_rate: int) -> Tensor:
    """Return the frequencies (N,) in hertz above which MP3 removes all content at `bit_rates`, (N,) in kbit/s."""
    limit = _CUTOFF_SHARE * sample_rate / 2
    cutoffs = torch.full_like(bit_rates, limit, dtype=torch.float32)
    for below_kbps, cutoff_hz in reversed(_CUTOFFS):
        cutoffs = torch.where(bit_rates < below_kbps, min(cutoff_hz, limit), cutoffs)
    return cutoffs


_GAIN = 0.95  # LAME reduces the level slightly to avoid clipping
_CUTOFF_SHARE = 0.907  # of the Nyquist frequency
_CUTOFFS = ((16, 3000), (24, 5450), (32, 5850), (40, 8250), (48, 10250), (56, 11050), (64, 15100), (80, 16500))
"""Pairs (bit rate in kbit/s, cutoff in hertz below this bit rate), measured on white noise with LAME 3.100."""


def _choose_quantizer_step(coefficients: Tensor, bit_rates: Tensor, frequencies: Tensor, sample_rate: int) -> Tensor:
    """Choose the quantization step of each coefficient.

    The steps of a frame are proportional to the masking thresholds. They are scaled such that the coefficients need as
    many bits as the bit rate allows.

    Args:
        coefficients: (N, frames, 576) coefficients of the cosine transform.
        bit_rates: (N,) in kbit/s.
        frequencies: (576,) frequencies of the coefficients in hertz.
        sample_rate: sample rate in hertz.

    Returns:
        (N, frames, 576) quantization steps.
    """
    bark = 26.81 * frequencies / (1960 + frequencies) - 0.53  # Traunmueller 1990
    band = (bark * (_BANDS / bark[-1])).long().clamp(0, _BANDS - 1)
    member = F.one_hot(band, _BANDS).to(coefficients.dtype)
    width = member.sum(0).clamp(min=1)
    center = (member * bark[:, None]).sum(0) / width
    apart = center[:, None] - center  # distance in Bark from the masking band to the masked band
    spread = 10 ** -(torch.where(apart > 0, 1.0, 2.7) * apart.abs())
    density = (coefficients.square() @ member / width) @ spread.T.to(coefficients.dtype)
    audible = torch.maximum(_MASKED * (density @ member.T), _threshold_in_quiet(frequencies))
    masking = audible.to(coefficients.dtype).sqrt()
    bits = bit_rates * (1000 * _FRAME / sample_rate) - _SIDE_BITS
    budget = bits.clamp(min=50).to(coefficients.dtype)[:, None, None]
    low = torch.full_like(coefficients[..., :1], -10.0)
    high = torch.full_like(low, 8.0)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        spent = _bits(coefficients / (masking * 2**middle)).sum(-1, keepdim=True)
        low, high = torch.where(spent > budget, middle, low), torch.where(spent > budget, high, middle)
    return masking * 2**high


def _threshold_in_quiet(frequencies: Tensor) -> Tensor:
    """Return the hearing threshold in quiet (Terhardt 1979) at `frequencies` in hertz, as powers.

    A power is that of a coefficient of the cosine transform. Full scale is taken to be 96 dB SPL.
    """
    khz = (frequencies / 1000).clamp(min=0.05)
    level = 3.64 * khz**-0.8 - 6.5 * torch.exp(-0.6 * (khz - 3.3) ** 2) + 1e-3 * khz**4
    full_scale = _FRAME / 2  # a sine of amplitude 1
    return full_scale * 10 ** ((level - 96) / 10)


def _bits(scaled: Tensor) -> Tensor:
    """Estimate the number of bits of each coefficient, given coefficients divided by their quantization steps."""
    whole = scaled.abs().round()
    return torch.log2(1 + whole) * 1.5 + (whole > 0)
