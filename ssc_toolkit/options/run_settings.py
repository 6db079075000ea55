"""Settings of a training run, which are stored in its folder and compared with the options of a later call."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json
from ssc_toolkit.old_names import OPTIONS, with_new_names

CHECKPOINT = "last.ckpt"
"""Name of the checkpoint in the folder of a run."""
BEST_CHECKPOINT = "best.ckpt"
"""Name of the checkpoint with the best value of the monitored measure."""
ENCODER_FOLDER = "encoder"
"""Name of the folder of the encoder in the folder of a complete run."""
SETTINGS = "settings.json"
"""Name of the file with the settings in the folder of a run."""

_WITHOUT_EFFECT = (
    "out",
    "checkpoint_every",
    "max_unusable",
    "workers",
    "title",
    "logs.",
    "validation.",
    "trainer.accelerator",
    "trainer.strategy",
)
"""Names of options that may change when a run is resumed. A name that ends with a dot means a group of options."""
_DECIDED_BY_HASH = ("tracks", "root", "variant", "unlabeled", "unlabeled_root", "unlabeled_variant")
"""Names of options that may change when a run is resumed, if hashes of tracks and labels are the same."""
_HASHES = {
    "tracks_hash": "the tracks or their labels have changed",
    "unlabeled_hash": "the unlabeled tracks have changed",
}


class RunOptions(Protocol):
    """Protocol of the options of a training run, such as `PretrainOptions`."""

    @property
    def label_columns(self) -> tuple[str, ...]: ...


def select_settings(options: RunOptions) -> dict[str, Any]:
    """Return those options of a run that determine its results, by name. Options of groups are named `group.option`."""
    columns = options.label_columns
    return _settings(vars(options) | {"labels": columns[0] if len(columns) == 1 else columns or None})


def default_settings(kind: type) -> dict[str, Any]:
    """Return the default values of the options in the class `kind`, by name.

    They are used for options that a run of an earlier version of this library lacks.
    """
    return _settings({field.name: field.default for field in fields(kind) if field.default is not MISSING})


def holds_run(folder: Path) -> bool:
    """Return whether a folder contains a training run that can be resumed or is complete."""
    return any((folder / name).exists() for name in (CHECKPOINT, ENCODER_FOLDER))


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings by name of the training run in a folder.

    Raises:
        InputError: if the file with the settings is missing or damaged.
    """
    found = read_checked_json(folder / SETTINGS, "out", "restore it, or choose another folder", required=False)
    renamed = with_new_names(found, OPTIONS)
    # Earlier versions stored the label column of the validation, which does not determine the weights.
    return {name: value for name, value in renamed.items() if not name.startswith("validation.")}


def check_run_settings(folder: Path, options: RunOptions, identity: Mapping[str, Any] | None = None) -> None:
    """Raise InputError if a folder contains a training run with other settings.

    Args:
        folder: folder of the run. It need not exist.
        options: options that the settings are compared with.
        identity: hashes of the data and the version of this library; None if the data are not loaded yet.
    """
    if not holds_run(folder):
        return
    if not (folder / SETTINGS).exists():
        name = CHECKPOINT if (folder / CHECKPOINT).exists() else ENCODER_FOLDER
        raise InputError(f"out: expected {SETTINGS} next to {name} in {folder}, got none; choose another folder")
    own = to_plain(select_settings(options) | dict(identity or {}))
    found = to_plain(default_settings(type(options))) | read_settings(folder)
    names = own.keys() | (found.keys() if identity is not None else set())
    differing = sorted(name for name in names if not _is_decided_by_hash(name) and found.get(name) != own.get(name))
    if differing:
        changes = ", ".join(
            _HASHES.get(name, f"{name} was {found.get(name)!r}, is {own.get(name)!r}") for name in differing
        )
        raise InputError(f"out: {folder} contains a run with other settings ({changes}); choose another folder")


def to_plain(content: Mapping[str, Any]) -> dict[str, Any]:
    """Convert options to data that JSON can represent, with tuples as lists and groups of options as dictionaries."""
    return json.loads(json.dumps(content, default=asdict))


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if is_dataclass(value) and not isinstance(value, type):
            flat |= {f"{name}.{option}": setting for option, setting in asdict(value).items()}
        else:
            flat[name] = value
    return {name: value for name, value in flat.items() if not name.startswith(_WITHOUT_EFFECT)}


def _is_decided_by_hash(name: str) -> bool:
    return name in _DECIDED_BY_HASH or name.startswith("unlabeled.")
