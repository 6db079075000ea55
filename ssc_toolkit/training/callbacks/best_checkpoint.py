"""Best checkpoint of a training, and early stopping."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from ssc_toolkit.files import reading
from ssc_toolkit.options.validation import MEASURES
from ssc_toolkit.training.callbacks.validation import Validation, completes_step

logger = logging.getLogger(__name__)


class BestCheckpoint(pl.Callback):
    """Callback that saves the checkpoint with the best value of a measure, and can stop the training early.

    The best value and the number of validations since then are part of each checkpoint, so a resumed training selects
    the same checkpoint and stops at the same step. If the best checkpoint was deleted, or the measure or the validation
    tracks have changed, the best checkpoint is selected from the following validations.

    Pass it to the trainer after the callback `validation`.

    Args:
        path: path of the best checkpoint. Only this file is written.
        validation: callback that measures the module.
        monitor: name of the measure, one of `ssc_toolkit.options.validation.MEASURES`.
        patience: number of validations without an improvement after which the training stops; None to never stop.
        measured_on: text that identifies the validation tracks.

    Attributes:
        value: best value so far, or None.
        step: step of the best value, or None.
        wait: number of validations since the best value.
        saved: value and step of the checkpoint in the file, or None without a file. They differ from `value` and `step`
            if the run was killed after this checkpoint and before its next one, and then continued in another way.
    """

    def __init__(
        self,
        path: Path,
        validation: Validation,
        monitor: str,
        patience: int | None = None,
        measured_on: str = "",
    ) -> None:
        self.path = path
        self.validation = validation
        self.monitor = monitor
        self.patience = patience
        self.measured_on = measured_on
        self.value: float | None = None
        self.step: int | None = None
        self.wait = 0
        self.saved: tuple[float, int] | None = None
        self._is_resumed = False

    @property
    def is_exhausted(self) -> bool:
        """Whether the measure has not improved for `patience` validations."""
        return self.patience is not None and self.wait >= self.patience

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        is_lost = self.step is not None and not self.path.exists()
        if trainer.strategy.broadcast(is_lost):
            if trainer.is_global_zero:
                logger.warning(
                    "out: %s of step %s does not exist; the best checkpoint is selected from the following steps",
                    self.path,
                    self.step,
                )
            self.value = self.step = None
            self.wait = 0
        found = self._read_saved() if self._is_resumed and trainer.is_global_zero else None
        self.saved = trainer.strategy.broadcast(found)

    def _read_saved(self) -> tuple[float, int] | None:
        """Return value and step in the file of the best checkpoint, if they belong to the same measure and tracks."""
        if not self.path.exists():
            return None
        with reading("out", self.path, "restore it, or delete it to select it from the following steps"):
            content = torch.load(self.path, map_location="meta", weights_only=True, mmap=True)
            state = content["callbacks"][self.state_key]
            if (state["monitor"], state["measured_on"]) != (self.monitor, self.measured_on):
                return None
            return float(state["value"]), int(state["step"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.is_exhausted:  # the run was killed after the checkpoint of its last step
            trainer.should_stop = True

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if not completes_step(trainer, batch_idx) or self.validation.step != step:
            return
        value = self.validation.values.get(self.monitor)
        if value is not None and (self.value is None or MEASURES[self.monitor].is_better(value, self.value)):
            self.value, self.step, self.wait = value, step, 0
            if self.saved is None or not MEASURES[self.monitor].is_better(self.saved[0], value):
                self.saved = value, step
                trainer.save_checkpoint(self.path)
            return
        if step % self.validation.every == 0:  # the last step of a run that is made longer does not count
            self.wait += 1
        if self.is_exhausted:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        names = ("monitor", "measured_on", "value", "step", "wait")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._is_resumed = True
        if (state_dict["monitor"], state_dict["measured_on"]) == (self.monitor, self.measured_on):
            self.value, self.step, self.wait = (state_dict[name] for name in ("value", "step", "wait"))
