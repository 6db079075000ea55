"""Folders that hold a saved encoder: its constructor's arguments and its weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import HFValidationError, validate_repo_id
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import nn

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import CHECKSUMS, reading, verify_listed

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Files of a saved encoder."""

_ADVICE = f"copy the folder again, or delete {CHECKSUMS} in it if you changed the file on purpose"

CLASS_KEY = "encoder_class"
"""Key of the saved configuration that names the encoder's class."""


def saved_folder(name: Any, **download: Any) -> Path:
    """A folder as it is, or that into which a model of the hub is downloaded.

    Args:
        name: path, or name on the hub.
        download: options of `huggingface_hub.snapshot_download`.

    Raises:
        TypeError: if the name is neither text nor a path.
        InputError: if there is no such folder, and no such model on the hub.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"encoder: expected the path of a folder, got {name!r}")
    folder = Path(name)
    if folder.exists() or not _may_be_on_the_hub(name):
        return folder
    try:
        return Path(snapshot_download(str(name), allow_patterns=[CONFIG, WEIGHTS, CHECKSUMS], **download))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(f"encoder: {name} is no folder here, and the hub did not give it: {_line(error)}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says.

    Raises:
        InputError: if the folder holds no encoder, or the file is damaged or names no class.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(
            f"encoder: {folder} is no saved encoder (no {CONFIG} with {WEIGHTS}); "
            "give the 'encoder' folder that pretraining wrote"
        )
    verify(path)
    with reading("encoder", path, _ADVICE):
        config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get(CLASS_KEY), str):
        raise InputError(f"encoder: {path} does not name an encoder class ({CLASS_KEY!r})")
    return config


def verify(path: Path) -> None:
    """Raise InputError if a file of a saved encoder differs from what was saved.

    Encoders of earlier versions have no checksums and are loaded without this check.

    Args:
        path: `config.json` or `model.safetensors` in the folder of an encoder.
    """
    verify_listed(path.parent, "encoder", _ADVICE, [path.name])


def fill(encoder: nn.Module, folder: Path, device: Any, strict: bool) -> None:
    """Give an encoder the weights of a folder, in the dtypes that they were saved in.

    Raises:
        InputError: if they are damaged, or those of another model.
    """
    encoder.to(device)
    verify(folder / WEIGHTS)
    own = encoder.state_dict(keep_vars=True)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            for name in own.keys() & set(weights.keys()):
                dtype = weights.get_tensor(name).dtype
                if own[name].is_floating_point() and dtype.is_floating_point:
                    own[name].data = own[name].data.to(dtype)
        load_model(encoder, folder / WEIGHTS, strict=strict, device=device)
    except (RuntimeError, SafetensorError) as error:
        raise InputError(
            f"encoder: the weights in {folder} are not those of this {type(encoder).__name__}: {_line(error)}"
        ) from error


def not_made(name: str, folder: Path, error: Exception) -> InputError:
    """The error of a configuration that the class refuses."""
    return InputError(f"encoder: no {name} can be made from {folder / CONFIG}: {_line(error)}")


def _may_be_on_the_hub(name: str | os.PathLike[str]) -> bool:
    try:
        validate_repo_id(os.fspath(name))
    except HFValidationError:
        return False
    return isinstance(name, str)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
