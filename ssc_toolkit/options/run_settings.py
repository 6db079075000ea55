"""Settings of a training run, which are stored in its folder and compared with the options of a later call."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json
from ssc_toolkit.old_names import OPTIONS, with_new_names
from ssc_toolkit.options.batches import read_proportions
from ssc_toolkit.options.encoder import as_encoder
from ssc_toolkit.options.targets import plain_signals, plain_target

CHECKPOINT = "last.ckpt"
"""Name of the checkpoint in the folder of a run."""
BEST_CHECKPOINT = "best.ckpt"
"""Name of the checkpoint with the best value of the monitored measure."""
ENCODER_FOLDER = "encoder"
"""Name of the folder of the encoder in the folder of a complete run."""
SETTINGS = "settings.json"
"""Name of the file with the settings in the folder of a run."""
KEPT_FOLDER = "checkpoints"
"""Name of the folder of the kept checkpoints in the folder of a run."""
TRAINING = "training.json"
"""Name of the file in the folder of an encoder that states after which training step the encoder was saved."""
EXPORTED_FROM = "exported_from"
"""Key in this file that an exported encoder has. Its value is the name of the folder of the run."""
STEPS = "steps"
"""Name of the option that may change because a run can be made longer."""

_WITHOUT_EFFECT = (
    "out",
    STEPS,
    "checkpoint_every",
    "keep_checkpoints_every",
    "dry_run",
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
ENCODER_START = "encoder_start"
"""Name of the setting with the class, arguments and hash of a saved encoder that a run started from."""
FULL_BAND = "half the sample rate"
"""Value of the setting `encoder.max_hz` of a run of MelCNN without this option."""
_MAX_HZ = "encoder.max_hz"
_HASHES = {
    ENCODER_START: "the saved encoder that the run started from has changed",
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
    found = _settings({field.name: field.default for field in fields(kind) if field.default is not MISSING})
    return found | {name: None for name in found if name == _MAX_HZ}  # the default depends on the encoder


def trained_steps(folder: Path) -> int | None:
    """Return the number of steps for which the encoder in the folder of a run was trained.

    It is the option `steps` of the call that wrote the encoder. Return None if the folder contains no encoder, or no
    settings of a run.

    Raises:
        InputError: if the file with the number is damaged or missing.
    """
    path, advice = folder / ENCODER_FOLDER / TRAINING, "restore it, or train again in another folder"
    if not path.parent.is_dir() or not (folder / SETTINGS).exists():
        return None
    # Earlier versions wrote the number to the settings.
    content = read_checked_json(path, "out", advice) if path.exists() else read_settings(folder)
    if not isinstance(content.get(STEPS), int):
        raise InputError(f"out: expected the number of {STEPS} in {path}, got none; {advice}")
    return content[STEPS]


def kept_checkpoint(folder: Path, step: int) -> Path:
    """Return the path of the kept checkpoint of a step in the folder of a run. It need not exist."""
    return folder / KEPT_FOLDER / f"step-{step}.ckpt"


def kept_steps(folder: Path) -> list[int]:
    """Return the steps whose checkpoints are kept in the folder of a run, in ascending order."""
    found = (re.fullmatch(r"step-([1-9]\d{0,17})\.ckpt", path.name) for path in (folder / KEPT_FOLDER).glob("*.ckpt"))
    return sorted(int(name[1]) for name in found if name is not None)


def holds_run(folder: Path) -> bool:
    """Return whether a folder contains a training run that can be resumed or is complete."""
    return any((folder / name).exists() for name in (CHECKPOINT, ENCODER_FOLDER))


def read_settings(folder: Path, argument: str = "out") -> dict[str, Any]:
    """Return the settings by name of the training run in a folder.

    Args:
        folder: folder of the run.
        argument: name of the argument that gave the folder, for the error message.

    Raises:
        InputError: if the file with the settings is missing or damaged.
    """
    found = read_checked_json(folder / SETTINGS, argument, "restore it, or choose another folder", required=False)
    renamed = with_new_names(found, OPTIONS)
    if renamed.get("encoder", "MelCNN") == "MelCNN" and renamed.get(_MAX_HZ) is None:
        renamed[_MAX_HZ] = 5000.0  # the default of earlier versions
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
    names -= {STEPS}  # in the settings of earlier versions
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
    if "encoder" in values:  # a name is the same setting as the name without arguments
        encoder = asdict(as_encoder(values["encoder"]))
        flat["encoder"] = encoder.pop("name")
        del encoder["start_from"]  # the name has its value
        flat.pop("encoder.start_from", None)
        if encoder["layer_decay"] == 1:  # None and the default value are the same setting
            encoder["layer_decay"] = None
        encoder["frozen_steps"] = encoder["frozen_steps"] or None
        flat |= {f"encoder.{argument}": value for argument, value in encoder.items()}
        flat.pop("encoder.name", None)
        if flat["encoder"] == "MelCNN" and flat[_MAX_HZ] is None:
            flat[_MAX_HZ] = FULL_BAND
    if "unlabeled" in values:  # its tracks are decided by their hash
        flat["batches.proportions"] = read_proportions(values["unlabeled"])
    if "target" in values:  # arguments that are None are left out, so that later versions can have more of them
        for name in [name for name in flat if name.startswith("target.")]:
            del flat[name]
        flat |= {"target": plain_target(values["target"]), "signals": plain_signals(values["signals"])}
    if "optimizer" in values:  # None and the default value are the same setting
        flat["optimizer.warmup"] = values["optimizer"].warmup_fraction
    return {name: value for name, value in flat.items() if not name.startswith(_WITHOUT_EFFECT)}


def _is_decided_by_hash(name: str) -> bool:
    return name in _DECIDED_BY_HASH or name.startswith("unlabeled.")
