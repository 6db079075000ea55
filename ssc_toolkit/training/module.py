"""The method as a LightningModule."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data import as_float
from ssc_toolkit.encoders import ContrastiveModel
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.seeds import generator_for


class SemiSupConModule(pl.LightningModule):
    """Augment on the device, embed, contrast.

    A training batch is a dictionary with `waveforms` (items, views, channels, samples) and, where there
    are labels, `labels` and `labeled` (items, ...): what `ContrastiveDataset` gives, 16 bits included. What is drawn
    in a step depends on the seed, the epoch, the batch's number and the process alone, so a resumed run draws the
    same.

    Args:
        model: encoder and projector.
        loss: `SemiSupConLoss()` if None.
        augment: applied to every view on its own; none if None.
        learning_rate: highest rate of Adam. It rises linearly over the first `warmup` of the steps and
            falls to zero along a cosine.
        warmup: share of the steps, 0 to 1.
        seed: of the augmentation.

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
        loss: nn.Module | None = None,
        augment: Augmentation | None = None,
        learning_rate: float = 1e-3,
        warmup: float = 0.1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not learning_rate > 0:
            raise ValueError(f"learning_rate: expected a positive number, got {learning_rate}")
        if not 0 <= warmup <= 1:
            raise ValueError(f"warmup: expected a share from 0 to 1, got {warmup}")
        self.model = model
        self.loss = SemiSupConLoss() if loss is None else loss
        self.augment = augment
        self.learning_rate = learning_rate
        self.warmup = warmup
        self.seed = seed

    def contrast(self, batch: dict[str, Tensor], generator: torch.Generator) -> Tensor:
        """Loss of a batch under augmentation drawn from the generator."""
        views = as_float(batch["waveforms"])
        if self.augment is not None:
            views = self.augment(views, generator=generator)
        return self.loss(self.model(views).projection, batch.get("labels"), batch.get("labeled"))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        generator = generator_for(self.seed, "augment", self.current_epoch, batch_idx, self.global_rank)
        loss = self.contrast(batch, generator)
        self.log("loss", loss, batch_size=len(batch["waveforms"]))
        return loss

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=self.learning_rate)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps, self.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate at a step: a linear rise, then half a cosine down to zero.

    Args:
        step: counted from 0.
        steps: of the whole run.
        warmup: share of the steps that the rise takes.
    """
    rise = warmup * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1.0, steps - rise))))
