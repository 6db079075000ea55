"""Models of a comparison: those that the user names, and untrained baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import LOG_MEL_STATISTICS, RANDOM, LogMelStatistics, random_twin
from ssc_toolkit.evaluation.embedding.models import WaveformModel, is_trainable, open_model


def open_models(encoders: Sequence[str], names: Sequence[str] = ()) -> dict[str, WaveformModel]:
    """Open several models.

    Args:
        encoders: folders of saved encoders, or "module:function".
        names: one name for each encoder. By default the last part of its path that is not "encoder".

    Returns:
        Models by name.

    Raises:
        InputError: if no encoder is given, if the number of names differs from the number of encoders, if a name is
            empty or used twice, or if a model cannot be opened.
    """
    if not encoders:
        raise InputError("encoders: expected at least one folder of a saved encoder, got none")
    if names and len(names) != len(encoders):
        raise InputError(f"names: expected {len(encoders)}, one for each encoder, got {len(names)}")
    chosen = [name.strip() for name in names] or [_name_of(encoder) for encoder in encoders]
    for place, name in enumerate(chosen):
        if not name or name in chosen[:place] or name.startswith((RANDOM, LOG_MEL_STATISTICS)):
            problem = "is already used" if name else "is empty"
            raise InputError(f"names: {name!r} {problem}; give each encoder a different name with --names")
    return {name: open_model(encoder) for name, encoder in zip(chosen, encoders, strict=True)}


def baselines(models: Mapping[str, WaveformModel], seed: int) -> dict[str, WaveformModel]:
    """Return the baselines of a comparison: random encoders and log-mel statistics.

    There is one random encoder for each architecture among the models. The log-mel statistics use the highest sample
    rate of the models.

    Args:
        models: models by name. If none of them has weights (functions have none), the random encoder is a MelCNN.
        seed: seed of the random weights.
    """
    trainable = {_architecture(model): model for model in models.values() if is_trainable(model)}
    kinds = list(trainable.values()) or [next(iter(models.values()))]
    random = {}
    for number, model in enumerate(kinds, start=1):
        title = RANDOM if len(kinds) == 1 else f"{RANDOM} {number}, {type(model).__name__}"
        random[title] = random_twin(model, seed)
    return {**random, LOG_MEL_STATISTICS: LogMelStatistics(max(model.sample_rate for model in models.values()))}


def _architecture(model: WaveformModel) -> str:
    return repr((model, getattr(model, "_hub_mixin_config", None)))


def _name_of(encoder: str) -> str:
    parts = [part for part in Path(encoder).parts if part not in ("encoder", "/", ".")]
    return parts[-1] if parts else encoder
