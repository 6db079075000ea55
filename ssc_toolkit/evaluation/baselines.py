"""Creation of the models of a comparison, which are specified by the user, and of baselines without pretraining."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ssc_toolkit.checks import check_integer
from ssc_toolkit.encoders import Encoder, LogMel, MelCNN, reinitialize
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import (
    WaveformModel,
    choose_window_seconds,
    is_trainable,
    open_model,
)
from ssc_toolkit.evaluation.embedding.projected import ProjectedModel, open_projected_model

LOG_MEL_STATISTICS = "log-mel statistics"
MFCC_STATISTICS = "MFCC statistics"
RANDOM = "random encoder"
_MEL_BANDS = 128
BASELINES = (RANDOM, MFCC_STATISTICS, LOG_MEL_STATISTICS)
"""Names of the baselines. Names of several random encoders begin with that of one."""


class LogMelStatistics(Encoder):
    """Baseline encoder, whose embedding is the mean and standard deviation over time of each log-mel band.

    The encoder has no trainable weights.

    Args:
        sample_rate: sample rate of the input in hertz.
        n_mels: number of mel bands between 30 Hz and `max_hz`.
        max_hz: upper edge of the highest band in hertz, which is half the sample rate by default.

    Shape:
        - input: (N, 1, samples)
        - output: (N, 2 * n_mels)

    Examples:
        >>> LogMelStatistics()(torch.randn(2, 1, 16000)).shape
        torch.Size([2, 192])
    """

    fixed_readout: ClassVar[bool] = True

    def __init__(self, sample_rate: int = 16000, n_mels: int = 96, max_hz: float | None = None) -> None:
        n_fft = round(0.128 * sample_rate)
        super().__init__(embedding_dim=2 * n_mels, sample_rate=sample_rate, min_samples=n_fft)
        self.log_mel = LogMel(sample_rate, n_fft, n_fft // 4, n_mels, max_hz=max_hz)

    def encode_frames(self, signals: Tensor) -> Tensor:
        bands = self.log_mel(signals)
        return _statistics_over_time(bands)


class MFCCStatistics(Encoder):
    r"""Encoder that returns the mean and standard deviation over time of each MFCC.

    The mel-frequency cepstral coefficients equal those of `librosa.feature.mfcc` with its default settings, up to
    rounding errors. Hann windows of 2048 samples begin every 512 samples; the signal is padded with zeros, so that the
    first window is centered on the first sample. The power of each window in 128 mel bands from 0 Hz to the Nyquist
    frequency (`htk=False`, `norm="slaney"`) is converted to decibels S, which are at least -100 and at least the
    maximum of the clip minus 80. The coefficients are the first ones of the orthonormal DCT-II of the bands m,

    c_k = s_k sqrt(2 / 128) sum_m S_m cos(pi k (m + 1/2) / 128), with s_0 = sqrt(1 / 2), and s_k = 1 for k > 0.

    The encoder has no trainable weights.

    Args:
        sample_rate: sample rate of the input in hertz.
        n_mfcc: number of coefficients, from c_0 on.

    Shape:
        - input: (N, 1, samples)
        - output: (N, 2 * n_mfcc), the means first

    Examples:
        >>> MFCCStatistics()(torch.randn(2, 1, 16000)).shape
        torch.Size([2, 40])
    """

    fixed_readout: ClassVar[bool] = True

    def __init__(self, sample_rate: int = 16000, n_mfcc: int = 20) -> None:
        from torchaudio.transforms import MFCC

        check_integer("n_mfcc", n_mfcc, 1, _MEL_BANDS)
        super().__init__(embedding_dim=2 * n_mfcc, sample_rate=sample_rate, min_samples=1)
        spectrogram = {"n_fft": 2048, "hop_length": 512, "n_mels": _MEL_BANDS, "pad_mode": "constant"}
        slaney = {"norm": "slaney", "mel_scale": "slaney"}
        self.mfcc = MFCC(sample_rate, n_mfcc, melkwargs={**spectrogram, **slaney})

    def encode_frames(self, signals: Tensor) -> Tensor:
        with torch.autocast(signals.device.type, enabled=False):
            one_channel = signals.to(self.mfcc.dct_mat.dtype)[
                :, None
            ]  # the maximum is that of a clip, not of the batch
            return _statistics_over_time(self.mfcc(one_channel)[:, 0])


def _statistics_over_time(features: Tensor) -> Tensor:
    """Compute mean and standard deviation over time, (N, 2 * features, 1), of features (N, features, frames)."""
    statistics = [features.mean(dim=-1, keepdim=True), features.std(dim=-1, correction=0, keepdim=True)]
    return torch.cat(statistics, dim=1)  # the statistics form one frame for the whole input


def make_random_twin(model: WaveformModel, seed: int) -> WaveformModel:
    """Return a copy of a model with random weights, and with its readout and window length, as a baseline.

    A model without trainable weights is replaced by a MelCNN with random weights, the same sample rate and window
    length.

    Args:
        model: model whose architecture is used; it is not changed.
        seed: seed of the random weights.
    """
    if is_trainable(model):
        trainable: Any = model
        return reinitialize(trainable, seed)
    return _with_window(reinitialize(MelCNN(sample_rate=model.sample_rate), seed), choose_window_seconds(model))


def open_models(
    encoders: Sequence[str], names: Sequence[str] = (), projections: bool = False, *, allow_code: bool = False
) -> dict[str, WaveformModel]:
    """Open several models with `open_model`.

    Args:
        encoders: each element is the folder of a saved encoder, "MTT_musicnn", "MSD_musicnn", or "module:function", as
            in `open_model`.
        names: one name for each model. By default, the name is the last part of the path that is not "encoder".
        projections: whether the embeddings are those of the projectors in the folders of the encoders.
        allow_code: allow "module:function", which imports and runs code.

    Returns:
        A dictionary of the models by name.

    Raises:
        InputError: if `encoders` is empty, if the number of names differs from the number of encoders, if a name is
            empty, used twice or the name of a baseline, or if a model cannot be opened.
    """
    if not encoders:
        raise InputError("encoders: expected at least one folder of a saved encoder, got none")
    if names and len(names) != len(encoders):
        raise InputError(f"names: expected {len(encoders)}, one for each encoder, got {len(names)}")
    given = [name.strip() for name in names] or [_name_of(encoder) for encoder in encoders]
    chosen = [
        name.encode(errors="backslashreplace").decode() for name in given
    ]  # a folder name may contain invalid UTF-8
    for place, name in enumerate(chosen):
        if not name or name in chosen[:place] or name.startswith(BASELINES):
            problem = "is already used" if name else "is empty"
            raise InputError(f"names: {name!r} {problem}; give each encoder a different name with --names")
    opened = open_projected_model if projections else partial(open_model, allow_code=allow_code)
    return {name: opened(encoder) for name, encoder in zip(chosen, encoders, strict=True)}


def make_baselines(models: Mapping[str, WaveformModel], seed: int) -> dict[str, WaveformModel]:
    """Return the baselines of a comparison: encoders with random weights, `MFCCStatistics` and `LogMelStatistics`.

    There is one random encoder for each architecture, readout and window length among the models. It has the readout
    and the window length of the trained one. Models of projections are compared without their readout, which has no
    effect on projections. The other baselines have the highest sample rate and the greatest window length of
    the models.

    Args:
        models: models by name. If no model has trainable weights, the random encoder is a `MelCNN`.
        seed: seed of the random weights.

    Returns:
        The baselines by name.
    """
    trainable = {_architecture(model): model for model in models.values() if is_trainable(model)}
    kinds = list(trainable.values()) or [next(iter(models.values()))]
    random = {}
    for number, model in enumerate(kinds, start=1):
        title = RANDOM if len(kinds) == 1 else f"{RANDOM} {number}, {type(_encoder_of(model)).__name__}"
        random[title] = make_random_twin(model, seed)
    return {**random, **make_statistics(models.values())}


def make_statistics(models: Iterable[WaveformModel]) -> dict[str, WaveformModel]:
    """Return `MFCCStatistics` and `LogMelStatistics` with the highest sample rate and window length of some models."""
    listed = list(models)
    rate = max(model.sample_rate for model in listed)
    seconds = max(map(choose_window_seconds, listed))
    found = {MFCC_STATISTICS: MFCCStatistics(rate), LOG_MEL_STATISTICS: LogMelStatistics(rate)}
    return {name: _with_window(model, seconds) for name, model in found.items()}


def _with_window(encoder: Encoder, seconds: float) -> Encoder:
    """Set the window length of an encoder in seconds, or its minimum length if that is greater."""
    encoder.window_seconds = max(seconds, encoder.min_samples / encoder.sample_rate)  # type: ignore[assignment]
    return encoder


def _architecture(model: WaveformModel) -> str:
    """Return a text that is equal for two models if and only if their random twins give the same embeddings."""
    own = [getattr(_encoder_of(model), "_hub_mixin_config", None)]
    if not isinstance(model, ProjectedModel):  # a projector takes the embeddings of the encoder, without its readout
        own.append(getattr(model, "readout", None))
    return repr((model, *own, choose_window_seconds(model)))


def _encoder_of(model: WaveformModel) -> WaveformModel:
    return model.encoder if isinstance(model, ProjectedModel) else model


def _name_of(encoder: str) -> str:
    parts = [part for part in Path(encoder).parts if part not in ("encoder", "/", ".")]
    return parts[-1] if parts else encoder
