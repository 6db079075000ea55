"""Encoders that a training starts from: loading, identity, and the frozen first steps."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from ssc_toolkit.encoders import Encoder, load_encoder, load_published
from ssc_toolkit.encoders.saving import find_saved_folder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import hash_model
from ssc_toolkit.hashing import short_hash
from ssc_toolkit.options import EncoderOptions
from ssc_toolkit.options.names import ENCODERS
from ssc_toolkit.options.run_settings import START_ARGUMENTS, START_HASH
from ssc_toolkit.paths import user_path

_OPTION = "encoder.start_from"


def load_start_encoder(options: EncoderOptions) -> Encoder:
    """Load the encoder that a training starts from, in training mode.

    Args:
        options: options of the encoder. `start_from` is the folder of a saved encoder, its name on the Hugging Face
            Hub, or a published checkpoint.

    Raises:
        InputError: if there is no such encoder, or if it has another architecture or other arguments than `options`.
    """
    source = str(options.start_from)
    try:
        path = user_path(source, _OPTION)
        encoder = load_published(path) if path.is_file() else load_encoder(find_saved_folder(source))
    except InputError as error:
        prefix, _, rest = str(error).partition(": ")
        text = rest if prefix in ("encoder", "checkpoint", "folder") else str(error)
        raise InputError(f"{_OPTION}: {text.removeprefix(f'{_OPTION}: ')}") from error
    name = type(encoder).__name__
    if name != options.name:
        fix = f"pass --encoder.name={name}" if name in ENCODERS else f"pretrain trains {', '.join(ENCODERS)}"
        raise InputError(f"{_OPTION}: expected a {options.name}, got a {name} in {source}; {fix}")
    own = _arguments_of(encoder)
    for argument, value in options.given.items():
        if own[argument] != value:
            raise InputError(
                f"encoder.{argument}: expected {own[argument]}, the value of the encoder in start_from, got {value}; "
                "leave the option out"
            )
    return encoder.train()


def identify_start(encoder: Encoder) -> dict[str, Any]:
    """Return a hash of the encoder that a training starts from, and the arguments of its class, for the settings.

    Call it before the first step. With the arguments, checkpoints can be loaded without the encoder of the start.
    """
    return {START_HASH: short_hash(hash_model(encoder)), START_ARGUMENTS: _arguments_of(encoder)}


def _arguments_of(encoder: Encoder) -> dict[str, Any]:
    config = dict(encoder._hub_mixin_config or {})  # type: ignore[arg-type]
    found = {name: config.get(name) for name in ENCODERS[type(encoder).__name__]}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


class FrozenEncoder(pl.Callback):
    """Callback that does not change the encoder in the first steps of a training.

    In these steps, the encoder is in eval mode, so that its batch norms keep their statistics, and the optimizer gets
    no gradients of its parameters. Whether a step is one of them depends only on the number of the step, so a resumed
    training has the same weights.

    Args:
        steps: number of steps.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        _encoder_of(pl_module).train(trainer.global_step >= self.steps)

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if trainer.global_step < self.steps:
            for parameter in _encoder_of(pl_module).parameters():
                parameter.grad = None


def _encoder_of(module: Any) -> nn.Module:
    return module.model.encoder
