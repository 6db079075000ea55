"""Callback that freezes the encoder in the first steps of a training."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn


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
