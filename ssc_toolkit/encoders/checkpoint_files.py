"""Reading of weights from checkpoint files without running code in them."""

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
"""Packages whose classes and functions can occur in checkpoints of PyTorch Lightning next to the weights."""

NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
)
"""Names of the functions and classes that pickled numbers and arrays of NumPy refer to."""

NESTING = ("state_dict", "model_state_dict", "model")
"""Keys under which training programs save the dictionary of the weights."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint file, tensors by name.

    Args:
        path: path of a checkpoint of PyTorch Lightning (`{"state_dict": ..., "epoch": ...}`), of a `state_dict`, of a
            dictionary that contains a `state_dict` under a key in `NESTING`, or of a safetensors file.

    Raises:
        InputError: if the file is missing or damaged, contains no weights, or if reading it could run code.
    """
    if not path.is_file():
        raise InputError(
            f"checkpoint: expected a file, got {'a folder' if path.is_dir() else 'a missing file'}: {path}"
        )
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    for name in NESTING:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    weights = {}
    if isinstance(content, Mapping):
        weights = {name: weight for name, weight in content.items() if isinstance(weight, Tensor)}
    if not weights:
        raise InputError(f"checkpoint: expected a state_dict or a Lightning checkpoint, got no weights in {path}")
    return {str(name): weight for name, weight in weights.items()}


def _is_safetensors(path: Path) -> bool:
    """Return whether a file has a safetensors header, or has the suffix and is neither a pickle nor a zip file."""
    with path.open("rb") as file:
        start = file.read(9)
    if len(start) == 9 and start[8:] == b"{" and struct.unpack("<Q", start[:8])[0] < path.stat().st_size:
        return True
    return path.suffix == ".safetensors" and not (start.startswith(b"\x80") or zipfile.is_zipfile(path))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"checkpoint: {path} is not a safetensors file, or it is damaged") from error


def _read_pickle(path: Path) -> Any:
    try:
        # Pass an open file, because torch.load chooses the format of a path by its suffix.
        with torch.serialization.safe_globals(_stand_ins(path)), path.open("rb") as file:
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # with damaged bytes, the unpickler can raise any exception
        if refused := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"checkpoint: {path} was not read, because it contains {refused[1]}. A file with more than tensors "
                "and plain settings can run code when it is read. If you trust its source, load it with "
                "torch.load(..., weights_only=False) in an isolated environment, and save only its "
                "state_dict with torch.save"
            ) from error
        advice = "; unpack the archive and pass the file in it" if path.suffix == ".zip" else ""
        raise InputError(
            f"checkpoint: {path} is not a file of weights and plain settings written by torch.save, or it is damaged"
            f"{advice}"
        ) from error


class _StandIn:
    """Empty class that replaces classes and functions that are pickled in a checkpoint next to the weights."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _stand_ins(path: Path) -> list[Any]:
    """Return replacements of classes and functions of PyTorch Lightning and NumPy that a checkpoint file refers to.

    The result is an argument of `torch.serialization.safe_globals`.

    Checkpoints of Lightning before 1.5 contain classes of callbacks. Those before 1.2.8 also contain a function for the
    arguments. Some checkpoints contain an `argparse.Namespace` or numbers of NumPy. None of these is needed to read the
    weights. An empty class replaces them, so that nothing is imported or called. All other names are rejected.
    """
    names = list(NUMPY)
    # This fails for files from before PyTorch 1.6 and for damaged files, which `torch.load` handles.
    with contextlib.suppress(Exception):
        found = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        names += [name for name in found if name.partition(".")[0] in LIGHTNING]
    return [(_StandIn, name) for name in names]
