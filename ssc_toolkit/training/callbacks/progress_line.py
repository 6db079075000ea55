"""Progress line of a training."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from ssc_toolkit.progress import progress_bar
from ssc_toolkit.training.callbacks.history import History


class StepProgress(pl.Callback):
    """Callback that shows a progress line with the number of steps and the latest logged loss.

    Args:
        title: text at the start of the line.
        history: callback of the same training that reads the losses from the device.
    """

    def __init__(self, title: str, history: History) -> None:
        self.title = title
        self.history = history
        self._bar: Any | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._bar = progress_bar(total=trainer.max_steps, initial=trainer.global_step, desc=self.title, unit="step")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            if self.history.rows:
                self._bar.set_postfix(loss=f"{self.history.rows[-1]['loss']:.3f}", refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _close(self) -> None:
        """Close the progress line, so that it is not drawn again when Python deletes it."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
