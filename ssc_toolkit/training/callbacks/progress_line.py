"""Progress line of a training."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl

from ssc_toolkit.progress import progress_bar
from ssc_toolkit.training.callbacks.history import History
from ssc_toolkit.training.callbacks.validation import Validation

_FORMAT = "{desc}: {n_fmt}/{total_fmt} [{elapsed}, {remaining} left{postfix}]"


class StepProgress(pl.Callback):
    """Callback that shows a progress line with steps, time left, loss, clips per second and a validation measure.

    Args:
        title: text at the start of the line.
        history: callback of the same training that reads the losses from the device.
        validation: callback of the same training that measures the module, or None.
        measure: name of the measure in the line.
    """

    def __init__(
        self, title: str, history: History, validation: Validation | None = None, measure: str = "val_loss"
    ) -> None:
        self.title = title
        self.history = history
        self.validation = validation
        self.measure = measure
        self._bar: Any | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            done, steps = trainer.global_step, trainer.max_steps
            self._bar = progress_bar(total=steps, initial=done, desc=self.title, unit="step", bar_format=_FORMAT)

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.set_postfix_str(self._describe(), refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._close()

    def _describe(self) -> str:
        """Return a text with the latest loss, validation measure, and number of clips per second."""
        parts = []
        if self.history.rows:
            parts.append(f"loss {self.history.rows[-1]['loss']:.3f}")
        if self.validation is not None and self.measure in self.validation.values:
            parts.append(f"{self.measure} {self.validation.values[self.measure]:.3f}")
        if self.history.rows:
            parts.append(f"{self.history.rows[-1]['clips_per_second']:.0f} clips/s")
        return ", ".join(parts)

    def _close(self) -> None:
        """Close the progress line, so that it is not drawn again when Python deletes it."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
