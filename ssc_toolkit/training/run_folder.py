"""The folder of a run: whose it is, and what was asked for."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssc_toolkit.encoders import Encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_json, write_text
from ssc_toolkit.training.checkpoints import CHECKPOINT
from ssc_toolkit.training.provenance import provenance

ENCODER_FOLDER = "encoder"
HISTORY = "history.csv"
SETTINGS = "settings.json"
CONFIG = "config.yaml"
PROVENANCE = "provenance.json"
UNUSABLE = "unusable.csv"

_WITHOUT_EFFECT = (
    "out",
    "checkpoint_every",
    "most_skipped",
    "workers",
    "title",
    "logs.",
    "trainer.accelerator",
    "trainer.strategy",
)
"""Arguments that may differ when a run is taken up again; all of a group, if a dot ends the name."""
_DECIDED_BY_HASH = ("tracks", "root", "variant", "unlabeled", "unlabeled_root", "unlabeled_variant")
"""Arguments that may be spelled differently as long as they lead to the same tracks and labels."""
_HASHES = {
    "tracks_hash": "the tracks or their labels have changed",
    "unlabeled_hash": "the unlabelled tracks have changed",
}


def settings_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the numbers of a run, options of groups as `group.option`."""
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {f"{name}.{option}": setting for option, setting in asdict(value).items()}
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if not name.startswith(_WITHOUT_EFFECT)}


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The settings that hold where nothing is said."""
    parameters = inspect.signature(function).parameters
    return settings_of({name: p.default for name, p in parameters.items() if p.default is not p.empty})


def claim(folder: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Write down the settings of a run, or make sure that the run already there has the same.

    Args:
        folder: of the run.
        settings: of this call.
        defaults: what a run that was begun before there was some option counts as.

    Raises:
        InputError: if the folder holds something else.
    """
    path = folder / SETTINGS
    plain, plain_defaults = _plain(settings), _plain(defaults)
    if not path.exists():
        for name in (CHECKPOINT, ENCODER_FOLDER):
            if (folder / name).exists():
                raise InputError(f"out: {folder} holds {name} without {SETTINGS}; choose another folder")
    elif (folder / CHECKPOINT).exists() or (folder / ENCODER_FOLDER).exists():
        _compare(folder, plain, plain_defaults)
        return
    write_json(path, plain)  # also over those of a run that left nothing to go on from


def write_down(folder: Path, arguments: Mapping[str, Any]) -> None:
    """Save the arguments as a file for `--config`, and add to the list of what the run was made with."""
    write_text(folder / CONFIG, yaml.safe_dump(_plain(arguments), sort_keys=False, allow_unicode=True))
    path = folder / PROVENANCE
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    write_json(path, [*before, provenance()])


def save_encoder(encoder: Encoder, folder: Path) -> Path:
    """Write the encoder's folder; it appears at once and whole."""
    temporary = folder / f".{ENCODER_FOLDER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    encoder.save_pretrained(temporary)
    for path in temporary.iterdir():
        path.chmod(0o644)  # safetensors leaves its files readable by their owner alone
    return temporary.rename(folder / ENCODER_FOLDER)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file: tuples as lists, groups of options as dictionaries."""
    return json.loads(json.dumps(content, default=asdict))


def _compare(folder: Path, settings: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Raise InputError unless the run in the folder has these settings."""
    try:
        found = defaults | json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (ValueError, TypeError) as error:
        raise InputError(f"out: {folder / SETTINGS} is damaged; choose another folder") from error
    names = {**found, **settings}.keys() - set(_DECIDED_BY_HASH)
    differing = sorted(name for name in names if found.get(name) != settings.get(name))
    if differing:
        changes = ", ".join(
            _HASHES.get(name, f"{name} was {found.get(name)!r}, is {settings.get(name)!r}") for name in differing
        )
        raise InputError(f"out: {folder} holds a run with other settings ({changes}); choose another folder")
