"""Validation of a training at regular intervals."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

from ssc_toolkit.training.validation import ValidationSet


def completes_step(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Return whether the batch with the number `batch_idx` is the last of the batches of an optimizer step."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


class Validation(pl.Callback):
    """Callback that measures the module on a validation set every `every` steps and after the last step.

    The training is the same as without this callback. With several processes, the first process measures, and all
    processes get the values. The values are logged, so other callbacks of Lightning can monitor them.

    Args:
        validation_set: validation set, which a process other than the first does not read.
        every: number of steps between validations.
        record: function that is called in the first process with the values and the seconds that the measurement took,
            such as `History.record`.

    Attributes:
        values: values of the last validation, by name of the measure.
        step: step of the last validation, or 0.
    """

    def __init__(
        self,
        validation_set: ValidationSet,
        every: int = 50,
        record: Callable[[Mapping[str, float], float], None] | None = None,
    ) -> None:
        self.validation_set = validation_set
        self.every = every
        self.record = record
        self.values: dict[str, float] = {}
        self.step = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if not completes_step(trainer, batch_idx) or (step % self.every and step != trainer.max_steps):
            return
        begin, found = time.monotonic(), dict[str, float]()
        if trainer.is_global_zero:
            with trainer.precision_plugin.forward_context():
                found = self.validation_set.measure(pl_module)
        seconds = time.monotonic() - begin
        self.values, self.step = trainer.strategy.broadcast(found), step
        pl_module.log_dict(self.values, logger=False, rank_zero_only=True)
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:  # `log_dict` would log only at the steps at which the loss is logged
            logger.log_metrics(self.values, step=step)
        if self.record is not None:
            self.record(self.values, seconds)

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "step": self.step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.values, self.step = dict(state_dict["values"]), state_dict["step"]
