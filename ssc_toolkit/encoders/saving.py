"""Reading and writing of saved encoders: folders with constructor arguments and weights."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import HFValidationError, validate_repo_id
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model
from torch import Tensor, nn

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import CHECKSUMS, reading, verify_listed
from ssc_toolkit.paths import user_path

CONFIG, WEIGHTS = "config.json", "model.safetensors"
"""Names of the files of a saved encoder."""

_ADVICE = f"copy the folder again, or delete {CHECKSUMS} in it if you changed the file on purpose"

ENCODER_CLASS_KEY = "encoder_class"
"""Key in `config.json` whose value is the name of the class of the encoder."""
READOUT_KEY = "readout"
"""Key in `config.json` whose value is the default readout, if it is not that of a new encoder."""


def find_saved_folder(name: Any, **download: Any) -> Path:
    """Return the folder of a saved encoder. If it does not exist, download the model from the Hugging Face Hub.

    Args:
        name: path of a folder, or name of a model on the Hub.
        download: options of `huggingface_hub.snapshot_download`.

    Raises:
        TypeError: if the name is neither a string nor a path.
        InputError: if the model cannot be downloaded.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"encoder: expected the path of a folder, got {name!r}")
    folder = user_path(name)
    return folder if folder.exists() or not _may_be_on_the_hub(name) else download_folder(name, **download)


def download_folder(name: Any, **download: Any) -> Path:
    """Download a saved encoder from the Hugging Face Hub, and return its folder in the cache.

    Args:
        name: name of a model on the Hub.
        download: options of `huggingface_hub.snapshot_download`.

    Raises:
        InputError: if the model cannot be downloaded.
    """
    try:
        return Path(snapshot_download(str(name), allow_patterns=[CONFIG, WEIGHTS, CHECKSUMS], **download))
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(
            f"encoder: expected a folder or a model on the Hugging Face Hub, got {name}: {_line(error)}"
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a saved encoder from `config.json` in its folder.

    Raises:
        InputError: if the folder contains no encoder, or the file is damaged or does not name a class.
    """
    path = folder / CONFIG
    if not path.is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(
            f"encoder: expected the folder of a saved encoder, with {CONFIG} and {WEIGHTS}, got {folder}; "
            "pass the 'encoder' folder that pretraining wrote"
        )
    verify(path)
    with reading("encoder", path, _ADVICE):
        config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict) or not isinstance(config.get(ENCODER_CLASS_KEY), str):
        raise InputError(
            f"encoder: expected the key {ENCODER_CLASS_KEY!r} with the name of a class in {path}, got none"
        )
    return config


def verify(path: Path) -> None:
    """Check a file of a saved encoder against its checksum.

    Encoders of earlier versions have no checksums and are loaded without this check.

    Args:
        path: `config.json` or `model.safetensors` in the folder of an encoder.

    Raises:
        InputError: if the file was changed after saving.
    """
    verify_listed(path.parent, "encoder", _ADVICE, [path.name])


def fill(encoder: nn.Module, folder: Path, device: Any, strict: bool) -> None:
    """Load the weights in the folder of a saved encoder into an encoder, in their saved dtypes.

    Args:
        encoder: encoder into which the weights are loaded. It is moved to `device`.
        folder: folder with `model.safetensors`.
        device: device of the encoder.
        strict: whether missing or unexpected weights raise an error.

    Raises:
        InputError: if the weights contain NaN or infinity, or belong to another model.
    """
    encoder.to(device)
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
            f"encoder: the weights in {folder} do not match this {type(encoder).__name__}: {_line(error)}"
        ) from error
    if infinite := name_of_infinite(encoder.state_dict()):
        raise InputError(f"encoder: expected finite weights in {folder}, got NaN or infinity in {infinite}")


def check_shapes(encoder: nn.Module, folder: Path, strict: bool) -> None:
    """Compare the shapes of the weights of an encoder, which may be on the meta device, with those of saved weights.

    Args:
        encoder: encoder that the arguments in `config.json` give.
        folder: folder with `model.safetensors`.
        strict: whether missing weights raise an error.

    Raises:
        InputError: if the weights are damaged or belong to another model.
    """
    expected = {name: tuple(weight.shape) for name, weight in encoder.state_dict().items()}
    mismatch = f"encoder: the weights in {folder} do not match this {type(encoder).__name__}"
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            found = {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{mismatch}: {_line(error)}") from error
    problems = [
        f"{name}: expected {shape}, got {found.get(name, 'none')}"
        for name, shape in expected.items()
        if (name in found or strict) and found.get(name) != shape
    ]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise InputError(f"{mismatch}: {problems[0]}{more}")


def name_of_infinite(weights: Mapping[str, Tensor]) -> str | None:
    """Return the name of the first tensor that contains NaN or infinity, or None if no tensor does."""
    return next((name for name, value in weights.items() if not value.isfinite().all()), None)


def make_config_error(name: str, folder: Path, error: Exception) -> InputError:
    """Return the InputError for the case that the class `name` raised `error` for the configuration in `folder`."""
    return InputError(f"encoder: expected valid arguments of {name} in {folder / CONFIG}, got an error: {_line(error)}")


def _may_be_on_the_hub(name: str | os.PathLike[str]) -> bool:
    try:
        validate_repo_id(os.fspath(name))
    except HFValidationError:
        return False
    return isinstance(name, str)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
