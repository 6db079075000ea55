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
from ssc_toolkit.files import CHECKSUMS, read_checked_json, reading, write_checked_json, write_checksums, write_text
from ssc_toolkit.training.checkpoints import CHECKPOINT
from ssc_toolkit.training.provenance import provenance

ENCODER_FOLDER = "encoder"
HISTORY = "history.csv"
SETTINGS = "settings.json"
CONFIG = "config.yaml"
PROVENANCE = "provenance.json"
STARTS = "starts"
"""Key of the list in `provenance.json`."""
UNUSABLE = "unusable.csv"
WRITTEN = (HISTORY, SETTINGS, CONFIG, PROVENANCE, CHECKSUMS, CHECKPOINT, UNUSABLE, f"unlabeled-{UNUSABLE}")
"""Files of a run in its folder."""

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
        if name == "labels" and isinstance(value, list | tuple) and len(value) < 2:
            value = value[0] if value else None
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {f"{name}.{option}": setting for option, setting in asdict(value).items()}
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if not name.startswith(_WITHOUT_EFFECT)}


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """The settings that hold where nothing is said."""
    parameters = inspect.signature(function).parameters
    return settings_of({name: p.default for name, p in parameters.items() if p.default is not p.empty})


def holds_run(folder: Path) -> bool:
    """Return whether a folder holds a run that can be resumed or is complete."""
    return any((folder / name).exists() for name in (CHECKPOINT, ENCODER_FOLDER))


def claim(folder: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Write the settings of a run, or make sure that the run already there has the same.

    Args:
        folder: of the run; the caller holds its lock.
        settings: of this call.
        defaults: settings of a run that was begun before an option existed.

    Raises:
        InputError: if the folder holds something else; it is as it was.
    """
    if not holds_run(folder):
        write_checked_json(folder / SETTINGS, _plain(settings))  # also over those of a run that left nothing to resume
        return
    if not (folder / SETTINGS).exists():
        name = CHECKPOINT if (folder / CHECKPOINT).exists() else ENCODER_FOLDER
        raise InputError(f"out: {folder} holds {name} without {SETTINGS}; choose another folder")
    found = _read_settings(folder, defaults)
    _compare(folder, _plain(settings), found, {*found, *settings})


def check_settings(folder: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise InputError if a folder holds a run with other settings; what depends on the audio is not compared.

    Args:
        folder: of the run; it need not exist.
        settings: of `settings_of`.
        defaults: settings of a run that was begun before an option existed.
    """
    if holds_run(folder) and (folder / SETTINGS).exists():
        _compare(folder, _plain(settings), _read_settings(folder, defaults), set(settings))


def write_down(folder: Path, arguments: Mapping[str, Any]) -> None:
    """Save the arguments as a file for `--config`, and add to the list of what the run was made with.

    Raises:
        InputError: if that list is damaged; nothing is written.
    """
    path = folder / PROVENANCE
    before = _read_starts(path) if path.exists() else []
    write_text(folder / CONFIG, yaml.safe_dump(_plain(arguments), sort_keys=False, allow_unicode=True))
    write_checked_json(path, {STARTS: [*before, provenance()]})


def _read_starts(path: Path) -> list[Any]:
    advice = "restore it, or delete it to lose only the list of earlier starts"
    with reading("out", path, advice):
        before = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(before, list):  # which earlier versions wrote, without a checksum
            content = read_checked_json(path, "out", advice)
            before = content[STARTS] if content.keys() == {STARTS} else None
        if not isinstance(before, list) or not all(isinstance(start, dict) for start in before):
            raise ValueError("expected a list of starts")
        return before


def save_encoder(encoder: Encoder, folder: Path) -> Path:
    """Write the encoder's folder, which appears at once and whole, when the history has its checksum."""
    temporary = folder / f".{ENCODER_FOLDER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    encoder.save_pretrained(temporary)
    for path in temporary.iterdir():
        path.chmod(folder.stat().st_mode & 0o666)  # safetensors leaves its files readable by their owner alone
    write_checksums(folder, [HISTORY])
    return temporary.rename(folder / ENCODER_FOLDER)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes back from a file: tuples as lists, groups of options as dictionaries."""
    return json.loads(json.dumps(content, default=asdict))


def _read_settings(folder: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    path = folder / SETTINGS
    return _plain(defaults) | read_checked_json(path, "out", "restore it, or choose another folder", required=False)


def _compare(folder: Path, settings: dict[str, Any], found: dict[str, Any], names: set[str]) -> None:
    """Raise InputError unless the run in the folder has these settings."""
    differing = sorted(name for name in names - set(_DECIDED_BY_HASH) if found.get(name) != settings.get(name))
    if differing:
        changes = ", ".join(
            _HASHES.get(name, f"{name} was {found.get(name)!r}, is {settings.get(name)!r}") for name in differing
        )
        raise InputError(f"out: {folder} holds a run with other settings ({changes}); choose another folder")
