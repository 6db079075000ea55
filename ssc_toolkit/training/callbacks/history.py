"""Recording of loss and other values of a training, with one row per step."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading, verify_listed, write_json, write_text
from ssc_toolkit.training.module import STATISTICS

NOT_FINITE_FILE = "not_finite.json"
"""Name of the file that lists the items of a batch whose loss is NaN or infinite."""
_MIN_SECONDS = 1.0
"""Minimum number of seconds between two times at which the CSV file is written, except with a checkpoint."""
_PAUSE = 50
"""Minimum pause between them, as a multiple of the time that writing takes."""


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
    per second of all processes. At some steps, it also contains values that other callbacks record. The values stay on
    the device; they are read after the first step, every `read_every` steps and before each checkpoint.

    The rows are stored in the checkpoint. A resumed run continues these rows, so each step occurs once. The rows are
    also written to a CSV file after the first step, then about once per second, with every checkpoint and at the end.

    Args:
        path: path of the CSV file.
        recorded: names of the columns of the values that other callbacks record.
        describe_item: function that takes the row number of an item and returns its file, for the file that lists the
            batch of a NaN or infinite loss.
        read_every: number of steps between reads from the device, if it is not the CPU.
    """

    def __init__(
        self,
        path: Path,
        recorded: Sequence[str] = (),
        describe_item: Callable[[int], str] = str,
        read_every: int = 10,
    ) -> None:
        self.path = path
        self.recorded = tuple(recorded)
        self.describe_item = describe_item
        self.read_every = read_every
        self.rows: list[dict[str, float]] = []
        self._learning_rate = 0.0
        self._batches: list[tuple[Tensor, Tensor, int]] = []  # the accumulated batches of the current step
        self._waiting: list[_Waiting] = []
        self._since = 0.0
        self._next_write = 0.0
        self._rank, self._world_size = 0, 1

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the CSV file `history.csv`."""
        return ["step", "loss", "learning_rate", *STATISTICS, "clips_per_second", *self.recorded]

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
        if mean.device.type == "cpu" or not self.rows or step % self.read_every == 0:
            self._read()
            pl_module.log("clips_per_second", self.rows[-1]["clips_per_second"])
            if time.monotonic() >= self._next_write:
                self._write_from_first_process()

    def record(self, values: Mapping[str, float], seconds: float = 0.0) -> None:
        """Add values by column name to the row of the last step.

        `seconds` is the time that their computation took. It does not count as training time in `clips_per_second`.
        """
        self._since += seconds
        self._read()
        self.rows[-1] |= values

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
            begin = time.monotonic()
            self.write()
            end = time.monotonic()
            self._next_write = end + max(_MIN_SECONDS, _PAUSE * (end - begin))

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
        name = NOT_FINITE_FILE if self._world_size == 1 else f"process-{self._rank}-{NOT_FINITE_FILE}"
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
