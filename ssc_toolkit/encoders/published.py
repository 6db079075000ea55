"""Weights that CLMR, SemiSupCon and the authors of the short-chunk CNN published."""

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
from ssc_toolkit.encoders.projector import ContrastiveModel, Projector
from ssc_toolkit.encoders.published_names import (
    DENSE,
    FRONT_END,
    HEADS,
    KNOWN,
    PROJECTORS,
    WRAPPERS,
    find_architecture,
    is_stored,
    own_name,
)
from ssc_toolkit.encoders.sample_cnn import SampleCNN
from ssc_toolkit.encoders.short_chunk_cnn import ShortChunkCNN
from ssc_toolkit.errors import InputError

logger = logging.getLogger(__name__)

_SHOWN = 3


def load_published(path: str | Path, encoder: Encoder | None = None) -> Encoder:
    """Load an encoder from a checkpoint of CLMR, SemiSupCon or sota-music-tagging-models; in eval mode.

    Reads what PyTorch Lightning saved (`{"state_dict": ..., "epoch": ...}`), a plain `state_dict`, and safetensors. The
    encoder's weights may lie under `encoder.`, `model.encoder.`, `semisupcon.encoder.`, `module.` and the like;
    projectors and classifiers next to it are left out, which the log tells. No code in the file is run. A model that
    `ContrastiveModel` or `SemiSupConModule` saved loads as well.

    The architecture is found by the names and shapes of the weights: `SampleCNN` and `SampleCNNXL`, `TUNePlus`, and
    `ShortChunkCNN` with and without `residual` (the published `ShortChunkCNN_Res`), of any width. The embedding of
    `ShortChunkCNN` is the maximum over time, before the published network's dense layers.

    Args:
        path: of the file, unpacked if it was downloaded as a zip archive.
        encoder: the instance to fill, for any other architecture or sample rate. By default a new one of the
            architecture found, at 22 050 Hz (`ShortChunkCNN` at 16 000 Hz). It stays as it is if the weights are not
            its own.

    Raises:
        TypeError: if `path` is no path, or `encoder` no instance.
        InputError: if the file cannot be read, if reading it could run code, if weights are missing, surplus, of
            another shape or there twice (the first of them are named), or if the mel filterbank in it is another.

    References:
        Spijkervet and Burgoyne, "Contrastive Learning of Musical Representations", ISMIR 2021,
        github.com/Spijkervet/CLMR; Guinot, Quinton and Fazekas, "Semi-Supervised Contrastive Learning of
        Musical Representations", ISMIR 2024, github.com/Pliploop/SemiSupCon; Won, Ferraro, Bogdanov and Serra,
        "Evaluation of CNN-based automatic music tagging models", SMC 2020,
        github.com/minzwon/sota-music-tagging-models.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
        >>> trained = SampleCNN()
        >>> torch.save({f"encoder.{name}": weight for name, weight in trained.state_dict().items()}, path)
        >>> torch.equal(load_published(path).sequential[0][0].weight, trained.sequential[0][0].weight)
        True
    """
    encoder, found = _find(path, encoder)
    if found.heads:
        logger.info("%s: left out beside the encoder: %s", path, ", ".join(found.heads))
    encoder.load_state_dict(found.weights)
    return encoder.eval()


def load_published_model(path: str | Path, encoder: Encoder | None = None) -> ContrastiveModel:
    """Load an encoder and its projector from a checkpoint; in eval mode.

    As `load_published`, which it equals for the encoder. The projector is that of SimCLR, CLMR and SemiSupCon: linear
    layers, with or without bias, and ReLU between them. CLMR's `ShortChunkCNN_Res` has a dense layer, batch norm and
    ReLU behind its maximum over time; here they are the first three layers of the projector, so that the projection is
    CLMR's.

    Args:
        path: as for `load_published`.
        encoder: as for `load_published`.

    Raises:
        TypeError: as for `load_published`.
        InputError: as for `load_published`; if there is no projector, or one of another form.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
        >>> trained = ContrastiveModel(SampleCNN()).eval()
        >>> torch.save(trained.state_dict(), path)
        >>> waveforms = torch.randn(2, 1, 59049)
        >>> torch.equal(load_published_model(path)(waveforms).projection, trained(waveforms).projection)
        True
    """
    encoder, found = _find(path, encoder)
    projector = _projector(path, found, encoder)
    encoder.load_state_dict(found.weights)
    return ContrastiveModel(encoder, projector).eval()


class DenseProjector(Projector):
    """A dense layer, batch norm and ReLU before a projector, as in CLMR's `ShortChunkCNN_Res`.

    Args:
        dense: the linear layer.
        norm: behind it.
        projector: behind the ReLU.
    """

    def __init__(self, dense: nn.Linear, norm: nn.BatchNorm1d, projector: Projector) -> None:
        nn.Sequential.__init__(self, dense, norm, nn.ReLU(), *projector)
        self.input_dim = dense.in_features
        self.output_dim = projector.output_dim


class _Found(NamedTuple):
    """What a checkpoint holds, seen from the encoder.

    Attributes:
        weights: by the encoder's own names.
        prefix: of the names of these in the file.
        heads: weights of the modules that are left out, by the name of the module.
        surplus: names of weights that are neither.
    """

    weights: dict[str, Tensor]
    prefix: str
    heads: dict[str, dict[str, Tensor]]
    surplus: list[str]


