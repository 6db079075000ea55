"""What happens beside the training: progress, history, checkpoints."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import atomic_path, write_text
from ssc_toolkit.progress import progress_bar


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all, and loaded without running what they hold."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return torch.load(path, map_location="cpu" if map_location is None else map_location, weights_only=True)


class StepProgress(pl.Callback):
    """One line that counts the steps, with the latest loss.

    Args:
        title: what the line begins with.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._bar: Any | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar = progress_bar(total=trainer.max_steps, initial=trainer.global_step, desc=self.title, unit="step")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{float(outputs['loss']):.3f}", refresh=False)
            self._bar.update(trainer.global_step - self._bar.n)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if self._bar is not None:
            self._bar.close()


class History(pl.Callback):
    """Keeps step, loss and learning rate of each step, and what is measured on the encoder now and then.

    The rows are part of the checkpoint, so a resumed run goes on with those of its checkpoint and each
    step is there once; they are also written to a CSV file, with every checkpoint and at the end.

    Args:
        path: the CSV file.
        measures: functions of the encoder in eval mode, by the name of their column.
        every: steps between measurements; the last step is measured too.
    """

    def __init__(
        self, path: Path, measures: Mapping[str, Callable[[nn.Module], float]] | None = None, every: int = 25
    ) -> None:
        self.path = path
        self.measures = measures or {}
        self.every = every
        self.rows: list[dict[str, float]] = []
        self._learning_rate = 0.0

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        step = trainer.global_step
        row = {"step": step, "loss": float(outputs["loss"]), "learning_rate": self._learning_rate}
        if not math.isfinite(row["loss"]):
            raise InputError(
                f"the loss is {row['loss']} at step {step}: lower learning_rate or raise temperature, and choose "
                "another folder; the last checkpoint is as it was"
            )
        if self.measures and (step % self.every == 0 or step == trainer.max_steps):
            row |= _measure(pl_module.model.encoder, self.measures)  # type: ignore[union-attr,arg-type]
        self.rows.append(row)

    def state_dict(self) -> dict[str, Any]:
        self.write()
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.write()

    def write(self) -> None:
        """Write the CSV file; a cell is empty where nothing was measured."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", "loss", "learning_rate", *self.measures], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(self.path, text.getvalue())


def _measure(encoder: nn.Module, measures: Mapping[str, Callable[[nn.Module], float]]) -> dict[str, float]:
    was_training = encoder.training
    encoder.eval()
    try:
        return {name: measure(encoder) for name, measure in measures.items()}
    finally:
        encoder.train(was_training)
