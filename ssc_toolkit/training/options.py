"""Options of a training that few have to touch, in groups."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal, get_type_hints

import torch

from ssc_toolkit.checks import check_fraction, check_number, check_whole
from ssc_toolkit.errors import InputError

OPTIMIZERS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Our names of the precisions, and Lightning's."""


@dataclass(frozen=True)
class OptimizerOptions:
    """The optimiser and its schedule.

    Args:
        name: "Adam", or "AdamW", which takes the weight decay apart from the gradient.
        weight_decay: of all parameters.
        schedule: "cosine" falls to zero along half a cosine; "constant" stays.
        warmup: share of the steps over which the learning rate rises linearly, 0 to 1.
    """

    name: Literal["Adam", "AdamW"] = "Adam"
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float = 0.1

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        _check_choices(self, "optimizer")
        check_number("optimizer.weight_decay", self.weight_decay, 0)
        check_fraction("optimizer.warmup", self.warmup)


@dataclass(frozen=True)
class TrainerOptions:
    """On what, and how, the steps are computed.

    Args:
        accelerator: "auto" takes a GPU if there is one.
        devices: processes on this machine, one a GPU; `batch_size` is that of each.
        num_nodes: machines.
        strategy: Lightning's name of how processes work together, such as "ddp"; "auto" chooses.
        sync_batchnorm: let batch normalisation see the batches of all processes.
        precision: "32", "bf16" or "fp16"; the loss is computed in 32 bits in any case.
        accumulate: batches whose gradients make up a step; contrasts are those of one batch all the same.
        chunk_size: items that go through the encoder at once, for a batch that is larger than memory; all of them if
            not given.
        compile: let `torch.compile` work on encoder and projector.
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
        """Raise InputError for what cannot be had here."""
        _check_choices(self, "trainer")
        for name in ("devices", "num_nodes", "accumulate"):
            check_whole(f"trainer.{name}", getattr(self, name), 1)
        if self.chunk_size is not None:
            check_whole("trainer.chunk_size", self.chunk_size, 1)
        gpus = torch.cuda.device_count()
        on_gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and gpus > 0)
        if self.accelerator == "gpu" and not gpus:
            raise InputError(
                "trainer.accelerator: there is no GPU here that torch can use; --trainer.accelerator=cpu works"
            )
        if on_gpu and self.devices > gpus:
            raise InputError(f"trainer.devices: there are {gpus} GPUs here, got {self.devices}")
        if self.precision == "fp16" and not on_gpu:
            raise InputError("trainer.precision: fp16 needs a GPU; bf16 and 32 work on a CPU")


@dataclass(frozen=True)
class LogOptions:
    """What is written down while training, beside `history.csv`.

    Args:
        tensorboard: write event files for TensorBoard to `tensorboard/`.
        wandb: project of Weights & Biases to log to, if the package is installed.
        every: steps between entries there; on a GPU numbers are read from it no more often.
        measure_every: steps between looks at the nearest neighbours in the valid split.
        pictures_every: steps between pictures of a batch's similarities and target weights; 0 for none.
    """

    tensorboard: bool = True
    wandb: str | None = None
    every: int = 10
    measure_every: int = 25
    pictures_every: int = 500

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        for name, least in (("every", 1), ("measure_every", 1), ("pictures_every", 0)):
            check_whole(f"logs.{name}", getattr(self, name), least)


def _check_choices(group: Any, name: str) -> None:
    """Raise InputError for a value that is none of a field's choices; the command line has checked it already."""
    hints = get_type_hints(type(group))
    for field in fields(group):
        choices = getattr(hints[field.name], "__args__", ())
        if all(isinstance(choice, str) for choice in choices) and choices and getattr(group, field.name) not in choices:
            raise InputError(
                f"{name}.{field.name}: expected one of {', '.join(choices)}, got {getattr(group, field.name)!r}"
            )
