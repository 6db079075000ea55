"""Groups of advanced options of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction, check_integer, check_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Optimizer and learning-rate schedule.

    Args:
        name: "Adam", or "AdamW", which decouples the weight decay from the gradient.
        weight_decay: weight decay of all parameters.
        schedule: learning-rate schedule after the warmup: "cosine" decays to zero along half a cosine, "constant" keeps
            the rate.
        warmup: fraction of the steps in which the learning rate rises linearly, 0 to 1.
    """

    name: Literal["Adam", "AdamW"] = "Adam"
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        check_choices(self, "optimizer.")
        check_number("optimizer.weight_decay", self.weight_decay, 0)
        check_fraction("optimizer.warmup", self.warmup)


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Devices, precision, and computation of the steps.

    Args:
        accelerator: device type; "auto" uses a GPU if there is one.
        devices: number of processes per machine, one for each GPU. `batch_size` is the batch size of each process.
        num_nodes: number of machines.
        strategy: Lightning's name of the distributed strategy, such as "ddp"; "auto" selects one.
        sync_batchnorm: compute the statistics of batch normalization over the batches of all processes.
        precision: "32", "bf16" or "fp16". The loss is always computed in 32 bits.
        accumulate: number of batches whose gradients are accumulated for one step. The loss compares only items of the
            same batch.
        chunk_size: number of items that pass through the encoder at once. Set it if a batch does not fit in memory. The
            default is the whole batch.
        compile: compile encoder and projector with `torch.compile`.
    """

    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: str = "auto"
    sync_batchnorm: bool = False
    precision: Literal["32", "bf16", "fp16"] = "32"
    accumulate: int = 1
    chunk_size: int | None = None
    compile: bool = False

    def check(self) -> None:
        """Raise InputError if a value is invalid. The devices of the machine are checked when the training starts."""
        check_choices(self, "trainer.")
        for name in ("devices", "num_nodes", "accumulate"):
            check_integer(f"trainer.{name}", getattr(self, name), 1)
        if self.chunk_size is not None:
            check_integer("trainer.chunk_size", self.chunk_size, 1)
        if self.precision == "fp16" and self.accelerator == "cpu":
            raise InputError("trainer.precision: expected bf16 or 32 on a CPU, got fp16, which needs a GPU")


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """Logs of a training, in addition to `history.csv`.

    Args:
        tensorboard: write event files for TensorBoard to `tensorboard/`.
        wandb: project of Weights & Biases to log to; the package must be installed.
        every: number of steps between log entries. Values are read from a GPU only at these steps.
        pictures_every: number of steps between plots of the similarities and target weights of a batch; 0 for no plots.
    """

    tensorboard: bool = True
    wandb: str | None = None
    every: int = 10
    pictures_every: int = 500

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        for name, least in (("every", 1), ("pictures_every", 0)):
            check_integer(f"logs.{name}", getattr(self, name), least)
