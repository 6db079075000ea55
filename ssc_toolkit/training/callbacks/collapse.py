"""Warning about a training whose embeddings collapse."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl

from ssc_toolkit.evaluation import effective_rank
from ssc_toolkit.losses.unit_length import unit_length
from ssc_toolkit.training.callbacks.validation import completes_step

logger = logging.getLogger(__name__)

EFFECTIVE_RANK = "effective_rank"
MAX_UNIFORMITY = -0.1
"""Uniformity above which embeddings count as collapsed: the mean squared distance of two embeddings is about 0.05."""


class CollapseWarning(pl.Callback):
    """Callback that warns once if all embeddings of the training batches become nearly the same.

    Every `every` steps, it computes the effective rank of the projections of the batch, scaled to length 1. It warns if
    the uniformity of the batch (Wang and Isola 2020, arXiv 2005.10242) is above -0.1 in `patience` successive checks.
    The uniformity is 0 if all embeddings are the same, and about -4 if they are spread evenly. No labels and no
    validation set are needed. With several processes, the first process checks its own batch.

    Args:
        every: number of steps between checks.
        record: function that is called with the effective rank by name in the first process, such as `History.record`.
        patience: number of successive checks before the warning. An untrained encoder without batch normalization may
            look collapsed in its first steps.

    Attributes:
        is_collapsed: whether the warning was given.
    """

    def __init__(
        self, every: int = 10, record: Callable[[Mapping[str, float]], None] | None = None, patience: int = 3
    ) -> None:
        self.every = every
        self.record = record
        self.patience = patience
        self.is_collapsed = False
        self._count = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step % self.every or not completes_step(trainer, batch_idx) or not trainer.is_global_zero:
            return
        unit = unit_length(outputs["projection"].flatten(0, 1).float()).cpu().numpy()
        rank = effective_rank(unit)
        pl_module.log(EFFECTIVE_RANK, rank, rank_zero_only=True)
        if self.record is not None:
            self.record({EFFECTIVE_RANK: rank})
        uniformity = float(outputs["statistics"]["uniformity"])
        self._count = self._count + 1 if uniformity > MAX_UNIFORMITY else 0
        if self._count >= self.patience and not self.is_collapsed:
            self.is_collapsed = True
            logger.warning(
                "the embeddings have collapsed at step %d: nearly all of them are the same (uniformity %.3f, effective "
                "rank %.1f). Use a lower learning_rate, a larger batch_size, or labels with several classes",
                step,
                uniformity,
                rank,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"is_collapsed": self.is_collapsed, "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.is_collapsed, self._count = state_dict["is_collapsed"], state_dict["count"]
