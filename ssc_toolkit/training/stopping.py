"""SIGTERM, by which schedulers take machines away, and Ctrl-C: save, and stop."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a process that stopped for SIGTERM, as shells count it."""
_STDERR = 2


class StopOnSignal(pl.Callback):
    """Saves and ends the training after the step in which SIGTERM or Ctrl-C came, on all processes, whichever got it.

    A second Ctrl-C does not wait for the step.

    Args:
        checkpoint: file to save to.

    Attributes:
        stopped: whether the training was ended by a signal.
        signal: the first one that came to this process, or None.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.stopped = False
        self.signal: signal.Signals | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        # Lightning's own handler of SIGTERM would leave without saving; at the end it puts back what was there before.
        signal.signal(signal.SIGTERM, self._ask)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in a shell's background job
            signal.signal(signal.SIGINT, self._ask)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # gradients that are still being accumulated are in no checkpoint
        asked = self.signal is not None and not self.stopped
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            # Now, and not when the loop has ended: then it would count as an epoch of its own, and draw otherwise.
            trainer.save_checkpoint(self.checkpoint)
            self.stopped = trainer.should_stop = True

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or signal.Signals(number)
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            with contextlib.suppress(OSError):  # not by `print`, which may be at work when the signal comes
                os.write(_STDERR, b"\nCtrl-C: saving after this step; once more to stop at once\n")
