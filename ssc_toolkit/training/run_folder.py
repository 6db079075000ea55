"""Folder of a run: its settings, configuration, provenance and encoder."""

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
from ssc_toolkit.files import (
    CHECKSUMS,
    read_checked_json,
    reading,
    verify_checksum,
    verify_listed,
    write_checked_json,
    write_checksums,
    write_text,
)
from ssc_toolkit.training.checkpoints import CHECKPOINT
from ssc_toolkit.training.provenance import provenance

ENCODER_FOLDER = "encoder"
HISTORY = "history.csv"
SETTINGS = "settings.json"
CONFIG = "config.yaml"
PROVENANCE = "provenance.json"
STARTS = "starts"
"""Key of the list of starts in `provenance.json`."""
UNUSABLE_TRACKS = "unusable.csv"
WRITTEN = (
    HISTORY,
    SETTINGS,
    CONFIG,
    PROVENANCE,
    CHECKSUMS,
    CHECKPOINT,
    UNUSABLE_TRACKS,
    f"unlabeled-{UNUSABLE_TRACKS}",
)
"""Names of the files of a run in its folder."""

_LOGS = (".log", ".out", ".err", ".txt")

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
"""Arguments that may change when a run is resumed. A name with a final dot means all options of a group."""
_DECIDED_BY_HASH = ("tracks", "root", "variant", "unlabeled", "unlabeled_root", "unlabeled_variant")
"""Arguments that may change as long as they lead to the same tracks and labels, which hashes check."""
_HASHES = {
    "tracks_hash": "the tracks or their labels have changed",
    "unlabeled_hash": "the unlabeled tracks have changed",
}


def settings_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that determine the results of a run, with options of groups as `group.option`."""
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
    """Return the default settings of a function."""
    parameters = inspect.signature(function).parameters
    return settings_of({name: p.default for name, p in parameters.items() if p.default is not p.empty})


def holds_run(folder: Path) -> bool:
    """Return whether a folder contains a run that can be resumed or is complete."""
    return any((folder / name).exists() for name in (CHECKPOINT, ENCODER_FOLDER))


def claim(folder: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Write the settings of a run, or check that the run in the folder has the same settings.

    Args:
        folder: folder of the run, locked by the caller.
        settings: settings of this call.
        defaults: values of options that did not exist when the run was started.

    Raises:
        InputError: if the folder contains a run with other settings; the folder is not changed.
    """
    if not holds_run(folder):
        write_checked_json(folder / SETTINGS, _plain(settings))  # replaces settings of a run without a checkpoint
        return
    if not (folder / SETTINGS).exists():
        name = CHECKPOINT if (folder / CHECKPOINT).exists() else ENCODER_FOLDER
        raise InputError(f"out: expected {SETTINGS} next to {name} in {folder}, got none; choose another folder")
    found = _read_settings(folder, defaults)
    _compare(folder, _plain(settings), found, {*found, *settings})


def check_folder(folder: Path) -> None:
    """Raise InputError if a folder holds something else than a run.

    Hidden files, logs that a shell writes there, and lists of unusable files are not something else.

    Args:
        folder: of the run; the caller holds its lock.
    """
    if holds_run(folder) or _is_begun(folder):
        return
    allowed = (UNUSABLE_TRACKS, f"unlabeled-{UNUSABLE_TRACKS}")
    others = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.suffix not in _LOGS and path.name not in allowed
    )
    if others:
        raise InputError(
            f"out: expected an empty folder or that of a run, got {folder}, which holds {others[0]!r}; choose another "
            "folder"
        )


def _is_begun(folder: Path) -> bool:
    """Return whether a folder holds the settings of a run that left nothing else to resume."""
    try:
        return "steps" in _read_settings(folder, {})
    except InputError:
        return False


def verify_run(folder: Path) -> None:
    """Raise DamagedFile if a file of a complete run has changed since it was written."""
    advice = "restore it, or train again in another folder"
    verify_listed(folder, "out", advice)
    verify_listed(folder / ENCODER_FOLDER, "out", advice)
    if (folder / CHECKPOINT).exists():
        verify_checksum(folder / CHECKPOINT, "out", advice, required=False)
    if (folder / PROVENANCE).exists():
        _read_starts(folder / PROVENANCE)


def check_run_settings(folder: Path, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Raise InputError if a folder contains a run with other settings; hashes of the data are not compared.

    Args:
        folder: folder of the run; it need not exist.
        settings: settings of this call, from `settings_of`.
        defaults: values of options that did not exist when the run was started.
    """
    if holds_run(folder) and (folder / SETTINGS).exists():
        _compare(folder, _plain(settings), _read_settings(folder, defaults), set(settings))


def write_down(folder: Path, arguments: Mapping[str, Any]) -> None:
    """Save the arguments as a file for `--config`, and append to the provenance of the run.

    Raises:
        InputError: if the provenance file is damaged; nothing is written.
    """
    path = folder / PROVENANCE
    before = _read_starts(path) if path.exists() else []
    write_text(folder / CONFIG, yaml.safe_dump(_plain(arguments), sort_keys=False, allow_unicode=True))
    write_checked_json(path, {STARTS: [*before, provenance()]})


def _read_starts(path: Path) -> list[Any]:
    advice = "restore it, or delete it; only the list of earlier starts is lost"
    with reading("out", path, advice):
        before = json.loads(path.read_bytes().decode("utf-8"))
        if not isinstance(before, list):  # earlier versions wrote a list without a checksum
            content = read_checked_json(path, "out", advice)
            before = content[STARTS] if content.keys() == {STARTS} else None
        if not isinstance(before, list) or not all(isinstance(start, dict) for start in before):
            raise ValueError("expected a list of starts")
        return before


def save_encoder(encoder: Encoder, folder: Path) -> Path:
    """Write the checksum of the history, then the folder of the encoder atomically, and return its path."""
    temporary = folder / f".{ENCODER_FOLDER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    encoder.save_pretrained(temporary)
    for path in temporary.iterdir():
        path.chmod(folder.stat().st_mode & 0o666)  # safetensors makes its files readable by the owner only
    write_checksums(folder, [HISTORY])
    return temporary.rename(folder / ENCODER_FOLDER)


def _plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Convert settings to plain JSON data: tuples become lists, groups of options become dictionaries."""
    return json.loads(json.dumps(content, default=asdict))


def _read_settings(folder: Path, defaults: Mapping[str, Any]) -> dict[str, Any]:
    path = folder / SETTINGS
    return _plain(defaults) | read_checked_json(path, "out", "restore it, or choose another folder", required=False)


def _compare(folder: Path, settings: dict[str, Any], found: dict[str, Any], names: set[str]) -> None:
    """Raise InputError if the run in the folder has other settings."""
    differing = sorted(name for name in names - set(_DECIDED_BY_HASH) if found.get(name) != settings.get(name))
    if differing:
        changes = ", ".join(
            _HASHES.get(name, f"{name} was {found.get(name)!r}, is {settings.get(name)!r}") for name in differing
        )
        raise InputError(f"out: {folder} contains a run with other settings ({changes}); choose another folder")