def _find(path: str | Path, encoder: Encoder | None) -> tuple[Encoder, _Found]:
    """The encoder to fill, and what belongs in it.

    Raises:
        TypeError, InputError: as for `load_published`.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path: expected the path of a file, got {path!r}")
    if encoder is not None and not isinstance(encoder, Encoder):
        raise TypeError(f"encoder: expected an instance, as SampleCNN() is, got {encoder!r}")
    path = Path(path)
    checkpoint = read_weights(path)
    encoder = encoder or find_architecture(checkpoint) or SampleCNN()
    found = _sort(path, checkpoint, encoder)
    if problems := _problems(found, encoder.state_dict()):
        raise InputError(
            f"checkpoint: {path} does not hold the weights of this {type(encoder).__name__}: {'; '.join(problems)} "
            f"(found by their names: {KNOWN}; give any other encoder as `encoder`)"
        )
    return encoder, found


def _sort(path: Path, checkpoint: Mapping[str, Tensor], encoder: Encoder) -> _Found:
    """Part the encoder's weights from the rest.

    CLMR registers its encoder twice, as `encoder` and as `model.encoder`, so that the same weights may
    come under several prefixes.
    """
    own = encoder.state_dict()
    is_short_chunk = isinstance(encoder, ShortChunkCNN)
    left_out = HEADS | DENSE if is_short_chunk else HEADS
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
        # A bare number is a layer of a classifier that is an `nn.Sequential`, as in CLMR's linear evaluation.
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
                f"checkpoint: {path} holds two encoders, at '{best}' and at '{prefix}', that differ in "
                f"{_first(differing)}; save the state_dict of one of them alone"
            )
    if is_short_chunk:  # window and filterbank are computed, and may be left out of a file
        weights = {name: value for name, value in own.items() if name.startswith("log_mel.")} | weights
    return _Found(weights, best, heads, surplus)


def _strip(name: str, own: Mapping[str, Tensor]) -> tuple[str, str]:
    """Prefix and rest of a name: wrappers are stripped until the rest is the encoder's or no wrapper is left."""
    rest = name
    while rest not in own and own_name(rest) not in own:
        top, _, below = rest.partition(".")
        if top not in WRAPPERS or not below:
            break
        rest = below
    return name[: len(name) - len(rest)], rest if rest in own or own_name(rest) not in own else own_name(rest)


def _check_front_end(path: Path, encoder: Encoder, buffer: str, value: Tensor) -> None:
    """Raise unless the window or filterbank of a checkpoint is that of the encoder."""
    log_mel = encoder.get_submodule("log_mel")
    own = log_mel.get_buffer("window" if buffer == "window" else "bands")
    if not value.numel():  # old versions of torchaudio saved an empty one
        return
    used = value[: len(own)].float() if value.dim() == own.dim() else value
    fits = used.shape == own.shape and not value[len(own) :].any()
    if not fits or not torch.allclose(used, own, atol=1e-4):
        kind = "window" if buffer == "window" else "mel filterbank"
        detail = f"largest difference {(used - own).abs().max():.2g}" if fits else f"its shape is {tuple(value.shape)}"
        own_kind = f"{type(encoder).__name__} at {encoder.sample_rate} Hz"
        raise InputError(
            f"checkpoint: {path} has another {kind} than {own_kind} ({detail}); give a "
            "ShortChunkCNN of the sample rate that it was trained at as `encoder`"
        )


def _projector(path: str | Path, found: _Found, encoder: Encoder) -> Projector:
    """The projector of a checkpoint, behind the dense layer that CLMR puts before it."""
    heads = {name: head for name, head in found.heads.items() if name.rpartition(".")[2] in PROJECTORS}
    if not heads:
        raise InputError(
            f"checkpoint: {path} holds no projector, expected one named {', '.join(sorted(PROJECTORS))}; "
            "load_published reads the encoder alone"
        )
    (name, weights), *others = heads.items()
    for other, copy in others:
        if copy.keys() != weights.keys() or not all(_same(copy[key], weights[key]) for key in copy):
            raise InputError(f"checkpoint: {path} holds two projectors that differ, {name} and {other}")
    projector = _made_projector(weights)
    if projector is None:
        raise InputError(
            f"checkpoint: {path}: {name} is no projector of linear layers with ReLU between them; "
            f"it holds {_first(list(weights))}"
        )
    dense, norm, classifier = (found.heads.get(f"{found.prefix}{part}") for part in ("dense1", "bn", "dense2"))
    # In a network that keeps its classifier, the dense layers belong to that.
    if dense and norm and not classifier:
        layers = nn.Linear(encoder.embedding_dim, projector.input_dim), nn.BatchNorm1d(projector.input_dim)
        if not all(_fill(layer, values) for layer, values in zip(layers, (dense, norm), strict=True)):
            raise InputError(f"checkpoint: {path}: {found.prefix}dense1 and {found.prefix}bn do not fit {name}")
        return DenseProjector(*layers, projector)
    if projector.input_dim != encoder.embedding_dim:
        raise InputError(
            f"checkpoint: {path}: {name} expects {projector.input_dim} numbers, but the encoder's embedding has "
            f"{encoder.embedding_dim}"
        )
    return projector


def _made_projector(weights: Mapping[str, Tensor]) -> Projector | None:
    """A projector filled with the weights; None if they are not those of one."""
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
    """Load weights into a module if they are its own, which is returned."""
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
