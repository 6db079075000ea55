"""LightningModule for semi-supervised contrastive pretraining."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.checks import check_choice, check_fraction, check_integer, check_positive
from ssc_toolkit.data import as_float
from ssc_toolkit.encoders import ContrastiveModel, ProjectorHeads
from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss, contrastive_statistics
from ssc_toolkit.losses.arguments import LossArguments
from ssc_toolkit.losses.gradient_cache import GradientCache
from ssc_toolkit.seeds import make_generator
from ssc_toolkit.targets import Target
from ssc_toolkit.training.callbacks.weight_average import WeightAverage
from ssc_toolkit.training.layer_rates import make_parameter_groups

STATISTICS = ("alignment", "uniformity", "positives_per_anchor")
"""Names of the results of `contrastive_statistics` that are logged."""


class SemiSupConModule(pl.LightningModule):
    """LightningModule that augments the views on the device, encodes them, and computes the contrastive loss.

    A training batch is a dictionary, as `ContrastiveDataset` returns it. It contains `waveforms` (items, views,
    channels, samples), as floats or 16-bit integers, and optionally `labels` and `labeled` (items, ...). The random
    augmentation of a step depends only on the seed, the epoch and the number of the batch, so it is the same in a
    resumed run. A batch of `SemiSupConDataModule` also contains `places`, the indices of its items among those of all
    processes. The items are then augmented as if one process had the whole batch.

    The module logs `loss`, `learning_rate` and three statistics of the batch of the process: `alignment`, `uniformity`
    and `positives_per_anchor`. Logging does not wait for the device. `training_step` returns a dictionary with `loss`,
    `statistics` and `projection`. If the model has separate projectors for views and labels, statistics and projection
    are those of the projector for views.

    Args:
        model: model that consists of an encoder and a projector.
        loss: module or function that computes a scalar loss; `SemiSupConLoss()` if None. The projections (items, views,
            dim) are passed as its argument `embeddings`, or else as its first argument. `labels`, `labeled` and `items`
            (the ids in the batch's `item`) are passed as keyword arguments if the loss accepts them. With several
            processes, the loss must gather the embeddings of all processes.
        augment: augmentation, drawn independently for each view; no augmentation if None.
        learning_rate: maximum learning rate, reached after a linear warmup.
        warmup: fraction of the steps in the warmup, 0 to 1. In a training that is made longer, it is a fraction of the
            new number of steps.
        seed: seed of the augmentation.
        schedule: learning-rate schedule after the warmup: "cosine" decays to zero along half a cosine, "constant" keeps
            the rate.
        make_optimizer: function of the parameters and `lr` that returns the optimizer, such as
            `functools.partial(torch.optim.AdamW, weight_decay=0.01)`.
        chunk_size: number of items that pass through the model at once, which limits the memory use (see
            `ssc_toolkit.losses.gradient_cache`); all items if None.
        warmup_steps: number of steps in the warmup, instead of the fraction `warmup`.

    Examples:
        >>> from ssc_toolkit.augmentations import Gain
        >>> from ssc_toolkit.encoders import MelCNN
        >>> module = SemiSupConModule(ContrastiveModel(MelCNN()), augment=Gain())
        >>> module.contrast({"waveforms": torch.randn(4, 2, 1, 16000)}, torch.Generator()).shape
        torch.Size([])
    """

    def __init__(
        self,
        model: ContrastiveModel,
        loss: Callable[..., Tensor] | None = None,
        augment: Augmentation | None = None,
        learning_rate: float = 1e-3,
        warmup: float = 0.1,
        seed: int = 0,
        schedule: Literal["cosine", "constant"] = "cosine",
        make_optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
        chunk_size: int | None = None,
        warmup_steps: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("schedule", schedule, SCHEDULES)
        self.model = model
        self.loss: Callable[..., Tensor] = SemiSupConLoss() if loss is None else loss
        self._arguments = LossArguments.of(self.loss)
        self.augment = augment
        self.learning_rate = check_positive("learning_rate", learning_rate)
        self.warmup = check_fraction("warmup", warmup)
        self.seed = seed
        self.schedule = schedule
        self.make_optimizer = make_optimizer
        self.chunk_size = None if chunk_size is None else check_integer("chunk_size", chunk_size)
        self.warmup_steps = None if warmup_steps is None else check_integer("warmup_steps", warmup_steps, 0)
        self.layer_decay = 1.0
        self.average: WeightAverage | None = None
        self._cache: GradientCache | None = None
        self._random_state: dict[str, Tensor] | None = None

    def evaluated_weights(self) -> AbstractContextManager[None]:
        """Return a context manager in which the model has the weights that are evaluated and saved as the encoder.

        They are those of the attribute `average`, a callback of the training, or the weights themselves if it is None.
        """
        return nullcontext() if self.average is None else self.average.applied_to(self.model)

    def contrast(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        """Augment a batch with random parameters from `generator`, and compute its loss, a scalar."""
        return self._loss_of(self._project(self._augmented(batch, generator)), batch)

    def statistics(self, projection: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the statistics of a batch that are logged, by name, with `contrastive_statistics`.

        If the loss accepts no labels or has no target, only views of the same item are positives.

        Args:
            projection: (items, views, dim) projections. With separate projectors, the part of the projector for views.
            batch: batch with or without `labels` and `labeled`.

        Returns:
            Scalar tensors by name.
        """
        target = self.target
        known = {} if target is None else {name: batch.get(name) for name in ("labels", "labeled")}
        found = contrastive_statistics(projection, **known, target=target)
        return {name: found[name] for name in STATISTICS}

    def select_views(self, projection: Tensor) -> Tensor:
        """Return projections (items, views, dim) without the part of a separate projector for labels."""
        projector = self.model.projector
        return projector.select_views(projection) if isinstance(projector, ProjectorHeads) else projection

    @property
    def target(self) -> Target | None:
        """Target of the loss, or None if the loss accepts no labels or has no target."""
        loss = self.loss.loss if isinstance(self.loss, CrossBatchMemory) else self.loss
        takes_labels = "labels" in LossArguments.of(loss).taken
        found = getattr(loss, "target", None)
        return found if takes_labels and isinstance(found, Target) else None

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        generator = make_generator(self.seed, "augment", self.current_epoch, batch_idx, 0)
        projection = self._project(self._augmented(batch, generator))
        loss = self._loss_of(projection, batch)
        if not isinstance(loss, Tensor) or loss.dim():
            found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(f"loss: expected it to return a scalar tensor, got {found}; use reduction='mean'")
        projection = self.select_views(projection.detach())
        statistics = self.statistics(projection, batch)
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        # Lightning uses "step" as the axis of its loggers, which would otherwise start at 0. It copies numbers to the
        # device, which may wait for the device, but not tensors.
        numbers = {"learning_rate": rate, "step": self.global_step + 1}
        on_cpu = {name: torch.tensor(float(number)) for name, number in numbers.items()}
        logged = {"loss": loss, **statistics, **on_cpu}
        self.log_dict(logged, batch_size=len(batch["waveforms"]))
        return {"loss": loss, "statistics": statistics, "projection": projection}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Compute the gradients of the parameters from the loss. With `chunk_size`, each chunk is encoded again."""
        super().backward(loss, *args, **kwargs)
        if self._cache is not None:
            cache, self._cache = self._cache, None
            with self.trainer.precision_plugin.forward_context():
                cache.backward()

    def configure_optimizers(self) -> Any:
        parameters: Any = self.parameters()
        if self.layer_decay != 1:
            parameters = make_parameter_groups(self.model.encoder, parameters, self.learning_rate, self.layer_decay)
        optimizer = self.make_optimizer(parameters, lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        factor = SCHEDULES[self.schedule]
        rise = self.warmup * steps if self.warmup_steps is None else self.warmup_steps
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(step, steps, rise))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint["random_state"] = state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._random_state = checkpoint.get("random_state")

    def on_train_start(self) -> None:
        """Restore the state of PyTorch's random generators, which dropout uses, from the checkpoint.

        The learning rate is computed again, because the trainer may have more steps than that of the checkpoint.

        Raises:
            ValueError: if `chunk_size` is used with DistributedDataParallel and `static_graph=True`.
        """
        if self.chunk_size is not None and getattr(self.trainer.strategy.model, "static_graph", False):
            raise ValueError("chunk_size: expected None with DistributedDataParallel(static_graph=True), got a number")
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, torch.optim.lr_scheduler.LambdaLR):
                compute_rates(config.scheduler)
        state, self._random_state = self._random_state, None
        if state is None or self.global_rank > 0:
            return
        torch.set_rng_state(state["cpu"].cpu())
        if "cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"].cpu(), self.device)

    def _augmented(self, batch: dict[str, Any], generator: torch.Generator) -> Tensor:
        """Return the augmented views of a batch, (items, views, channels, samples)."""
        views = as_float(batch["waveforms"])
        if self.augment is None:
            return views
        return self.augment(views, generator=generator, places=batch.get("places"))

    def _project(self, views: Tensor) -> Tensor:
        if self.chunk_size is None or not torch.is_grad_enabled():
            return self.model(views).projection
        self._cache = GradientCache(self.model, views, self.chunk_size, lambda output: output.projection)
        return self._cache.embeddings

    def _loss_of(self, projection: Tensor, batch: dict[str, Any]) -> Tensor:
        given = {"labels": batch.get("labels"), "labeled": batch.get("labeled")}
        if "item" in batch:
            given["items"] = batch["item"]
        return self._arguments.call(self.loss, projection, given)


def compute_rates(scheduler: torch.optim.lr_scheduler.LambdaLR) -> None:
    """Compute the learning rates of the next step, and set them in the optimizer.

    A loaded checkpoint contains the rates that the schedule of a shorter training had for this step.
    """
    factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
    rates = [rate * factor for rate, factor in zip(scheduler.base_lrs, factors, strict=True)]
    for group, rate in zip(scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    scheduler._last_lr = rates


def warmup_cosine(step: int, steps: int, rise: float) -> float:
    """Return the factor of the maximum learning rate at a step, for a linear warmup and decay along half a cosine.

    Args:
        step: number of the step, starting at 0.
        steps: number of steps of the whole run.
        rise: number of steps in the warmup.
    """
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise))))


def warmup_constant(step: int, steps: int, rise: float) -> float:
    """Return the factor of the maximum learning rate at a step, which rises linearly to 1 in the warmup.

    Arguments are as for `warmup_cosine`.
    """
    return min(1.0, (step + 1) / (rise + 1))


SCHEDULES = {"cosine": warmup_cosine, "constant": warmup_constant}
