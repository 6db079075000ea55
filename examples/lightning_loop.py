"""The loss, the augmentation and the sampler in your own LightningModule.

`ssc_toolkit.training` has a complete module for long runs. This example shows the minimum that you need to add to your
own module.

    python examples/lightning_loop.py --steps=100
"""

from __future__ import annotations

import argparse
import logging
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import ContrastiveDataset, check_audio, encode_labels, load_tracks
from ssc_toolkit.data.corpus import build_corpus
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.samplers import SemiSupervisedBatchSampler

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--steps", type=int, default=100)
arguments.add_argument("--batch_size", type=int, default=96)
arguments.add_argument("--clips", type=int, default=4000, help="size of the default corpus")
options = arguments.parse_args()
lightning.seed_everything(0, verbose=False)
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Contrastive(lightning.LightningModule):
    """Module that augments batches on the device and computes the contrastive loss."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ContrastiveModel(MelCNN(sample_rate=16000))
        # On several GPUs, use gather=True to compare with the embeddings of all GPUs. The sampler below then needs
        # `rank` and `world_size`.
        self.criterion = SemiSupConLoss(temperature=0.1, gather=True)
        # A pitch shift would make the key labels wrong.
        self.augment = semisupcon_chain(sample_rate=16000, omit=("pitch_shift",))
        # The loss differs between batches, so the mean over ten batches is printed.
        self.losses: list[Tensor] = []

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Augment whole batches on the device, in training only."""
        return {**batch, "waveforms": self.augment(batch["waveforms"])} if self.trainer.training else batch

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Compute the loss of a batch with partly known labels."""
        projection = self.model(batch["waveforms"]).projection
        loss = self.criterion(projection, labels=batch["labels"], labeled=batch["labeled"])
        self.losses.append(loss.detach())
        if len(self.losses) == 10:
            print(f"step {batch_idx + 1:4}  loss {torch.stack(self.losses).mean().item():.3f}", flush=True)
            self.losses.clear()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam, the optimizer of the paper."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


tracks = check_audio(load_tracks(build_corpus(options.clips) / "tracks.csv"), min_seconds=3.0)
train = tracks.select(tracks["split"] == "train")
labels = encode_labels(train, "key")
dataset = ContrastiveDataset(train, sample_rate=16000, view_seconds=3.0, labels=labels)

# The sampler handles labels, budgets and epochs, so Lightning must not replace it (`use_distributed_sampler=False`).
# `steps` makes one epoch as long as the whole run.
sampler = SemiSupervisedBatchSampler(
    labeled=range(len(train)),
    unlabeled=[],
    batch_size=options.batch_size,
    labeled_fraction=0.5,
    label_budget=0.05,
    labels=labels.values,
    steps=options.steps,
)
trainer = lightning.Trainer(
    max_steps=options.steps,
    use_distributed_sampler=False,
    accelerator="auto",
    devices=1,
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
module = Contrastive()
trainer.fit(module, DataLoader(dataset, batch_sampler=sampler))
print(f"trained for {trainer.global_step} steps on {trainer.world_size} process")
