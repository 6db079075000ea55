"""Loading of published checkpoints of CLMR, SemiSupCon and the short-chunk CNN, and of musiCNN by name."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.checkpoint_files import read_weights
from ssc_toolkit.encoders.musicnn_files import MODELS, load_musicnn
from ssc_toolkit.encoders.projector import ContrastiveModel, DenseProjector, Projector
from ssc_toolkit.encoders.published_names import (
    DENSE,
    FRONT_END,
    KNOWN,
    PROJECTOR_NAMES,
    PUBLISHED_HEADS,
    WRAPPERS,
    find_architecture,
    is_stored,
    translate_name,
)
from ssc_toolkit.encoders.sample_cnn import SampleCNN
from ssc_toolkit.encoders.saving import name_of_infinite
from ssc_toolkit.encoders.short_chunk_cnn import ShortChunkCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.paths import user_path

logger = logging.getLogger(__name__)

_SHOWN = 3


def load_published(path: str | Path, encoder: Encoder | None = None, *, package: str | Path | None = None) -> Encoder:
    """Load a published encoder in eval mode: from a checkpoint file, or musiCNN by the name of the model.

    A checkpoint is one of CLMR, SemiSupCon or sota-music-tagging-models. "MTT_musicnn" and "MSD_musicnn" give a
    `MusiCNN` with the weights in the Python package `musicnn`, which is neither imported nor required otherwise.

    The file can be a checkpoint of PyTorch Lightning (`{"state_dict": ..., "epoch": ...}`), a `state_dict`, or a
    safetensors file. Names of the weights can have prefixes such as `encoder.`, `model.encoder.`,
    `semisupcon.encoder.` or `module.`. The weights of projectors and classifiers are ignored, and the names of these
    modules are logged; `load_published_model` loads the projector as well. No code in the file is run. Checkpoints of
    `ContrastiveModel` and `SemiSupConModule` can be loaded as well.

    The names and shapes of the weights determine the architecture. The known architectures are `SampleCNN`,
    `SampleCNNXL`, `TUNePlus` of any width, and `ShortChunkCNN` of any width, with or without `residual` (the published
    `ShortChunkCNN_Res`). The embedding of `ShortChunkCNN` is the maximum over time, before the dense layers of the
    published network.

    Args:
        path: path of the file. Unpack the file first if it was downloaded as a zip archive. If there is no such file,
            it can be the name "MTT_musicnn" or "MSD_musicnn".
        encoder: instance into which the weights are loaded, for another architecture or sample rate. It is not changed
            if the weights do not match. If None, a new instance of the detected architecture is created, at 22 050 Hz
            (`ShortChunkCNN`: 16 000 Hz).
        package: for "MTT_musicnn" and "MSD_musicnn", the wheel of `musicnn` 0.1.0, or a folder with the files of the
            package. If None, the installed package is used.

    Returns:
        The encoder.

    Raises:
        TypeError: if `path` is not a path, or `encoder` is not an instance of `Encoder`.
        InputError: if the file cannot be read, or reading it could run code; if weights are missing, unexpected, of
            another shape, NaN or infinite; if the file contains two different encoders; or if it contains a mel
            filterbank or a window that differs from that of the encoder; if the package of a model is not installed
            or is damaged; or if an argument does not apply.

    References:
        Spijkervet and Burgoyne, "Contrastive Learning of Musical Representations", ISMIR 2021,
        github.com/Spijkervet/CLMR; Guinot, Quinton and Fazekas, "Semi-Supervised Contrastive Learning of
        Musical Representations", ISMIR 2024, github.com/Pliploop/SemiSupCon; Won, Ferraro, Bogdanov and Serra,
        "Evaluation of CNN-based automatic music tagging models", SMC 2020,
        github.com/minzwon/sota-music-tagging-models; for musiCNN, see `MusiCNN`.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
        >>> trained = SampleCNN()
        >>> torch.save({f"encoder.{name}": weight for name, weight in trained.state_dict().items()}, path)
        >>> torch.equal(load_published(path).sequential[0][0].weight, trained.sequential[0][0].weight)
        True
    """
    if is_published_name(path):
        if encoder is not None:
            raise InputError(f"encoder: expected None with the name of a model, {path}, got {type(encoder).__name__}")
        return load_musicnn(str(path), package)
    if package is not None:
        raise InputError(f"package: expected None with a checkpoint, got {package}; it applies to {', '.join(MODELS)}")
    encoder, found = _find(path, encoder)
    if found.heads:
        has_projector = any(name.rpartition(".")[2] in PROJECTOR_NAMES for name in found.heads)
        hint = "; load_published_model loads the projector as well" if has_projector else ""
        logger.info("%s: ignored next to the encoder: %s%s", path, ", ".join(found.heads), hint)
    encoder.load_state_dict(found.weights)
    return encoder.eval()


def load_published_model(path: str | Path, encoder: Encoder | None = None) -> ContrastiveModel:
    """Load an encoder and its projector from a checkpoint, in eval mode.

    The encoder is the same as that of `load_published`. The projector must have the form used in SimCLR, CLMR and
    SemiSupCon: linear layers, with or without bias, and ReLU between them. `ShortChunkCNN_Res` of CLMR has a dense
    layer, batch norm and ReLU after its maximum over time. These become the first three layers of the projector, so
    that projections equal those of CLMR.

    Args:
        path: as for `load_published`.
        encoder: as for `load_published`.

    Returns:
        The model that contains the encoder and the projector.

    Raises:
        TypeError: as for `load_published`.
        InputError: as for `load_published`, or if there is no projector, or a projector of another form.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
        >>> trained = ContrastiveModel(SampleCNN()).eval()
        >>> torch.save(trained.state_dict(), path)
        >>> waveforms = torch.randn(2, 1, 59049)
        >>> torch.equal(load_published_model(path)(waveforms).projection, trained(waveforms).projection)
        True
    """
    if is_published_name(path):
        raise InputError(
            f"path: expected a checkpoint with a projector, got {path}, which has none; use load_published"
        )
    encoder, found = _find(path, encoder)
    projector = _projector(path, found, encoder)
    encoder.load_state_dict(found.weights)
    return ContrastiveModel(encoder, projector).eval()


def is_published_name(path: str | Path) -> bool:
    """Return whether a path is the name of a published model, and not that of an existing file or folder.

    Examples:
        >>> is_published_name("MTT_musicnn"), is_published_name("best.ckpt")
        (True, False)
    """
    return isinstance(path, str) and path in MODELS and not Path(path).exists()


class _Found(NamedTuple):
    """Weights of a checkpoint, sorted by their use for an encoder.

    Attributes:
        weights: weights of the encoder, by their names in the encoder.
        prefix: prefix of the names of these weights in the file.
        heads: weights of modules that are not part of the encoder, such as projectors, by the name of the module.
        surplus: names of weights that belong neither to the encoder nor to a known module.
    """

    weights: dict[str, Tensor]
    prefix: str
    heads: dict[str, dict[str, Tensor]]
    surplus: list[str]


def _find(path: str | Path, encoder: Encoder | None) -> tuple[Encoder, _Found]:
    """Return the encoder into which a checkpoint is loaded, and the weights of the checkpoint.

    Raises:
        TypeError: as for `load_published`.
        InputError: as for `load_published`.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected the path of a file, got {path!r}")
    if encoder is not None and not isinstance(encoder, Encoder):
        raise TypeError(f"encoder: expected an instance such as SampleCNN(), got {encoder!r}")
    path = user_path(path)
    checkpoint = read_weights(path)
    encoder = encoder or find_architecture(checkpoint) or SampleCNN()
    found = _sort(path, checkpoint, encoder)
    if problems := _problems(found, encoder.state_dict()):
        raise InputError(
            f"checkpoint: {path} does not contain the weights of this {type(encoder).__name__}: {'; '.join(problems)} "
            f"(known architectures: {KNOWN}; pass any other encoder as `encoder`)"
        )
    if name := name_of_infinite(found.weights):
        raise InputError(f"checkpoint: expected finite weights in {path}, got NaN or infinity in {name}")
    return encoder, found


