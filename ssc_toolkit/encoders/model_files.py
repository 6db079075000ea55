"""Reading and writing of projectors, and of models that consist of an encoder and a projector."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.pretrained import load_encoder
from ssc_toolkit.encoders.projector import ContrastiveModel, DenseProjector, Projector
from ssc_toolkit.encoders.saving import CONFIG, WEIGHTS, name_of_infinite, verify
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import CHECKSUMS, reading, write_checksums, write_json
from ssc_toolkit.paths import user_path

PROJECTOR_CONFIG, PROJECTOR_WEIGHTS = "projector.json", "projector.safetensors"
"""Names of the files of a projector in the folder of a saved encoder."""
PROJECTOR_CLASS_KEY = "projector_class"
"""Key in `projector.json` whose value is the name of the class of the projector."""
PROJECTOR_CLASSES: dict[str, type[Projector]] = {"Projector": Projector, "DenseProjector": DenseProjector}
"""Classes of projectors that can be loaded, by name."""

_ADVICE = "copy the folder again"


def save_model(model: ContrastiveModel, folder: str | Path) -> None:
    """Write the encoder and the projector of a model to one folder.

    `load_encoder` loads the encoder, `load_projector` the projector, and `load_model` both. The files of the encoder
    are those of `Encoder.save_pretrained`. Those of the projector are `projector.json` with the constructor arguments
    and `projector.safetensors` with the weights. `checksums.json` contains the checksums of all files. If the projector
    is an `nn.Identity`, no file is written for it.

    Args:
        model: model whose encoder is an `Encoder`, and whose projector is a `Projector` or an `nn.Identity`.
        folder: the folder; it is created if needed.

    Raises:
        TypeError: if the encoder or the projector is of another class.
        ValueError: as for `Encoder.save_pretrained`, or if a weight of the projector is NaN or infinite.

    Examples:
        >>> import tempfile, torch
        >>> from ssc_toolkit.encoders import MelCNN
        >>> model, folder = ContrastiveModel(MelCNN()).eval(), tempfile.mkdtemp()
        >>> save_model(model, folder)
        >>> waveforms = torch.randn(2, 1, 16000)
        >>> torch.equal(load_model(folder)(waveforms).projection, model(waveforms).projection)
        True
    """
    encoder, projector = model.encoder, model.projector
    if not isinstance(encoder, Encoder):
        raise TypeError(f"model: expected an Encoder as its encoder, got {type(encoder).__name__}")
    is_identity = isinstance(projector, nn.Identity)
    if not is_identity and type(projector) not in PROJECTOR_CLASSES.values():
        raise TypeError(f"model: expected a Projector as its projector, got {type(projector).__name__}")
    if name := name_of_infinite(projector.state_dict()):
        raise ValueError(f"projector: expected finite weights, got NaN or infinity in {name}")
    place = Path(folder)
    encoder.save_pretrained(place)
    for name in (PROJECTOR_CONFIG, PROJECTOR_WEIGHTS):
        (place / name).unlink(missing_ok=True)
    if is_identity:
        return
    (place / CHECKSUMS).unlink()
    settings: Any = projector.settings
    write_json(place / PROJECTOR_CONFIG, {PROJECTOR_CLASS_KEY: type(projector).__name__, **settings})
    weights = {name: weight.detach().contiguous() for name, weight in projector.state_dict().items()}
    save_file(weights, place / PROJECTOR_WEIGHTS)
    write_checksums(place, (CONFIG, WEIGHTS, PROJECTOR_CONFIG, PROJECTOR_WEIGHTS))


def load_projector(folder: str | Path) -> Projector:
    """Load the projector that `save_model` or a pretraining saved next to an encoder, in eval mode.

    No code in the files is run.

    Args:
        folder: folder of the encoder, with `projector.json` and `projector.safetensors`.

    Raises:
        TypeError: if the argument is not a path.
        InputError: if the folder contains no projector, a projector of an unknown class, or a damaged file.
    """
    if not isinstance(folder, str | os.PathLike):
        raise TypeError(f"folder: expected the path of a folder, got {folder!r}")
    place = user_path(folder, "folder")
    paths = place / PROJECTOR_CONFIG, place / PROJECTOR_WEIGHTS
    if not has_projector(place):
        raise InputError(
            f"encoder: expected a projector, with {PROJECTOR_CONFIG} and {PROJECTOR_WEIGHTS}, next to the encoder in "
            f"{place}, got none; pretraining and save_model write it, unless projector.depth is 0"
        )
    for path in paths:
        verify(path)
    with reading("encoder", paths[0], _ADVICE):
        projector = _made_projector(json.loads(paths[0].read_text(encoding="utf-8")))
    try:
        weights = load_file(paths[1])
        projector.load_state_dict(weights, assign=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(
            f"encoder: the weights in {paths[1]} do not match {PROJECTOR_CONFIG}: {' '.join(str(error).split())}"
        ) from error
    if name := name_of_infinite(weights):
        raise InputError(f"encoder: expected finite weights in {paths[1]}, got NaN or infinity in {name}")
    return projector.eval()


def load_model(folder: str | Path) -> ContrastiveModel:
    """Load an encoder and its projector that `save_model` or a pretraining saved in one folder, in eval mode.

    Args:
        folder: folder of the encoder.

    Raises:
        TypeError: as for `load_projector`.
        InputError: as for `load_encoder` and `load_projector`, or if the projector does not fit the encoder.
    """
    projector = load_projector(folder)
    try:
        return ContrastiveModel(load_encoder(folder), projector).eval()
    except ValueError as error:
        raise InputError(f"encoder: {folder}: {error}") from error


def has_projector(folder: Path) -> bool:
    """Return whether a folder contains the files of a projector."""
    return (folder / PROJECTOR_CONFIG).is_file() and (folder / PROJECTOR_WEIGHTS).is_file()


def _made_projector(config: Any) -> Projector:
    """Create a projector from the content of `projector.json`. Its weights have no memory yet."""
    if not isinstance(config, dict):
        raise ValueError("expected a JSON object")
    name = config.get(PROJECTOR_CLASS_KEY)
    if name not in PROJECTOR_CLASSES:
        raise ValueError(f"expected one of {', '.join(PROJECTOR_CLASSES)} as {PROJECTOR_CLASS_KEY}, got {name!r}")
    with torch.device("meta"):  # the widths in a file of somebody else could need any amount of memory
        return PROJECTOR_CLASSES[name].from_settings(
            {key: value for key, value in config.items() if key != PROJECTOR_CLASS_KEY}
        )
