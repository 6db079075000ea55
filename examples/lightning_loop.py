"""The blocks in a LightningModule of your own.

`ssc_toolkit.training` has such a module, with all that a long run needs. This one shows how little has to be done to
put the loss, the augmentation and the sampler into a module that you have.

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
from ssc_toolkit.data.scores import build_corpus
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
    """Augment on the device, embed, contrast."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ContrastiveModel(MelCNN(sample_rate=16000))
        # On several GPUs gather=True contrasts with the rows of all of them; the sampler below then needs rank and
        # world_size.
        self.criterion = SemiSupConLoss(temperature=0.1, gather=True)
        # A pitch shift would make the key labels wrong.
        self.augment = semisupcon_chain(sample_rate=16000, omit=("pitch_shift",))
        # Batches differ in how hard they are, so what is printed is a mean over ten.
        self.losses: list[Tensor] = []

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Augment whole batches where they are needed, and only in training."""
        return {**batch, "waveforms": self.augment(batch["waveforms"])} if self.trainer.training else batch

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of a batch of which some labels are known."""
        projection = self.model(batch["waveforms"]).projection
        loss = self.criterion(projection, labels=batch["labels"], labeled=batch["labeled"])
        self.losses.append(loss.detach())
        if len(self.losses) == 10:
            print(f"step {batch_idx + 1:4}  loss {torch.stack(self.losses).mean().item():.3f}", flush=True)
            self.losses.clear()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, as in the paper."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


tracks = check_audio(load_tracks(build_corpus(options.clips) / "tracks.csv"), minimum_seconds=3.0)
train = tracks[tracks["split"] == "train"].reset_index(drop=True)
labels = encode_labels(train, "key")
dataset = ContrastiveDataset(train, sample_rate=16000, view_seconds=3.0, labels=labels)

# The sampler knows about labels, budgets and epochs, so Lightning must not put its own in the place of it. `steps`
# makes an epoch as long as the run.
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
