"""Choice of the learning rate by a range test, a short training in which the learning rate grows."""

from __future__ import annotations

import copy
import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_checked_json
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.progress import progress_bar
from ssc_toolkit.training.callbacks.stopping import TERMINATED
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.fit import explain_errors, make_trainer, run_trainer
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.run_folder import LEARNING_RATE_FILE

logger = logging.getLogger(__name__)

STEPS, MIN_RATE, MAX_RATE = 60, 1e-6, 1.0
_SMOOTHED = 7
"""Number of steps over which the losses are averaged."""
_DIVERGED = 3.0
"""The range test ends if the loss exceeds that of the initial weights by this multiple of it, or of 1 if it is less."""


class RangeTest(NamedTuple):
    """Result of a range test.

    Attributes:
        rates: learning rate of each step.
        losses: loss of each step.
        initial_losses: loss of the initial weights for the batch of each step.
    """

    rates: list[float]
    losses: list[float]
    initial_losses: list[float]

    def choose(self) -> float:
        """Return the learning rate at which the loss falls most per unit of the logarithm of the rate.

        The loss is compared with that of the initial weights for the same batch, because the losses of different
        batches differ more. The differences are averaged over 7 steps. Rates above that of the lowest average are
        ignored.

        Raises:
            InputError: if the loss does not fall.

        Examples:
            >>> rates = list(np.geomspace(1e-6, 1, 100))
            >>> losses = [5 - 4 / (1 + (1e-3 / rate) ** 2) for rate in rates]
            >>> f"{RangeTest(rates, losses, [5.0] * 100).choose():.0e}"
            '1e-03'
        """
        half = _SMOOTHED // 2
        differences = np.subtract(self.losses, self.initial_losses[: len(self.losses)])
        padded = np.pad(differences, half, mode="edge")
        smooth = np.convolve(padded, np.full(_SMOOTHED, 1 / _SMOOTHED), mode="valid")
        end = int(smooth.argmin()) + 1
        slopes = np.gradient(smooth[:end], np.log(self.rates[:end])) if end > _SMOOTHED else np.zeros(1)
        if slopes.min() >= 0:
            raise InputError(
                f"learning_rate: expected a loss that falls between {MIN_RATE:g} and {MAX_RATE:g}, got none; pass a "
                "number instead of auto"
            )
        return float(f"{self.rates[int(slopes.argmin())]:.3g}")


def find_learning_rate(
    module: SemiSupConModule, data: SemiSupConDataModule, folder: Path, options: PretrainOptions
) -> float:
    """Choose the learning rate of a run by a range test, and record it in the folder of the run.

    The test trains a copy of the module for 60 steps with the first batches of the run, while the learning rate grows
    from 1e-6 to 1. It also computes the losses of the initial weights for the same batches. The module, the batches of
    the run and the random state of PyTorch are not changed.

    Args:
        module: module before its first step.
        data: data module of the training batches.
        folder: folder of the run, locked by the caller.
        options: options of the run, which uses one process.

    Returns:
        The learning rate.

    Raises:
        InputError: as for `fit`, or if the loss does not fall.
        SystemExit: with status 143 after SIGTERM.
        KeyboardInterrupt: after Ctrl-C.
    """
    device = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    rates = [MIN_RATE * (MAX_RATE / MIN_RATE) ** (step / (STEPS - 1)) for step in range(STEPS)]
    with (
        tempfile.TemporaryDirectory() as temporary,
        torch.random.fork_rng(devices=device),
        explain_errors(data),
        progress_bar(total=2 * STEPS, desc="learning rate", unit="step") as bar,
    ):

        def train(ramp: _Ramp) -> list[float]:
            torch.manual_seed(options.seed)
            trainer = make_trainer(Path(temporary), [ramp], options, max_steps=STEPS)
            run_trainer(trainer, copy.deepcopy(module), data)
            if trainer.received_sigterm:
                raise SystemExit(TERMINATED)
            return ramp.losses

        initial_losses = train(_Ramp([0.0] * STEPS, [math.inf] * STEPS, bar))
        if len(initial_losses) < STEPS:
            raise InputError("learning_rate: the loss of the initial weights is NaN or infinite; raise temperature")
        limits = [loss + _DIVERGED * max(abs(loss), 1.0) for loss in initial_losses]
        losses = train(_Ramp(rates, limits, bar))
    test = RangeTest(rates[: len(losses)], losses, initial_losses)
    rate = test.choose()
    write_checked_json(folder / LEARNING_RATE_FILE, {"learning_rate": rate, **test._asdict()})
    logger.info("learning rate %g, chosen by a range test", rate)
    return rate


class _Ramp(pl.Callback):
    """Callback that sets the learning rate of each step of a range test, and records the losses.

    Args:
        rates: learning rate of each step.
        limits: loss of each step above which the test ends.
        bar: progress bar.
    """

    def __init__(self, rates: Sequence[float], limits: Sequence[float], bar: Any) -> None:
        self.rates = rates
        self.limits = limits
        self.bar = bar
        self.losses: list[float] = []
        self._of_batches: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        for group in trainer.optimizers[0].param_groups:  # layers may have a fraction of the learning rate
            group["lr"] = self.rates[trainer.global_step] * group["initial_lr"] / pl_module.learning_rate

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._of_batches.append(float(outputs["loss"]))
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        loss, self._of_batches = sum(self._of_batches) / len(self._of_batches), []
        if not loss < self.limits[len(self.losses)]:
            trainer.should_stop = True
            return
        self.losses.append(loss)
        self.bar.update()
