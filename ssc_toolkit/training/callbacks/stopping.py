"""Callback that saves a checkpoint and stops the training after Ctrl-C or SIGTERM, which schedulers send."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from ssc_toolkit.decoding.sources import quiet

TERMINATED = 128 + signal.SIGTERM
"""Exit status that shells report for a process stopped by SIGTERM."""


class StopOnSignal(pl.Callback):
    """Callback that saves a checkpoint and ends the training after the step in which SIGTERM or Ctrl-C arrives.

    All processes stop if one of them receives the signal. A second Ctrl-C stops immediately, without saving.

    Args:
        checkpoint: path of the checkpoint.

    Attributes:
        stopped: whether a signal ended the training.
        signal: first signal that this process received, or None.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.stopped = False
        self.signal: signal.Signals | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        # Lightning's SIGTERM handler would exit without saving. Lightning restores the previous handlers at the end.
        signal.signal(signal.SIGTERM, self._ask)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell ignores SIGINT in background jobs
            signal.signal(signal.SIGINT, self._ask)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # a checkpoint does not contain partly accumulated gradients
        is_stopping = self.signal is not None and not self.stopped
        if trainer.world_size > 1:
            is_stopping = trainer.strategy.reduce_boolean_decision(is_stopping, all=False)
        if is_stopping:
            # Save before the loop ends. A run resumed from a later checkpoint would start a new epoch, with other
            # random draws.
            trainer.save_checkpoint(self.checkpoint)
            self.stopped = trainer.should_stop = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with contextlib.suppress(OSError):  # `print` is not safe here, because the signal may interrupt a `print`
                os.write(quiet.standard_error, b"\nCtrl-C: saving after this step; press it again to stop at once\n")
