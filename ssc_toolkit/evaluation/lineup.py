"""The models of a comparison: those asked for, and the untrained ones that stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ssc_toolkit.encoders import Encoder, reinitialized
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import LogMelStatistics
from ssc_toolkit.evaluation.models import WaveformModel, open_model

RANDOM, STATISTICS = "random encoder", "log-mel statistics"


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
        models: by name; those that are no encoders of this library have no random twin.
        seed: of the weights.
    """
    kinds: dict[str, Encoder] = {}
    for model in models.values():
        if isinstance(model, Encoder):
            kinds.setdefault(repr(model) + repr(model._hub_mixin_config), model)
    several = len(kinds) > 1
    random: dict[str, WaveformModel] = {}
    for model in kinds.values():
        title = f"{RANDOM}, {type(model).__name__}" if several else RANDOM
        while title in random:
            title += "\N{PRIME}"
        random[title] = reinitialized(model, seed)
    return {**random, STATISTICS: LogMelStatistics(max(model.sample_rate for model in models.values()))}


def _name_of(encoder: str) -> str:
    parts = [part for part in Path(encoder).parts if part not in ("encoder", "/", ".")]
    return parts[-1] if parts else encoder
