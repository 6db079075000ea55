"""Callback that saves checkpoints of a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from ssc_toolkit.options.run_settings import kept_checkpoint


class SaveCheckpoints(Checkpoint):
    """Callback that saves the last checkpoint of a training, and keeps the checkpoints of some steps.

    The last checkpoint is saved every `every` steps and after the last step, also if another callback stops the
    training. It is saved before the training loop ends, so that a longer training can start from it with the same
    batches and augmentations as without a break. Lightning calls this callback after all others.

    Args:
        checkpoint: path of the last checkpoint. It replaces the previous one.
        every: number of steps between checkpoints.
        keep_every: number of steps between checkpoints that are kept in the folder `checkpoints` next to the last one;
            0 to keep none.
    """

    def __init__(self, checkpoint: Path, every: int, keep_every: int = 0) -> None:
        self.checkpoint = checkpoint
        self.every = every
        self.keep_every = keep_every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a checkpoint does not contain partly accumulated gradients
        step = trainer.global_step
        if self.keep_every and step % self.keep_every == 0:
            trainer.save_checkpoint(kept_checkpoint(self.checkpoint.parent, step))
        if step % self.every == 0 or step == trainer.max_steps or trainer.should_stop:
            trainer.save_checkpoint(self.checkpoint)
