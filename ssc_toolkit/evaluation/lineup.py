"""The models of a comparison: those asked for, and the untrained ones that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import RANDOM, STATISTICS, LogMelStatistics, random_twin
from ssc_toolkit.evaluation.models import WaveformModel, is_trainable, open_model


def open_models(encoders: Sequence[str], names: Sequence[str] = ()) -> dict[str, WaveformModel]:
    """Models by name.

    Args:
        encoders: folders of saved encoders, or module:function.
        names: as many names; by default the last part of each folder that is not "encoder".

    Raises:
        InputError: if there is none, names do not fit, or a model cannot be opened.
    """
    if not encoders:
        raise InputError("encoders: give at least one folder of a saved encoder")
    if names and len(names) != len(encoders):
        raise InputError(f"names: expected one for each of the {len(encoders)} encoders, got {len(names)}")
    chosen = [name.strip() for name in names] or [_name_of(encoder) for encoder in encoders]
    for place, name in enumerate(chosen):
        if not name or name in chosen[:place] or name.startswith((RANDOM, STATISTICS)):
            problem = "is taken" if name else "is empty"
            raise InputError(f"names: {name!r} {problem}; give each encoder a name of its own with --names")
    return {name: open_model(encoder) for name, encoder in zip(chosen, encoders, strict=True)}


def baselines(models: Mapping[str, WaveformModel], seed: int) -> dict[str, WaveformModel]:
    """A random encoder for each architecture among some models, and log-mel statistics at the highest rate.

    Args:
        models: by name. Functions have no weights; where there is nothing else, the random encoder is a MelCNN.
        seed: of the weights.
    """
    trainable = {_architecture(model): model for model in models.values() if is_trainable(model)}
    kinds = list(trainable.values()) or [next(iter(models.values()))]
    random = {}
    for number, model in enumerate(kinds, start=1):
        title = RANDOM if len(kinds) == 1 else f"{RANDOM} {number}, {type(model).__name__}"
        random[title] = random_twin(model, seed)
    return {**random, STATISTICS: LogMelStatistics(max(model.sample_rate for model in models.values()))}


def _architecture(model: WaveformModel) -> str:
    return repr((model, getattr(model, "_hub_mixin_config", None)))


def _name_of(encoder: str) -> str:
    parts = [part for part in Path(encoder).parts if part not in ("encoder", "/", ".")]
    return parts[-1] if parts else encoder
