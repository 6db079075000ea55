"""Schedule of the weight of label positives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch

from ssc_toolkit.losses import CrossBatchMemory
from ssc_toolkit.training.callbacks.validation import completes_step

LABEL_WEIGHT = "label_weight"


class LabelWeight(pl.Callback):
    """Callback that changes the weight of label positives linearly over the steps of a training.

    The weight of a step depends only on the number of the step and on the number of steps of the training. A resumed
    run therefore has the same weights. If a run is made longer, the remaining steps have the weights of a training of
    the new length.

    Between the steps, the loss has the weight of the last step, so that the values of a validation are comparable.

    Args:
        start: weight of the first step.
        end: weight of the last step.
        every: number of steps between records of the weight.
        record: function that is called with the weight by name in the first process, such as `History.record`.
    """

    def __init__(
        self,
        start: float,
        end: float,
        every: int = 10,
        record: Callable[[Mapping[str, float]], None] | None = None,
    ) -> None:
        self.start = start
        self.end = end
        self.every = every
        self.record = record

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        weight = interpolate(self.start, self.end, trainer.global_step, trainer.max_steps)
        _set_weight(pl_module, weight)
        pl_module.log(LABEL_WEIGHT, torch.tensor(weight))  # on the CPU: does not wait for the device

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        _set_weight(pl_module, self.end)
        step = trainer.global_step
        if self.record is None or step % self.every or not completes_step(trainer, batch_idx):
            return
        if trainer.is_global_zero:
            self.record({LABEL_WEIGHT: interpolate(self.start, self.end, step - 1, trainer.max_steps)})


def interpolate(start: float, end: float, step: int, steps: int) -> float:
    """Return the value of a step on a line from `start` at the first step to `end` at the last step.

    Args:
        start: value of the first step.
        end: value of the last step.
        step: number of the step, starting at 0.
        steps: number of steps. If there is only one, its value is `start`.

    Examples:
        >>> [interpolate(1.0, 0.2, step, 5) for step in (0, 2, 4)]
        [1.0, 0.6, 0.2]
    """
    fraction = step / (steps - 1) if steps > 1 else 0.0
    return (1 - fraction) * start + fraction * end


def _set_weight(module: Any, weight: float) -> None:
    loss = module.loss.loss if isinstance(module.loss, CrossBatchMemory) else module.loss
    loss.label_weight = weight