def _sort(path: Path, checkpoint: Mapping[str, Tensor], encoder: Encoder) -> _Found:
    """Separate the weights of the encoder in a checkpoint from the other weights.

    CLMR registers its encoder twice, as `encoder` and as `model.encoder`, so that the same weights can have several
    prefixes.
    """
    own = encoder.state_dict()
    is_short_chunk = isinstance(encoder, ShortChunkCNN)
    left_out = PUBLISHED_HEADS | DENSE if is_short_chunk else PUBLISHED_HEADS
    copies: dict[str, dict[str, Tensor]] = {}
    heads: dict[str, dict[str, Tensor]] = {}
    surplus = []
    for name, weight in checkpoint.items():
        prefix, rest = _strip(name, own)
        top, _, below = rest.partition(".")
        if rest in own:
            copies.setdefault(prefix, {})[rest] = weight
        elif is_short_chunk and (buffer := FRONT_END.match(rest)):
            _check_front_end(path, encoder, buffer[1] or buffer[2], weight)
        # A number is the name of a layer of an `nn.Sequential`, here a classifier as in the linear evaluation of CLMR.
        elif top in left_out or top.isdecimal():
            heads.setdefault(f"{prefix}{top}", {})[below] = weight
        else:
            surplus.append(name)
    best = max(copies, key=lambda prefix: len(copies[prefix]), default="")
    weights = copies.pop(best, {})
    for prefix, copy in copies.items():
        differing = [name for name, weight in copy.items() if name not in weights or not _same(weight, weights[name])]
        if differing:
            raise InputError(
                f"checkpoint: expected one encoder in {path}, got two, at '{best}' and at '{prefix}', that differ in "
                f"{_first(differing)}; save the state_dict of only one of them"
            )
    if is_short_chunk:  # window and filterbank are computed and may be missing in the file
        weights = {name: value for name, value in own.items() if name.startswith("log_mel.")} | weights
    return _Found(weights, best, heads, surplus)


