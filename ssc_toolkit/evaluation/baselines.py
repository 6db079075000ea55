"""Creation of the models of a comparison, which are specified by the user, and of baselines without pretraining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ssc_toolkit.encoders import Encoder, LogMel, MelCNN, reinitialize
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import WaveformModel, is_trainable, open_model

LOG_MEL_STATISTICS = "log-mel statistics"
RANDOM = "random encoder"


class LogMelStatistics(Encoder):
    """Baseline encoder, whose embedding is the mean and standard deviation over time of each log-mel band.

    The encoder has no trainable weights.

    Args:
        sample_rate: sample rate of the input in hertz.
        n_mels: number of mel bands between 30 Hz and 5 kHz.

    Shape:
        - input: (N, 1, samples)
        - output: (N, 2 * n_mels)

    Examples:
        >>> LogMelStatistics()(torch.randn(2, 1, 16000)).shape
        torch.Size([2, 192])
    """

    fixed_readout: ClassVar[bool] = True

    def __init__(self, sample_rate: int = 16000, n_mels: int = 96) -> None:
        n_fft = round(0.128 * sample_rate)
        super().__init__(embedding_dim=2 * n_mels, sample_rate=sample_rate, min_samples=n_fft)
        self.log_mel = LogMel(sample_rate, n_fft, n_fft // 4, n_mels, max_hz=min(5000.0, sample_rate / 2))

    def encode_frames(self, signals: Tensor) -> Tensor:
        bands = self.log_mel(signals)
        statistics = [bands.mean(dim=-1, keepdim=True), bands.std(dim=-1, correction=0, keepdim=True)]
        return torch.cat(statistics, dim=1)  # the statistics form one frame for the whole input


def make_random_twin(model: WaveformModel, seed: int) -> WaveformModel:
    """Return a copy of a model with random weights, as a baseline.

    A model without trainable weights is replaced by a MelCNN with random weights and the same sample rate.

    Args:
        model: model whose architecture is used; it is not changed.
        seed: seed of the random weights.
    """
    module: Any = model if is_trainable(model) else MelCNN(sample_rate=model.sample_rate)
    return reinitialize(module, seed)


def open_models(encoders: Sequence[str], names: Sequence[str] = ()) -> dict[str, WaveformModel]:
    """Open several models with `open_model`.

    Args:
        encoders: each element is the folder of a saved encoder, or "module:function" as in `open_model`.
        names: one name for each model. By default, the name is the last part of the path that is not "encoder".

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
        if not name or name in chosen[:place] or name.startswith((RANDOM, LOG_MEL_STATISTICS)):
            problem = "is already used" if name else "is empty"
            raise InputError(f"names: {name!r} {problem}; give each encoder a different name with --names")
    return {name: open_model(encoder) for name, encoder in zip(chosen, encoders, strict=True)}


def make_baselines(models: Mapping[str, WaveformModel], seed: int) -> dict[str, WaveformModel]:
    """Return the baselines of a comparison: encoders with random weights, and `LogMelStatistics`.

    There is one random encoder for each architecture among the models. The sample rate of `LogMelStatistics` is the
    highest one of the models.

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
        title = RANDOM if len(kinds) == 1 else f"{RANDOM} {number}, {type(model).__name__}"
        random[title] = make_random_twin(model, seed)
    return {**random, LOG_MEL_STATISTICS: LogMelStatistics(max(model.sample_rate for model in models.values()))}


def _architecture(model: WaveformModel) -> str:
    return repr((model, getattr(model, "_hub_mixin_config", None)))


def _name_of(encoder: str) -> str:
    parts = [part for part in Path(encoder).parts if part not in ("encoder", "/", ".")]
    return parts[-1] if parts else encoder
