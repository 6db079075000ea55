"""The training data as a LightningDataModule."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ssc_toolkit.data import ContrastiveDataset
from ssc_toolkit.samplers import SemiSupervisedBatchSampler
from ssc_toolkit.seeds import generator_for


class SemiSupConDataModule(pl.LightningDataModule):
    """Endless mixed batches of a dataset, split over the processes, that resume where a run stopped.

    Args:
        dataset: of all training tracks. Without labels every batch is unlabelled.
        batch_size: items in the batch of one process.
        labeled_fraction: share of labelled items in a batch; see `SemiSupervisedBatchSampler`.
        label_budget: share of the labels that may be used.
        seed: of the batches and the places of the views.
        workers: processes that read audio; 0 reads in the training process.

    Raises:
        ValueError: as `SemiSupervisedBatchSampler`.
    """

    def __init__(
        self,
        dataset: ContrastiveDataset,
        batch_size: int = 96,
        labeled_fraction: float = 0.5,
        label_budget: float = 1.0,
        seed: int = 0,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.dataset = dataset
        self.batch_size = batch_size
        self.labeled_fraction = labeled_fraction
        self.label_budget = label_budget
        self.seed = seed
        self.workers = workers
        self._sampler = self.batch_sampler()  # bad settings are an error now, not after the start

    def budget(self) -> Tensor:
        """Rows, among the labelled tracks, of those whose labels may be used."""
        labels = self.dataset.labels
        if labels is None:
            return torch.zeros(0, dtype=torch.int64)
        return torch.isin(labels.labeled.nonzero()[:, 0], self._sampler.labeled).nonzero()[:, 0]

    def batch_sampler(self, rank: int = 0, world_size: int = 1) -> SemiSupervisedBatchSampler:
        """The sampler of one process."""
        labels = self.dataset.labels
        everything = range(len(self.dataset))
        if labels is None:
            labeled, unlabeled, known = [], list(everything), None
        else:
            mask = labels.labeled.tolist()
            labeled = [row for row in everything if mask[row]]
            unlabeled = [row for row in everything if not mask[row]]
            known = labels.values[labels.labeled]
        return SemiSupervisedBatchSampler(
            labeled,
            unlabeled,
            self.batch_size,
            labeled_fraction=0.0 if labels is None else self.labeled_fraction,
            label_budget=self.label_budget,
            labels=known,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        done = trainer.global_step * trainer.accumulate_grad_batches if trainer else 0
        return DataLoader(
            NumberedBatches(self.dataset, self.batch_sampler(rank, world_size), self.seed),
            batch_size=None,
            sampler=CountFrom(done),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
        )


class NumberedBatches(Dataset[dict[str, Any]]):
    """Batch k of a dataset as a pure function of k, wherever it is made."""

    def __init__(self, dataset: ContrastiveDataset, batch_sampler: SemiSupervisedBatchSampler, seed: int) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self.seed = seed

    def __getitem__(self, number: int) -> dict[str, Any]:
        generator = generator_for(self.seed, "views", number, self.batch_sampler.rank)
        return self.dataset.batch(self.batch_sampler.batch(number), generator)


class CountFrom(Sampler[int]):
    """The numbers from `first` on, without end."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)