def _strip(name: str, own: Mapping[str, Tensor]) -> tuple[str, str]:
    """Split the name of a weight into prefixes such as "model.encoder." and the rest.

    The rest is the name of a weight in `own`, the weights of the encoder, if possible.
    """
    rest = name
    while rest not in own and translate_name(rest) not in own:
        top, _, below = rest.partition(".")
        if top not in WRAPPERS or not below:
            break
        rest = below
    return name[: len(name) - len(rest)], rest if rest in own or translate_name(rest) not in own else translate_name(
        rest
    )


def _check_front_end(path: Path, encoder: Encoder, buffer: str, value: Tensor) -> None:
    """Raise InputError if the window or mel filterbank of a checkpoint differs from that of the encoder.

    `buffer` is the name of the window or filterbank in the checkpoint, and `value` is its content.
    """
    log_mel = encoder.get_submodule("log_mel")
    own = log_mel.get_buffer("window" if buffer == "window" else "bands")
    if not value.numel():  # old versions of torchaudio saved an empty window
        return
    used = value[: len(own)].float() if value.dim() == own.dim() else value
    fits = used.shape == own.shape and not value[len(own) :].any()
    if not fits or not torch.allclose(used, own, atol=1e-4):
        kind = "window" if buffer == "window" else "mel filterbank"
        detail = f"largest difference {(used - own).abs().max():.2g}" if fits else f"its shape is {tuple(value.shape)}"
        own_kind = f"{type(encoder).__name__} at {encoder.sample_rate} Hz"
        raise InputError(
            f"checkpoint: {path} has a {kind} that differs from that of {own_kind} ({detail}); pass a "
            "ShortChunkCNN with the sample rate used in training as `encoder`"
        )


def _projector(path: str | Path, found: _Found, encoder: Encoder) -> Projector:
    """Create the projector of a checkpoint. It begins with the dense layer of CLMR if the checkpoint has one."""
    heads = {name: head for name, head in found.heads.items() if name.rpartition(".")[2] in PROJECTOR_NAMES}
    if not heads:
        raise InputError(
            f"checkpoint: expected a projector named {', '.join(sorted(PROJECTOR_NAMES))} in {path}, got none; "
            "use load_published to load only the encoder"
        )
    (name, weights), *others = heads.items()
    for other, copy in others:
        if copy.keys() != weights.keys() or not all(_same(copy[key], weights[key]) for key in copy):
            raise InputError(f"checkpoint: expected one projector in {path}, got two that differ, {name} and {other}")
    projector = _made_projector(weights)
    if projector is None:
        raise InputError(
            f"checkpoint: expected linear layers with ReLU between them in {name} of {path}, "
            f"got {_first(list(weights))}"
        )
    dense, norm, classifier = (found.heads.get(f"{found.prefix}{part}") for part in ("dense1", "bn", "dense2"))
    # If the network has a classifier, the dense layers belong to the classifier.
    if dense and norm and not classifier:
        layers = nn.Linear(encoder.embedding_dim, projector.input_dim), nn.BatchNorm1d(projector.input_dim)
        if not all(_fill(layer, values) for layer, values in zip(layers, (dense, norm), strict=True)):
            raise InputError(f"checkpoint: {path}: {found.prefix}dense1 and {found.prefix}bn do not match {name}")
        return DenseProjector(*layers, projector)
    if projector.input_dim != encoder.embedding_dim:
        raise InputError(
            f"checkpoint: expected {name} in {path} to have {encoder.embedding_dim} inputs, the width of the encoder, "
            f"got {projector.input_dim}"
        )
    return projector


def _made_projector(weights: Mapping[str, Tensor]) -> Projector | None:
    """Create a projector with these weights, or return None if they are not the weights of a projector."""
    matrices = {
        int(found[1]): weight
        for name, weight in weights.items()
        if (found := re.fullmatch(r"(\d+)\.weight", name)) and weight.dim() == 2
    }
    if not matrices or not all(map(is_stored, matrices.values())):
        return None
    first, last = matrices[min(matrices)], matrices[max(matrices)]
    norm: Literal["batch", "layer"] | None = None
    if "1.weight" in weights:
        norm = "batch" if "1.running_mean" in weights else "layer"
    bias = f"{min(matrices)}.bias" in weights
    projector = Projector(first.shape[1], len(first), len(last), depth=len(matrices), bias=bias, norm=norm)
    return projector if _fill(projector, weights) else None


def _fill(module: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Load weights into a module if their names and shapes are those of the module, and return whether they are."""
    own = module.state_dict()
    if own.keys() != weights.keys() or any(own[name].shape != weight.shape for name, weight in weights.items()):
        return False
    module.load_state_dict(weights)
    return True


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def _problems(found: _Found, own: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in own if name not in found.weights]
    misshapen = [
        f"{name}: expected {tuple(own[name].shape)}, got {tuple(weight.shape)}"
        for name, weight in found.weights.items()
        if weight.shape != own[name].shape
    ]
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(own)} missing ({_first(missing)})")
    if found.surplus:
        problems.append(f"{len(found.surplus)} unexpected ({_first(found.surplus)})")
    if misshapen:
        problems.append(f"{len(misshapen)} of another shape ({_first(misshapen)})")
    return problems


def _first(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
