"""Reading and writing of projectors, and of models that consist of an encoder and a projector."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ssc_toolkit.checks import check_choice
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.pretrained import load_encoder
from ssc_toolkit.encoders.projector import ContrastiveModel, DenseProjector, Projector, ProjectorHeads
from ssc_toolkit.encoders.saving import CONFIG, WEIGHTS, name_of_infinite, verify
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import CHECKSUMS, read_checked_json, reading, write_checksums, write_json
from ssc_toolkit.paths import user_path

PROJECTOR_CONFIG, PROJECTOR_WEIGHTS = "projector.json", "projector.safetensors"
"""Names of the files of a projector in the folder of a saved encoder."""
LABEL_PROJECTOR_CONFIG, LABEL_PROJECTOR_WEIGHTS = "label_projector.json", "label_projector.safetensors"
"""Names of the files of the projector for labels, if a model has separate projectors for views and labels."""
HEADS = {
    "views": (PROJECTOR_CONFIG, PROJECTOR_WEIGHTS),
    "labels": (LABEL_PROJECTOR_CONFIG, LABEL_PROJECTOR_WEIGHTS),
}
"""Names of the files of each projector."""
PROJECTOR_CLASS_KEY = "projector_class"
"""Key in `projector.json` whose value is the name of the class of the projector."""
PROJECTOR_CLASSES: dict[str, type[Projector]] = {"Projector": Projector, "DenseProjector": DenseProjector}
"""Classes of projectors that can be loaded, by name."""

_ADVICE = "copy the folder again"


def save_model(model: ContrastiveModel, folder: str | Path) -> None:
    """Write the encoder and the projector of a model to one folder.

    `load_encoder` loads the encoder, `load_projector` the projector, and `load_model` both. The files of the encoder
    are those of `Encoder.save_pretrained`. Those of the projector are `projector.json` with the constructor arguments
    and `projector.safetensors` with the weights. If the projector is a `ProjectorHeads`, these files are those of its
    projector for views, and `label_projector.json` and `label_projector.safetensors` those of its projector for labels.
    `checksums.json` contains the checksums of all files. If the projector is an `nn.Identity`, no file is written for
    it.

    Args:
        model: model whose encoder is an `Encoder`, and whose projector is a `Projector`, a `ProjectorHeads` or an
            `nn.Identity`.
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
    heads = _heads_of(projector)
    for head in heads.values():
        if type(head) not in PROJECTOR_CLASSES.values():
            raise TypeError(f"model: expected a Projector as its projector, got {type(head).__name__}")
    if name := name_of_infinite(projector.state_dict()):
        raise ValueError(f"projector: expected finite weights, got NaN or infinity in {name}")
    place = Path(folder)
    encoder.save_pretrained(place)
    for name in itertools.chain(*HEADS.values()):
        (place / name).unlink(missing_ok=True)
    if not heads:
        return
    (place / CHECKSUMS).unlink()
    for name, head in heads.items():
        _write_projector(head, place, *HEADS[name])
    write_checksums(place, (CONFIG, WEIGHTS, *itertools.chain(*(HEADS[name] for name in heads))))


def _heads_of(projector: nn.Module) -> dict[str, Any]:
    """Return the projectors of a model by their names in the constant `HEADS`."""
    if isinstance(projector, nn.Identity):
        return {}
    if isinstance(projector, ProjectorHeads):
        return {"views": projector.views, "labels": projector.labels}
    return {"views": projector}


def _write_projector(projector: Any, folder: Path, config: str, weights: str) -> None:
    """Write the files `config` and `weights` of a projector to a folder."""
    write_json(folder / config, {PROJECTOR_CLASS_KEY: type(projector).__name__, **projector.settings})
    tensors = {name: weight.detach().contiguous() for name, weight in projector.state_dict().items()}
    save_file(tensors, folder / weights)


def load_projector(folder: str | Path, head: Literal["views", "labels"] = "views") -> Projector:
    """Load the projector that `save_model` or a pretraining saved next to an encoder, in eval mode.

    No code in the files is run.

    Args:
        folder: folder of the encoder, with `projector.json` and `projector.safetensors`.
        head: which projector to load if the training had separate projectors: that for "views" or that for "labels".

    Raises:
        TypeError: if `folder` is not a path.
        InputError: if the folder contains no such projector, a projector of an unknown class, or a damaged file.
    """
    if not isinstance(folder, str | os.PathLike):
        raise TypeError(f"folder: expected the path of a folder, got {folder!r}")
    check_choice("head", head, HEADS)
    place = user_path(folder, "folder")
    paths = place / HEADS[head][0], place / HEADS[head][1]
    if not all(path.is_file() for path in paths):
        reason = "unless projector.depth is 0" if head == "views" else "if projector.heads is separate"
        raise InputError(
            f"encoder: expected a projector, with {paths[0].name} and {paths[1].name}, next to the encoder in {place}, "
            f"got none; pretraining and save_model write it, {reason}"
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
            f"encoder: the weights in {paths[1]} do not match {paths[0].name}: {' '.join(str(error).split())}"
        ) from error
    if name := name_of_infinite(weights):
        raise InputError(f"encoder: expected finite weights in {paths[1]}, got NaN or infinity in {name}")
    return projector.eval()


def load_model(folder: str | Path) -> ContrastiveModel:
    """Load an encoder and its projector that `save_model` or a pretraining saved in one folder, in eval mode.

    If the folder contains separate projectors for views and labels, the projector of the model is a `ProjectorHeads`.

    Args:
        folder: folder of the encoder.

    Raises:
        TypeError: as for `load_projector`.
        InputError: as for `load_encoder` and `load_projector`, or if the projector does not fit the encoder.
    """
    views = load_projector(folder)
    is_separate = _has_label_projector(user_path(folder, "folder"))
    try:
        projector = ProjectorHeads(views, load_projector(folder, "labels")) if is_separate else views
        return ContrastiveModel(load_encoder(folder), projector).eval()
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"encoder: {folder}: {error}") from error


def _has_label_projector(folder: Path) -> bool:
    """Return whether a saved model has separate projectors, also if a file of the projector for labels is missing."""
    listed = read_checked_json(folder / CHECKSUMS, "encoder", _ADVICE) if (folder / CHECKSUMS).exists() else {}
    return any(name in listed or (folder / name).exists() for name in HEADS["labels"])


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
