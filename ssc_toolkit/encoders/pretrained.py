"""Creation of encoders by name, and loading of saved encoders from folders."""

from __future__ import annotations

import copy
import difflib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ssc_toolkit.checks import check_choice
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.mel_cnn import MelCNN
from ssc_toolkit.encoders.musicnn import MusiCNN
from ssc_toolkit.encoders.published import is_published_name, load_published
from ssc_toolkit.encoders.sample_cnn import SampleCNN
from ssc_toolkit.encoders.sample_cnn_xl import SampleCNNXL
from ssc_toolkit.encoders.saving import ENCODER_CLASS_KEY, download_folder, read_config
from ssc_toolkit.encoders.short_chunk_cnn import ShortChunkCNN
from ssc_toolkit.encoders.tune_plus import TUNePlus
from ssc_toolkit.errors import InputError
from ssc_toolkit.paths import user_path

ENCODERS: dict[str, type[MelCNN] | type[SampleCNN] | type[TUNePlus] | type[ShortChunkCNN]] = {
    "MelCNN": MelCNN,
    "SampleCNN": SampleCNN,
    "SampleCNNXL": SampleCNNXL,
    "TUNePlus": TUNePlus,
    "ShortChunkCNN": ShortChunkCNN,
}
"""Encoder classes by name, as used in saved folders and on the command line."""

HUB_PREFIX = "hf:"
"""Beginning of the name of an encoder on the Hugging Face Hub."""

_SAVED: dict[str, type[Encoder]] = {**ENCODERS, "MusiCNN": MusiCNN}
"""Encoder classes that `load_encoder` creates, by name."""


def make_encoder(name: str, **arguments: Any) -> Encoder:
    """Create an untrained encoder of the class with this name.

    Args:
        name: name of the class, a key of the constant `ENCODERS`.
        arguments: arguments of the class. The others have their default values.

    Raises:
        InputError: if the name is not in the constant `ENCODERS`, or if the class does not have an argument.
        ValueError: if the class does not accept the value of an argument.

    Examples:
        >>> make_encoder("MelCNN", max_hz=8000.0, embedding_dim=128).embedding_dim
        128
    """
    check_choice("encoder", name, ENCODERS)
    accepted = list(inspect.signature(ENCODERS[name]).parameters)
    for argument in arguments:
        if argument not in accepted:
            near = difflib.get_close_matches(argument, accepted, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(
                f"{argument[:100]}: expected an argument of {name} ({', '.join(accepted)}), got {argument[:100]}{hint}"
            )
    return ENCODERS[name](**arguments)


def make_saved_encoder(config: Mapping[str, Any]) -> Encoder:
    """Create an untrained encoder of the class and with the arguments of a saved encoder.

    Args:
        config: result of `Encoder.to_config`, or content of `config.json` of a saved encoder.

    Raises:
        InputError: if the class is not one of this library, or does not accept the arguments.

    Examples:
        >>> make_saved_encoder(MelCNN(n_mels=48).to_config()).log_mel.bands.shape[1]
        48
    """
    name = config.get(ENCODER_CLASS_KEY)
    check_choice(ENCODER_CLASS_KEY, name, _SAVED)
    kind = _SAVED[str(name)]
    accepted = inspect.signature(kind).parameters
    try:
        return kind(**{key: value for key, value in config.items() if key in accepted})
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"encoder: expected valid arguments of {name}, got an error: {error}") from error


def load_by_source(source: str) -> Encoder:
    """Load a saved or published encoder in eval mode.

    Args:
        source: folder of a saved encoder, file of a published checkpoint as for `load_published`, "MTT_musicnn",
            "MSD_musicnn", or "hf:owner/name" for an encoder on the Hugging Face Hub, also with a revision as
            "hf:owner/name@revision".

    Raises:
        InputError: as for `load_encoder` and `load_published`, or if the encoder cannot be downloaded.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = MelCNN(n_mels=48).save_pretrained(folder)
        >>> load_by_source(folder).log_mel.bands.shape[1]
        48
    """
    if source.startswith(HUB_PREFIX):
        name, _, revision = source.removeprefix(HUB_PREFIX).partition("@")
        return load_encoder(download_folder(name, revision=revision or None))
    path = user_path(source, "encoder")
    return load_published(source) if is_published_name(source) or path.is_file() else load_encoder(path)


def reinitialize(encoder: Encoder, seed: int) -> Encoder:
    """Return an untrained copy of an encoder, with random weights that the seed determines.

    Examples:
        >>> encoder = MelCNN()
        >>> twins = [reinitialize(encoder, seed=1).temporal[0].weight for _ in range(2)]
        >>> bool((twins[0] == twins[1]).all()), bool((twins[0] == encoder.temporal[0].weight).all())
        (True, False)
    """
    fresh = copy.deepcopy(encoder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return fresh


def load_encoder(folder: str | Path) -> Encoder:
    """Load an encoder that `Encoder.save_pretrained` wrote, in eval mode.

    Its class must be in `ENCODERS`, or `MusiCNN`.

    Args:
        folder: folder with `config.json` and `model.safetensors`.

    Raises:
        InputError: if the folder contains no encoder, an encoder of an unknown class, weights of another model, or a
            file that was changed after saving.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> _ = MelCNN(n_mels=48).save_pretrained(folder)
        >>> load_encoder(folder).log_mel.bands.shape[1]
        48
    """
    if not isinstance(folder, str | os.PathLike):
        raise TypeError(f"encoder: expected the path of a folder, got {folder!r}")
    name = read_config(user_path(folder, "folder"))[ENCODER_CLASS_KEY]
    if name not in _SAVED:
        raise InputError(
            f"encoder: expected one of {', '.join(_SAVED)} in {folder}, got {name!r} "
            "(to load your own class, use its from_pretrained)"
        )
    return _SAVED[name].from_pretrained(folder)
