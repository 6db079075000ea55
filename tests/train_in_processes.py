"""A training in one process of several, or in one alone, for the test that compares the two.

python -m torch.distributed.run --nproc_per_node=2 train_in_processes.py MUSIC OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import ContrastiveDataset, JoinedDataset, check_audio, encode_labels, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, Encoder
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.targets import MaxTarget, SameClass
from ssc_toolkit.training import SemiSupConDataModule, SemiSupConModule

RATE, SECONDS, BATCH, STEPS = 8000, 0.5, 12, 4


class Bare(Encoder):
    """An encoder without batch statistics."""

    def __init__(self) -> None:
        super().__init__(embedding_dim=16, sample_rate=RATE, min_samples=64)
        self.layers = nn.Sequential(nn.Conv1d(1, 8, 64, 16), nn.ReLU(), nn.Conv1d(8, 16, 8, 4), nn.Tanh())

    def encode_frames(self, signals: Tensor) -> Tensor:
        return self.layers(signals[:, None])


def train(music: Path, world_size: int, chunk_size: int | None, accumulate: int = 1) -> dict[str, Tensor]:
    """Weights after a few steps on two signals and a second, unlabeled dataset, every view augmented."""
    torch.manual_seed(0)
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    labels = {column: encode_labels(tracks, column) for column in ("note", "range")}
    datasets = [ContrastiveDataset(tracks, RATE, SECONDS, labels=known) for known in (labels, None)]
    module = SemiSupConModule(
        ContrastiveModel(Bare()),
        SemiSupConLoss(target=MaxTarget({"note": SameClass(), "range": SameClass()}), gather=True),
        semisupcon_chain(RATE),
        learning_rate=0.1,
        make_optimizer=torch.optim.SGD,
        chunk_size=chunk_size,
    )
    data = SemiSupConDataModule(JoinedDataset(datasets), BATCH // world_size, label_budget=0.5)
    trainer = pl.Trainer(
        max_steps=STEPS,
        accelerator="cpu",
        devices=world_size,
        strategy="ddp" if world_size > 1 else "auto",
        precision="64-true",
        accumulate_grad_batches=accumulate,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, data)
    return {name: weight.clone() for name, weight in module.model.state_dict().items()}


if __name__ == "__main__":
    music, out = map(Path, sys.argv[1:])
    weights = [train(music, 2, chunk_size) for chunk_size in (None, 2)]
    if torch.distributed.get_rank() == 0:
        torch.save(weights, out)
