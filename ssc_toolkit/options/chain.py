"""Augmentation chain of a training as plain data: the name of a preset, or a list of stages."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

from ssc_toolkit.checks import check_choice, check_names
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_severity
from ssc_toolkit.options.names import PRESETS

ChainOption: TypeAlias = list[dict[str, Any] | str] | str
"""Type of the option `chain`."""
FIXED = "clmr"
"""Name of the preset that has no severity."""


def check_chain(chain: Any, severity: float, omit: Collection[str]) -> None:
    """Raise InputError unless `chain` is a preset or a list of stages, and `severity` and `omit` apply to it.

    The names and arguments of the transforms are checked when the chain is created, because their classes are slow to
    import.

    Args:
        chain: option `chain`.
        severity: option `severity`, for presets that have a severity.
        omit: option `omit`, for presets.
    """
    check_severity(severity)
    if isinstance(chain, str):
        check_choice("chain", chain, PRESETS)
        if omit:
            check_names("omit", omit, PRESETS[chain])
        if chain == FIXED and severity != 1:
            raise InputError(f"severity: expected 1 with chain={FIXED}, whose settings are fixed, got {severity}")
        return
    if not isinstance(chain, list | tuple):
        raise InputError(f"chain: expected the name of a preset or a list of stages, got {chain!r:.100}")
    for name, value, usual in (("severity", severity, 1), ("omit", tuple(omit), ())):
        if value != usual:
            raise InputError(
                f"{name}: expected no value with a list of stages as chain, got {value}; give it to the stage, as in "
                "{name: semisupcon, severity: 0.5}"
            )
    for number, stage in enumerate(chain, 1):
        if not isinstance(stage, str) and not (isinstance(stage, dict) and isinstance(stage.get("name"), str)):
            raise InputError(f"chain: stage {number}: expected a name, or a dictionary with a name, got {stage!r:.100}")
        _check_plain(f"chain: stage {number}", stage)


def _check_plain(where: str, value: Any) -> None:
    """Raise InputError unless a value consists of text, numbers, bool, None, lists, and dictionaries with text keys."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for inner in value.values():
            _check_plain(where, inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            _check_plain(where, inner)
    elif not isinstance(value, str | int | float | bool | None):
        raise InputError(f"{where}: expected text, numbers, lists or dictionaries, got {value!r:.100}")
