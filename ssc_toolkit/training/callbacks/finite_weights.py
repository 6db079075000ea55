"""Callback that stops a training with NaN or infinite weights."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssc_toolkit.errors import InputError


class FiniteWeights(pl.Callback):
    """Callback that stops the training instead of saving a checkpoint with NaN or infinite weights.

    Before each checkpoint is written, the callback checks the parameters and the statistics of batch normalization.
    Other buffers, such as a mask, may contain infinity on purpose and are not checked.

    Raises:
        InputError: if a value is NaN or infinite. Nothing is written, and the previous checkpoint is not changed.
    """

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not _is_finite(pl_module):
            raise InputError(
                f"learning_rate: the weights are NaN or infinite after step {trainer.global_step}; choose a lower "
                "learning_rate or a higher temperature, and another folder. The last checkpoint is unchanged"
            )


def _is_finite(module: nn.Module) -> bool:
    norms = (part for part in module.modules() if isinstance(part, _BatchNorm))
    learned = [*module.parameters(), *(value for norm in norms for value in norm.buffers())]
    return bool(torch.stack([value.isfinite().all() for value in learned]).all())  # one transfer from the device
