"""Construction of a training chain from plain data: presets, corruptions and transforms by name."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

from ssc_toolkit.augmentations.base import Augmentation, require_sample_rate
from ssc_toolkit.augmentations.config import find_transform, from_config
from ssc_toolkit.augmentations.containers import Chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS, clmr_chain, corruption, semisupcon_chain
from ssc_toolkit.checks import check_choice

PRESETS = ("semisupcon", "semisupcon_published", "clmr")
"""Names of the presets that `make_chain` accepts."""

Stage: TypeAlias = str | Mapping[str, Any]


def make_chain(
    chain: str | Sequence[Stage], sample_rate: int, severity: float = 1.0, omit: Collection[str] = ()
) -> Augmentation:
    """Construct an augmentation chain from the name of a preset, or from a list of stages.

    A stage is a name, or a dictionary with the key `name` and the arguments of the stage. The name is one of these:

    | name | stage | arguments |
    |---|---|---|
    | "semisupcon", "semisupcon_published" | `semisupcon_chain`, also with `as_published=True` | `severity`, `omit` |
    | "clmr" | `clmr_chain` | `omit` |
    | a name in `CORRUPTIONS`, such as "reverb" | `corruption`, which applies to every clip | `severity` |
    | a class of this package, such as "Reverb" | transform or container | those of the class |

    A container such as "OneOf" has a list of stages as its argument `transforms`. Omit the argument `sample_rate` of
    the transforms: it is `sample_rate`.

    Args:
        chain: name of a preset, or list of stages, which apply one after another. An empty list changes nothing.
        sample_rate: sample rate of the waveforms in hertz.
        severity: severity of the preset in `chain`, 0 to 2.5, for the two presets of SemiSupCon.
        omit: names of stages of the preset in `chain` to leave out.

    Returns:
        The chain.

    Raises:
        ValueError: if a name is unknown, an argument is unknown, missing or invalid, or a transform has another sample
            rate. The message begins with the position of the stage.
        TypeError: if a stage is neither a name nor a dictionary.

    Examples:
        >>> chain = make_chain(["semisupcon", {"name": "Reverb", "p": 0.3}], sample_rate=16000)
        >>> [type(member).__name__ for member in chain.transforms], chain.transforms[1].sample_rate
        (['Chain', 'Reverb'], 16000)
    """
    sample_rate = require_sample_rate(sample_rate)
    if isinstance(chain, str):
        check_choice("chain", chain, PRESETS)
        return _make_preset(chain, sample_rate, severity, omit)
    members = []
    for number, stage in enumerate(chain, 1):
        try:
            members.append(from_config(_complete(stage, sample_rate)))
        except (ValueError, TypeError) as error:
            message = str(error).removeprefix("config: ")
            raise type(error)(f"chain: stage {number}: {message}") from error
    return Chain(members)


def _make_preset(name: str, sample_rate: int, severity: float = 1.0, omit: Collection[str] = ()) -> Augmentation:
    if name == "clmr":
        if severity != 1:
            raise ValueError(f"severity: expected 1 with clmr, whose settings are fixed, got {severity}")
        return clmr_chain(sample_rate, omit)
    return semisupcon_chain(sample_rate, severity, omit, as_published=name == "semisupcon_published")


def _complete(stage: Stage, sample_rate: int) -> dict[str, Any]:
    """Return a stage as a dictionary for `from_config`, with sample rates and with presets as their transforms."""
    given = {"name": stage} if isinstance(stage, str) else stage
    if not isinstance(given, Mapping):
        raise TypeError(f"expected a name or a dictionary with a name, got {stage!r:.100}")
    arguments: dict[str, Any] = dict(given)
    name = arguments.pop("name", None)
    if name in (*PRESETS, *CORRUPTIONS):
        accepted = ("severity", "omit") if name in PRESETS else ("severity",)
        if unknown := [str(key) for key in arguments if key not in accepted]:
            raise ValueError(f"expected arguments of {name} among {', '.join(accepted)}, got {', '.join(unknown)}")
        made = (_make_preset if name in PRESETS else corruption)(name, sample_rate, **arguments)
        return made.to_config()
    parameters = inspect.signature(find_transform(name, also=(*PRESETS, *CORRUPTIONS)).__init__).parameters
    if "sample_rate" in parameters:
        rate = arguments.setdefault("sample_rate", sample_rate)
        if rate != sample_rate:
            raise ValueError(f"sample_rate: expected that of the encoder, {sample_rate}, got {rate!r}")
    members = arguments.get("transforms")
    if isinstance(members, list | tuple):
        arguments["transforms"] = [_complete(member, sample_rate) for member in members]
    return {"name": name, **arguments}
