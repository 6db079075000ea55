"""Creation of the projector of a training, and reading of the model in a checkpoint."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssc_toolkit.encoders import ENCODERS, ContrastiveModel, Encoder, Projector, ProjectorHeads, make_encoder
from ssc_toolkit.encoders.pretrained import load_by_source, make_saved_encoder
from ssc_toolkit.encoders.saving import name_of_infinite
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import hash_model
from ssc_toolkit.files import reading
from ssc_toolkit.options import EncoderOptions, ProjectorOptions
from ssc_toolkit.options.names import ENCODERS as ENCODER_ARGUMENTS
from ssc_toolkit.options.run_settings import ENCODER_START, FULL_BAND
from ssc_toolkit.training.callbacks.weight_average import WeightAverage
from ssc_toolkit.training.checkpoints import load_checkpoint

_ADVICE = "choose another checkpoint"
AVERAGED, TRAINED = "averaged", "trained"
"""Names of the weights of a checkpoint: those of `WeightAverage`, and those of the training itself."""
_PREFIX = "model."
_READOUT = ("frame_pooling", "layers")


def load_checkpoint_model(path: Path, settings: Mapping[str, Any]) -> tuple[ContrastiveModel, dict[str, Any]]:
    """Load the model in a checkpoint of a run, in eval mode. No code in the checkpoint is run.

    The model has the averaged weights if the run averages its weights, otherwise those of the training.

    Args:
        path: path of the checkpoint.
        settings: settings of the run, as `read_settings` returns them.

    Returns:
        The model, and plain data about it: the number of completed steps, the kind of the weights, and the length of
        the views in seconds.

    Raises:
        InputError: if the checkpoint is damaged, contains the weights of another model, or contains NaN or infinity.
    """
    name, start = settings.get("encoder"), settings.get(ENCODER_START)
    if name not in ENCODERS and not isinstance(start, dict):
        raise InputError(f"run: expected one of {', '.join(ENCODERS)} as the encoder of the run, got {name!r}")
    content = load_checkpoint(path, "cpu", "checkpoint", _ADVICE)
    with reading("checkpoint", path, _ADVICE):
        step = content["global_step"]
        average = content["callbacks"].get(WeightAverage.__name__)
        weights = _trained(content["state_dict"]) if average is None else average["weights"]
        if type(step) is not int or not all(isinstance(value, Tensor) for value in weights.values()):
            raise ValueError("it is not a checkpoint of a training")

    def make() -> Encoder:
        return make_saved_encoder(start) if isinstance(start, dict) else make_run_encoder(_encoder_options(settings))

    # The widths in settings of somebody else could need any amount of memory.
    with torch.device("meta"), warnings.catch_warnings(action="ignore"):
        expected = make().state_dict()
    for key, weight in expected.items():
        found = weights.get(f"encoder.{key}")
        if found is None or found.shape != weight.shape:
            got = "none" if found is None else tuple(found.shape)
            raise InputError(
                f"checkpoint: {path} does not contain the weights of {name}: encoder.{key}: expected "
                f"{tuple(weight.shape)}, got {got}"
            )
    encoder = make()
    if readout := {key: settings[f"readout.{key}"] for key in _READOUT if f"readout.{key}" in settings}:
        encoder.set_readout(**readout)  # runs of earlier versions have none
    with torch.device("meta"):
        model = ContrastiveModel(encoder, make_projector(encoder, _projector_options(settings)))
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        raise InputError(
            f"checkpoint: {path} does not contain the weights of {name}: {' '.join(str(error).split())[:400]}"
        ) from error
    if infinite := name_of_infinite(model.state_dict()):
        raise InputError(f"checkpoint: expected finite weights in {path}, got NaN or infinity in {infinite}")
    kind = TRAINED if average is None else AVERAGED
    return model.eval(), {"step": step, "weights": kind, "view_seconds": settings.get("view_seconds")}


def make_run_encoder(options: EncoderOptions) -> Encoder:
    """Create the encoder of a training: an untrained one, or a saved one, in training mode and in float32.

    Raises:
        InputError: if the class of the encoder does not accept an argument, or if a saved encoder cannot be loaded.
    """
    if options.is_saved:
        return load_by_source(options.name).float().train()
    try:
        encoder = make_encoder(options.name, **options.given)
    except ValueError as error:
        raise InputError(f"encoder.{error}") from error
    highest = encoder.sample_rate / 2
    if options.max_hz is not None and options.max_hz > highest:  # the class would use the lower value
        raise InputError(
            f"encoder.max_hz: expected at most {highest:g}, half the sample rate of the encoder, got {options.max_hz:g}"
        )
    return encoder


def describe_start(encoder: Encoder) -> dict[str, Any]:
    """Return the class, arguments and hash of the weights of a saved encoder, for the settings of a run."""
    return {**encoder.to_config(), "hash": hash_model(encoder)}


def make_projector(encoder: Encoder, options: ProjectorOptions) -> nn.Module:
    """Create the projector of a training for an encoder. Without layers, it returns the embeddings."""
    if options.depth == 0:
        return nn.Identity()
    settings = asdict(options) | {"norm": None if options.norm == "none" else options.norm}
    if settings.pop("heads") == "shared":
        return Projector(encoder.embedding_dim, **settings)
    views, labels = (Projector(encoder.embedding_dim, **settings) for _ in range(2))
    return ProjectorHeads(views, labels)


def _encoder_options(settings: Mapping[str, Any]) -> EncoderOptions:
    """Return the options of the encoder of a run. The settings of earlier versions have no arguments."""
    names = {name for accepted in ENCODER_ARGUMENTS.values() for name in accepted}
    given: dict[str, Any] = {name: settings.get(f"encoder.{name}") for name in names}
    if given["max_hz"] == FULL_BAND:
        given["max_hz"] = None
    strides = given["strides"]
    given |= {"name": settings["encoder"], "strides": tuple(strides) if isinstance(strides, list) else strides}
    options = EncoderOptions(**given)
    options.check()
    return options


def _projector_options(settings: Mapping[str, Any]) -> ProjectorOptions:
    names = [field.name for field in fields(ProjectorOptions)]
    given = {name: settings[f"projector.{name}"] for name in names if f"projector.{name}" in settings}
    options = ProjectorOptions(**given)
    options.check()
    return options


def _trained(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the weights of the model in the state of a LightningModule, by their names in the model."""
    return {name.removeprefix(_PREFIX): value for name, value in state.items() if name.startswith(_PREFIX)}
