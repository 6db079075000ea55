"""Weights in checkpoint files of others, read without running anything in them."""

from __future__ import annotations

import contextlib
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssc_toolkit.errors import InputError

LIGHTNING = ("argparse", "lightning", "pytorch_lightning")
"""Packages whose classes and functions stand in the settings that Lightning saves beside the weights."""

NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
)
"""What stands for a number or an array of NumPy, such as a metric beside the weights."""

NESTING = ("state_dict", "model_state_dict", "model")
"""Entries under which training programs keep the weights."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file by name.

    Args:
        path: of what PyTorch Lightning saved (`{"state_dict": ..., "epoch": ...}`), a plain `state_dict` or one under
            another of the names in `NESTING`, or safetensors.

    Raises:
        InputError: if the file is missing or damaged, holds no weights, or if reading it could run code.
    """
    if not path.is_file():
        raise InputError(f"checkpoint: {path} is {'a folder' if path.is_dir() else 'not there'}; expected a file")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    for name in NESTING:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    weights = {}
    if isinstance(content, Mapping):
        weights = {name: weight for name, weight in content.items() if isinstance(weight, Tensor)}
    if not weights:
        raise InputError(f"checkpoint: {path} holds no weights; expected a state_dict or a Lightning checkpoint")
    return {str(name): weight for name, weight in weights.items()}


def _is_safetensors(path: Path) -> bool:
    """By the file's beginning, the length of a JSON header and its brace; by its name if it begins like no other."""
    with path.open("rb") as file:
        start = file.read(9)
    if len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] < path.stat().st_size:
        return True
    return path.suffix == ".safetensors" and not (start.startswith(b"\x80") or zipfile.is_zipfile(path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"checkpoint: {path} is no safetensors file, or it is damaged") from error


def _read_pickle(path: Path) -> Any:
    try:
        # An open file, for of a path torch.load believes the suffix.
        with torch.serialization.safe_globals(_stand_ins(path)), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes can make the unpickler raise anything
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"checkpoint: {path} was not read, because it names {refused[1]}: a file that names more than tensors "
                "and plain settings can run code when it is read. If you trust where it comes from, load it with "
                "torch.load(..., weights_only=False) in an environment that you can throw away, and save its "
                "state_dict alone with torch.save"
            ) from error
        advice = "; unpack the archive and give the file in it" if path.suffix == ".zip" else ""
        raise InputError(
            f"checkpoint: {path} is no file of weights and plain settings that torch.save wrote, or it is damaged"
            f"{advice}"
        ) from error


class _StandIn:
    """Takes the place of a class or function of others in what lies beside the weights; does nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _stand_ins(path: Path) -> list[Any]:
    """What to read instead of classes of Lightning and NumPy, for `torch.serialization.safe_globals`.

    Checkpoints of Lightning before 1.5 name classes of callbacks, those before 1.2.8 a function for the
    arguments, and some hold an `argparse.Namespace`, or numbers of NumPy. None is needed here. The names are
    answered with an inert class of ours, so that nothing is imported and nothing of theirs can be called:
    safer than to allow the real ones. All other names stay refused.
    """
    names = list(NUMPY)
    # Not to be found in files before PyTorch 1.6, and in damaged ones, which `torch.load` judges.
    with contextlib.suppress(Exception):
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        names += [name for name in found if name.partition(".")[0] in LIGHTNING]
    return [(_StandIn, name) for name in names]
