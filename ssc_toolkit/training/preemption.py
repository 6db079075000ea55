"""SIGTERM, by which schedulers take machines away: save, and stop."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

EXIT_STATUS = 128 + signal.SIGTERM
"""Of a process that stopped for the signal, as shells count it."""


class StopOnSigterm(pl.Callback):
    """Saves and ends the training after the step in which SIGTERM came, on all processes, whichever of them got it.

    Args:
        checkpoint: file to save to.

    Attributes:
        stopped: whether the training was ended before its last step.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.stopped = False
        self._asked = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning's own handler, which it takes away at the end, would leave without saving.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._ask)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # gradients that are still being accumulated are in no checkpoint
        asked = self._asked and not self.stopped
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked and trainer.global_step < trainer.max_steps:
            # Now, and not when the loop has ended: then it would count as an epoch of its own, and draw otherwise.
            trainer.save_checkpoint(self.checkpoint)
            self.stopped = trainer.should_stop = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
