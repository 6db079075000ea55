"""Groups of advanced options of a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import (
    MAX_FINITE,
    MAX_PROJECTOR_DEPTH,
    check_fraction,
    check_integer,
    check_number,
    check_positive,
)
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices, check_layers

AUTO = "auto"
"""Value of the options that are chosen by measurements before the first step: learning rate and precision."""


@dataclass(frozen=True, kw_only=True)
class OptimizerOptions:
    """Optimizer and learning-rate schedule.

    Args:
        name: "Adam", or "AdamW", which decouples the weight decay from the gradient.
        weight_decay: weight decay of all parameters.
        schedule: learning-rate schedule after the warmup: "cosine" decays to zero along half a cosine, "constant" keeps
            the rate.
        warmup: fraction of the steps in which the learning rate rises linearly at the start, 0 to 1. The default is 0.1
            with "cosine", and no warmup with "constant".
        warmup_steps: number of steps in which the learning rate rises linearly at the start, instead of `warmup`. With
            "constant", only this option sets a warmup, because a run can be made longer.
        max_grad_norm: maximum Euclidean norm of the gradient of a step. Larger gradients are scaled down to it. The
            default is no limit.
        ema_decay: decay of an exponential moving average of the weights, such as 0.999. The averaged weights are
            validated and saved as the encoder. The default is no average.
    """

    name: Literal["Adam", "AdamW"] = "Adam"
    weight_decay: float = 0.0
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: float | None = None
    warmup_steps: int | None = None
    max_grad_norm: float | None = None
    ema_decay: float | None = None

    @property
    def warmup_fraction(self) -> float:
        """Fraction of the steps in the warmup, if `warmup_steps` is None."""
        return (0.1 if self.schedule == "cosine" else 0.0) if self.warmup is None else self.warmup

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        check_choices(self, "optimizer.")
        check_number("optimizer.weight_decay", self.weight_decay, 0)
        if self.warmup is not None:
            check_fraction("optimizer.warmup", self.warmup)
        if self.warmup_steps is not None:
            check_integer("optimizer.warmup_steps", self.warmup_steps, 0)
            if self.warmup is not None:
                raise InputError("optimizer.warmup_steps: expected no optimizer.warmup as well, got both")
        if self.max_grad_norm is not None:
            check_positive("optimizer.max_grad_norm", self.max_grad_norm)
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise InputError(f"optimizer.ema_decay: expected a number above 0 and below 1, got {self.ema_decay}")
        if self.warmup and self.schedule == "constant":
            raise InputError(
                "optimizer.warmup: expected optimizer.warmup_steps with the constant schedule, which does not depend "
                f"on the number of steps, got a fraction of the steps, {self.warmup}"
            )


@dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """Devices, precision, and computation of the steps.

    Args:
        accelerator: device type; "auto" uses a GPU if there is one.
        devices: number of processes per machine, one for each GPU. `batch_size` is the batch size of each process.
        num_nodes: number of machines.
        strategy: Lightning's name of the distributed strategy, such as "ddp"; "auto" selects one.
        sync_batchnorm: compute the statistics of batch normalization over the batches of all processes.
        precision: "32", "bf16" or "fp16". The loss is always computed in 32 bits. "auto" times a few steps with "32"
            and "bf16" before the first step, chooses "bf16" if it is faster by a factor of at least 1.1 and the
            gradients of the first batch are similar, and records the choice in `precision.json`.
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
    precision: Literal["32", "bf16", "fp16", "auto"] = "32"
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
        if self.precision == AUTO and self.compile:
            raise InputError(
                "trainer.precision: expected 32, bf16 or fp16 with trainer.compile, got auto, which times steps "
                "that are not compiled"
            )
        if self.precision == AUTO and self.accelerator == "mps":
            raise InputError("trainer.precision: expected 32 or bf16 with trainer.accelerator=mps, got auto")


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Weighting of the pairs of the loss. The defaults are those of the SemiSupCon paper.

    Args:
        label_weight: weight of a pair of tracks with equal labels, relative to a pair of views of one track, at least
            0. With many labeled tracks of a class in a batch, a small weight keeps the loss from comparing labels only.
            With `projector.heads=separate`, it is the weight of the loss of the labels.
        label_weight_end: `label_weight` of the last step, at least 0. The weight changes linearly from step to step. By
            default it is constant.
        denominator: "all": the denominator of an anchor sums over all other embeddings. "negatives": it sums over its
            negatives only (decoupled contrastive learning).
        beta: concentration of the hard negatives, at least 0. 0: all negatives have equal weight.
        tau_plus: probability that a negative is in fact a positive, at least 0 and below 1.
        sigma: width of the weighting of positives by distance, above 0; None for no weighting.
    """

    label_weight: float = 1.0
    label_weight_end: float | None = None
    denominator: Literal["all", "negatives"] = "all"
    beta: float = 0.0
    tau_plus: float = 0.0
    sigma: float | None = None

    def check(self) -> None:
        """Raise InputError for a value out of range."""
        check_choices(self, "loss.")
        for name in ("label_weight", "beta"):
            check_number(f"loss.{name}", getattr(self, name), 0)
        if self.label_weight_end is not None:
            check_number("loss.label_weight_end", self.label_weight_end, 0)
        if check_fraction("loss.tau_plus", self.tau_plus) == 1:
            raise InputError("loss.tau_plus: expected a fraction below 1, got 1")
        if self.sigma is not None:
            check_positive("loss.sigma", self.sigma, high=MAX_FINITE)


@dataclass(frozen=True, kw_only=True)
class ProjectorOptions:
    """Projector between the encoder and the loss. The defaults are those of the SemiSupCon paper.

    Args:
        depth: number of linear layers. With 1, the projector is linear. With 0, there is no projector, and the loss
            compares the embeddings of the encoder.
        hidden_dim: width of the hidden layers; by default the width of the embedding.
        output_dim: width of the projection.
        bias: whether the linear layers have a bias.
        norm: "batch" or "layer" normalization before each ReLU, or "none".
        heads: "shared": one projector. "separate": two projectors on the same encoder. The loss compares views of one
            track by the first, and labels by the second. It is the sum of the two losses, the second multiplied by
            `loss.label_weight`.
    """

    depth: int = 2
    hidden_dim: int | None = None
    output_dim: int = 128
    bias: bool = False
    norm: Literal["none", "batch", "layer"] = "none"
    heads: Literal["shared", "separate"] = "shared"

    def check(self) -> None:
        """Raise InputError for a value out of range, or for an option that has no effect at this depth."""
        check_choices(self, "projector.")
        check_integer("projector.depth", self.depth, 0, MAX_PROJECTOR_DEPTH)
        check_integer("projector.output_dim", self.output_dim, 1)
        if self.hidden_dim is not None:
            check_integer("projector.hidden_dim", self.hidden_dim, 1)
        defaults = ProjectorOptions()
        without_effect = [
            *["hidden_dim", "norm"] * (self.depth < 2),
            *["output_dim", "bias", "heads"] * (self.depth == 0),
        ]
        for name in without_effect:
            if getattr(self, name) != getattr(defaults, name):
                raise InputError(
                    f"projector.{name}: expected {getattr(defaults, name)}, because it has no effect with "
                    f"projector.depth={self.depth}, got {getattr(self, name)}"
                )


@dataclass(frozen=True, kw_only=True)
class ReadoutOptions:
    """Readout that the encoder is saved with. Evaluations use it by default. It does not change the training.

    Args:
        frame_pooling: how the frames of a window are combined: mean, max, mean_std (mean and standard deviation),
            unit_mean_std (the same, each divided by its norm), scaled_mean_std (also by the square root of its width)
            or default (that of the architecture).
        layers: layers whose frames are used: last, all, or a list of names. Their embeddings are concatenated.
    """

    frame_pooling: Literal["default", "mean", "mean_std", "unit_mean_std", "scaled_mean_std", "max"] = "scaled_mean_std"
    layers: tuple[str, ...] | str = "all"

    def check(self) -> None:
        """Raise InputError if the pooling is unknown, or if the list of layers is empty or has a layer twice."""
        check_choices(self, "readout.")
        check_layers((self.layers,) if isinstance(self.layers, str) else self.layers, "readout.")


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
