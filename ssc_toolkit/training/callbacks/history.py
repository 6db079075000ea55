"""Recording of loss and other values of a training, with one row per step."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading, verify_listed, write_json, write_text
from ssc_toolkit.training.module import STATISTICS

Measures = Mapping[str, Callable[[nn.Module], float]]
NOT_FINITE = "not_finite.json"
"""Name of the file that lists the items of a batch whose loss is NaN or infinite."""


class _Waiting(NamedTuple):
    """A training step whose values have not been read from the device yet."""

    step: int
    learning_rate: float
    numbers: Tensor
    items: Tensor
    clips: int


class History(pl.Callback):
    """Callback that records a row for each step, and stops the training when the loss is NaN or infinite.

    A row contains the step, the loss, the learning rate, the statistics of `SemiSupConModule`, and the number of views
    per second of all processes. At some steps, it also contains measures of the encoder. The values stay on the device;
    they are read every `read_every` steps and before each checkpoint.

    The rows are stored in the checkpoint. A resumed run continues these rows, so each step occurs once. The rows are
    also written to a CSV file with every checkpoint and at the end.

    Args:
        path: path of the CSV file.
        measures: functions that take the encoder in eval mode and return a number, by the name of its column.
        every: number of steps between measurements. The last step is always measured.
        describe_item: function that takes the row number of an item and returns its file, for the file that lists the
            batch of a NaN or infinite loss.
        read_every: number of steps between reads from the device, if it is not the CPU.
    """

    def __init__(
        self,
        path: Path,
        measures: Measures | None = None,
        every: int = 25,
        describe_item: Callable[[int], str] = str,
        read_every: int = 10,
    ) -> None:
        self.path = path
        self.measures = measures or {}
        self.every = every
        self.describe_item = describe_item
        self.read_every = read_every
        self.rows: list[dict[str, float]] = []
        self._learning_rate = 0.0
        self._batches: list[tuple[Tensor, Tensor, int]] = []  # the accumulated batches of the current step
        self._waiting: list[_Waiting] = []
        self._since = 0.0
        self._rank, self._world_size = 0, 1

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the CSV file `history.csv`."""
        return ["step", "loss", "learning_rate", *STATISTICS, "clips_per_second", *self.measures]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()
        self._rank, self._world_size = trainer.global_rank, trainer.world_size

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        numbers = [outputs["loss"].detach(), *(outputs["statistics"][name] for name in STATISTICS)]
        self._batches.append((torch.stack(numbers), batch["item"], batch["waveforms"].shape[:2].numel()))
        if len(self._batches) < trainer.accumulate_grad_batches:
            return
        values, items, clips = zip(*self._batches, strict=True)
        self._batches = []
        mean = values[0] if len(values) == 1 else torch.stack(values).mean(dim=0)
        step = trainer.global_step
        self._waiting.append(_Waiting(step, self._learning_rate, mean, torch.cat(items), sum(clips)))
        is_measured = bool(self.measures) and (step % self.every == 0 or step == trainer.max_steps)
        if mean.device.type == "cpu" or is_measured or step % self.read_every == 0:
            self._read()
            pl_module.log("clips_per_second", self.rows[-1]["clips_per_second"])
        if is_measured and trainer.is_global_zero:
            with pl_module.evaluated_weights():  # type: ignore[operator]
                found = _measure(pl_module.model.encoder, self.measures)  # type: ignore[union-attr,arg-type]
            self.rows[-1] |= found
            pl_module.log_dict(found, rank_zero_only=True)
            self._since = time.monotonic()  # the time of the measurement does not count as training

    def state_dict(self) -> dict[str, Any]:
        self._read()
        self._write_from_first_process()
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._read()
        self._write_from_first_process()

    def _write_from_first_process(self) -> None:
        if self._rank == 0:
            self.write()

    def write(self) -> None:
        """Write the recorded rows to the CSV file. A cell without a value is empty."""
        rows = [[row.get(column) for column in self.columns] for row in self.rows]
        write_text(self.path, format_csv(self.columns, rows))

    def _read(self) -> None:
        """Read the values of recent steps from the device, and append a row for each step.

        Raises:
            InputError: if a loss is NaN or infinite.
        """
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        numbers = torch.stack([step.numbers for step in waiting]).double().tolist()  # the CPU waits for the device here
        now = time.monotonic()
        clips = sum(step.clips for step in waiting) * self._world_size / max(now - self._since, 1e-9)
        self._since = now
        for step, (loss, *statistics) in zip(waiting, numbers, strict=True):
            if not math.isfinite(loss):
                self._stop(step, loss)
            row = {"step": step.step, "loss": loss, "learning_rate": step.learning_rate}
            self.rows.append({**row, **dict(zip(STATISTICS, statistics, strict=True)), "clips_per_second": clips})

    def _stop(self, step: _Waiting, loss: float) -> None:
        items = [{"item": item, "file": self.describe_item(item)} for item in step.items.tolist()]
        name = NOT_FINITE if self._world_size == 1 else f"process-{self._rank}-{NOT_FINITE}"
        report = self.path.with_name(name)
        write_json(report, {"step": step.step, "loss": str(loss), "items": items})
        raise InputError(
            f"learning_rate: the loss is {loss} at step {step.step}; choose a lower learning_rate or a higher "
            f"temperature, and another folder. The last checkpoint is unchanged, and {report} lists the batch"
        )


def read_history(path: Path, argument: str) -> list[dict[str, str]]:
    """Read the file `history.csv` of a complete training run.

    Args:
        path: path of the file.
        argument: name of the argument that gave the file, for the error message.

    Returns:
        A dictionary from column name to cell for each step. Every cell is the text of a number or empty.

    Raises:
        InputError: if the file cannot be read, was not written by `History`, or was changed after the run. Changes are
            not detected in runs of earlier versions, which have no checksum.
    """
    advice = "restore it, or delete the folder of the run and train again"
    verify_listed(path.parent, argument, advice, [path.name])
    with reading(argument, path, advice), path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
        if not rows or "step" not in rows[0]:
            raise ValueError("it contains no steps")
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                raise ValueError(f"line {number} has another number of cells than the header")
            for cell in row.values():
                float(cell or 0)
        return rows


def _measure(encoder: nn.Module, measures: Measures) -> dict[str, float]:
    was_training = encoder.training
    encoder.eval()
    try:
        return {name: measure(encoder) for name, measure in measures.items()}
    finally:
        encoder.train(was_training)
