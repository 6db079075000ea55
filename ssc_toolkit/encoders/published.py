"""Weights that CLMR and SemiSupCon published."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.sample_cnn import SampleCNN
from ssc_toolkit.errors import InputError

logger = logging.getLogger(__name__)

WRAPPERS = frozenset({"_orig_mod", "encoder", "model", "module", "semisupcon"})
"""Modules that hold the encoder: Lightning modules, SimCLR, (Distributed)DataParallel, torch.compile."""

HEADS = frozenset(
    {
        *("classifier", "fc", "finetuner", "head", "heads", "supervised_head"),
        *("proj_head", "projection_head", "projector"),
        *("accuracy", "augment", "average_precision", "criterion", "loss", "loss_fn", "roc"),
    }
)
"""Modules beside the encoder's layers that its embeddings do not depend on."""

LIGHTNING = ("argparse", "lightning", "pytorch_lightning")
"""Packages whose classes and functions stand in the settings that Lightning saves beside the weights."""

NUMPY = (
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
)
"""What stands for a number or an array of NumPy, such as a metric beside the weights."""

TUNE_PLUS = (
    (re.compile(r"^conv([1-5])\.layers\."), "down", 1),
    (re.compile(r"^transposedConv([6-9])\."), "upsample", 6),
    (re.compile(r"^conv([6-9])\.layers\."), "up", 6),
    (re.compile(r"^convDown([1-4])\.layers\."), "tail", 1),
    (re.compile(r"^convDown([5-8])\.layers\."), "extra", 5),
)
"""Layers of TUNe+ by their published names, our name for their list, and the published number of its first."""

_SHOWN = 3


def load_published(path: str | Path, encoder: Encoder | None = None) -> Encoder:
    """Load an encoder from a checkpoint of CLMR or SemiSupCon; in eval mode.

    Reads what PyTorch Lightning saved (`{"state_dict": ..., "epoch": ...}`), a plain `state_dict`, and
    safetensors. The encoder's weights may lie under `encoder.`, `model.encoder.`, `semisupcon.encoder.`,
    `module.` and the like; projectors and classifiers beside it are left out, which the log tells.
    No code in the file is run. A model that `ContrastiveModel` or `SemiSupConModule` saved loads as well.

    Args:
        path: of the file, unpacked if it was downloaded as a zip archive.
        encoder: the instance to fill, such as `TUNePlus()`; `SampleCNN()`, at 22 050 Hz, if None. It stays as it is
            if the weights are not its own.

    Raises:
        TypeError: if `path` is no path, or `encoder` no instance.
        InputError: if the file cannot be read, if reading it could run code, or if weights are missing,
            surplus, of another shape or there twice; the first of them are named.

    References:
        Spijkervet and Burgoyne, "Contrastive Learning of Musical Representations", ISMIR 2021,
        github.com/Spijkervet/CLMR; Guinot, Quinton and Fazekas, "Semi-Supervised Contrastive Learning of
        Musical Representations", ISMIR 2024, github.com/Pliploop/SemiSupCon.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
        >>> trained = SampleCNN()
        >>> torch.save({f"encoder.{name}": weight for name, weight in trained.state_dict().items()}, path)
        >>> torch.equal(load_published(path).sequential[0][0].weight, trained.sequential[0][0].weight)
        True
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected the path of a file, got {path!r}")
    path = Path(path)
    encoder = SampleCNN() if encoder is None else encoder
    if not isinstance(encoder, Encoder):
        raise TypeError(f"encoder: expected an instance, as SampleCNN() is, got {encoder!r}")
    own = encoder.state_dict()
    found = _sort(path, _read(path), own)
    if problems := _problems(found, own):
        raise InputError(
            f"checkpoint: {path} does not hold the weights of this {type(encoder).__name__}: "
            f"{'; '.join(problems)} (an encoder of another class is given as `encoder`)"
        )
    if found.heads:
        logger.info("%s: left out beside the encoder: %s", path, ", ".join(found.heads))
    encoder.load_state_dict(found.weights)
    return encoder.eval()


class _Found(NamedTuple):
    """What a checkpoint holds, seen from the encoder.

    Attributes:
        weights: by the encoder's own names.
        heads: modules that are left out.
        surplus: names of weights that are neither.
    """

    weights: dict[str, Tensor]
    heads: list[str]
    surplus: list[str]


def _sort(path: Path, checkpoint: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> _Found:
    """Part the encoder's weights from the rest.

    CLMR registers its encoder twice, as `encoder` and as `model.encoder`, so that the same weights may
    come under several prefixes.
    """
    copies: dict[str, dict[str, Tensor]] = {}
    heads: dict[str, None] = {}
    surplus = []
    for name, weight in checkpoint.items():
        prefix, rest = _strip(name, own)
        if rest in own:
            copies.setdefault(prefix, {})[rest] = weight
        # A bare number is a layer of a classifier that is an `nn.Sequential`, as in CLMR's linear evaluation.
        elif (top := rest.partition(".")[0]) in HEADS or top.isdecimal():
            heads[f"{prefix}{top}"] = None
        else:
            surplus.append(name)
    best = max(copies, key=lambda prefix: len(copies[prefix]), default="")
    weights = copies.pop(best, {})
    for prefix, copy in copies.items():
        differing = [name for name, weight in copy.items() if name not in weights or not _same(weight, weights[name])]
        if differing:
            raise InputError(
                f"checkpoint: {path} holds two encoders, at '{best}' and at '{prefix}', that differ in "
                f"{_first(differing)}; save the state_dict of one of them alone"
            )
    return _Found(weights, list(heads), surplus)


def _strip(name: str, own: Mapping[str, Tensor]) -> tuple[str, str]:
    """Prefix and rest of a name: wrappers are stripped until the rest is the encoder's or no wrapper is left."""
    rest = name
    while rest not in own and _renamed(rest) not in own:
        top, _, below = rest.partition(".")
        if top not in WRAPPERS or not below:
            break
        rest = below
    return name[: len(name) - len(rest)], rest if rest in own or _renamed(rest) not in own else _renamed(rest)


def _renamed(name: str) -> str:
    """Our name of a layer of TUNe+."""
    for pattern, own, first in TUNE_PLUS:
        if found := pattern.match(name):
            return f"{own}.{int(found[1]) - first}.{name[found.end() :]}"
    return re.sub(r"^convDown9\.layers\.", "last.", name)


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def _problems(found: _Found, own: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in own if name not in found.weights]
    misshapen = [
        f"{name} is {tuple(weight.shape)} instead of {tuple(own[name].shape)}"
        for name, weight in found.weights.items()
        if weight.shape != own[name].shape
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(own)} missing ({_first(missing)})")
    if found.surplus:
        problems.append(f"{len(found.surplus)} surplus ({_first(found.surplus)})")
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape ({_first(misshapen)})")
    return problems


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"checkpoint: {path} is {'a folder' if path.is_dir() else 'not there'}; expected a file")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
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
        cure = "; unpack the archive and give the file in it" if path.suffix == ".zip" else ""
        raise InputError(
            f"checkpoint: {path} is no file of weights and plain settings that torch.save wrote, or it is damaged{cure}"
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
