"""Lightning data module of a training."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ssc_toolkit.checks import check_fraction, check_integer
from ssc_toolkit.data import ContrastiveDataset, JoinedDataset
from ssc_toolkit.data.labels import find_labeled_rows, list_classes_of_rows
from ssc_toolkit.data.worker_trace import WorkerTrace
from ssc_toolkit.processes import safe_children
from ssc_toolkit.samplers import (
    BalancedBatchSampler,
    JoinedBatchSampler,
    NumberedBatchSampler,
    SemiSupervisedBatchSampler,
)
from ssc_toolkit.seeds import make_generator


class SemiSupConDataModule(pl.LightningDataModule):
    """Data module whose batches mix labeled and unlabeled items.

    The sequence of batches has no end. The items of each batch are distributed over the processes. When a training is
    resumed, the sequence continues with the next batch.

    An item may have several kinds of labels (signals), such as key and tempo. It is labeled if at least one of them is
    known. `label_budget` selects whole items: all labels of a selected item are used, and no label of any other item.

    Args:
        dataset: dataset of all training tracks. Without labels, every batch is unlabeled.
        batch_size: number of items in the batch of one process.
        labeled_fraction: fraction of labeled items in a batch; see `SemiSupervisedBatchSampler`.
        label_budget: fraction of the labeled items whose labels are used, above 0 and up to 1. The items are selected
            so that they cover every class of every kind of labels if possible.
        seed: seed of the batches and of the start times of the views in their tracks.
        workers: number of additional processes that read audio. If 0, the training process reads the audio.
        batch_sampler: sampler used instead of `batch_size`, `labeled_fraction` and `label_budget`, such as a
            `BalancedBatchSampler`. Each of its batches contains the items of all processes.
        items_per_class: number of labeled items of each class in a batch of all processes, drawn by a
            `BalancedBatchSampler`. The number of labeled items of a batch must be a multiple of it. None: labeled items
            are drawn at random.
        proportions: fractions of the unlabeled items that come from the second, third … dataset of a `JoinedDataset`,
            as for `SemiSupervisedBatchSampler`. Empty: unlabeled items are drawn from all datasets at random.

    Raises:
        InputError: if a number is out of range.
        ValueError: as for `SemiSupervisedBatchSampler`.
    """

    def __init__(
        self,
        dataset: ContrastiveDataset | JoinedDataset,
        batch_size: int = 96,
        labeled_fraction: float = 0.5,
        label_budget: float = 1.0,
        seed: int = 0,
        workers: int = 0,
        batch_sampler: NumberedBatchSampler | None = None,
        items_per_class: int | None = None,
        proportions: Sequence[float] = (),
    ) -> None:
        super().__init__()
        check_integer("batch_size", batch_size, 1)
        check_fraction("labeled_fraction", labeled_fraction)
        check_fraction("label_budget", label_budget, allow_zero=False)
        check_integer("seed", seed, 0)
        check_integer("workers", workers, 0)
        self.dataset = dataset
        self.batch_size = batch_size
        self.labeled_fraction = labeled_fraction
        self.label_budget = label_budget
        self.seed = seed
        self.workers = workers
        self.notes = WorkerTrace(workers)
        self._labeled = find_labeled_rows(dataset.labels, len(dataset))
        self._given = batch_sampler
        self.items_per_class = None if items_per_class is None else check_integer("items_per_class", items_per_class, 1)
        self.proportions = tuple(proportions)
        self._sampler = self.batch_sampler()  # fail early if a setting is invalid

    def labeled_rows(self) -> Tensor:
        """Return the row numbers of the tracks for which at least one label is known, int64 (labeled tracks,)."""
        return self._labeled.nonzero()[:, 0]

    def budget(self) -> Tensor:
        """Return the positions in `labeled_rows()` of the tracks whose labels are used, int64 (tracks,)."""
        rows = self.labeled_rows()
        sampler = self._sampler if self.items_per_class is None else self._semi_supervised(1)
        usable = getattr(sampler, "labeled", rows)
        return torch.isin(rows, usable).nonzero()[:, 0]

    def batch_sampler(self, world_size: int = 1) -> NumberedBatchSampler:
        """Return the sampler of the batches, each of which contains the items of all `world_size` processes."""
        if self._given is not None:
            return self._given
        sampler = self._semi_supervised(world_size)
        return sampler if self.items_per_class is None else self._balanced(sampler, self.items_per_class)

    def _semi_supervised(self, world_size: int) -> SemiSupervisedBatchSampler:
        labels = self.dataset.labels
        return SemiSupervisedBatchSampler(
            self.labeled_rows(),
            (~self._labeled).nonzero()[:, 0],
            self.batch_size * world_size,
            labeled_fraction=0.0 if labels is None else self.labeled_fraction,
            label_budget=self.label_budget,
            labels=None if labels is None else list_classes_of_rows(labels).index_select(0, self.labeled_rows()),
            seed=self.seed,
            **self._sources(),
        )

    def _balanced(self, sampler: SemiSupervisedBatchSampler, items_per_class: int) -> NumberedBatchSampler:
        """Return a sampler of balanced labeled items, and of the same unlabeled items that `sampler` draws."""
        labels = self.dataset.labels
        count = round(sampler.labeled_fraction * sampler.batch_size)
        if labels is None or count == 0 or count % items_per_class:
            raise ValueError(
                f"items_per_class: expected a divisor of the number of labeled items in a batch, {count}, got "
                f"{items_per_class}"
            )
        usable = torch.zeros(len(self.dataset), dtype=torch.bool)
        usable[sampler.labeled] = True
        classes = list_classes_of_rows(labels)
        balanced = BalancedBatchSampler(
            classes, count // items_per_class, items_per_class, labeled=usable, seed=self.seed
        )
        if count == sampler.batch_size:
            return balanced
        size = sampler.batch_size - count
        others = SemiSupervisedBatchSampler(
            [], sampler.unlabeled, size, labeled_fraction=0.0, seed=self.seed, **self._sources()
        )
        return JoinedBatchSampler([balanced, others])

    def _sources(self) -> dict[str, Any]:
        """Return the arguments of the sampler for the proportions of the datasets."""
        if not self.proportions:
            return {}
        if not isinstance(self.dataset, JoinedDataset):
            raise ValueError("proportions: expected several datasets, got one")
        return {"sources": self.dataset.rows_of_datasets()[1:], "proportions": self.proportions}

    def train_dataloader(self) -> DataLoader[Any]:
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        done = trainer.global_step * trainer.accumulate_grad_batches if trainer else 0
        if self.workers:
            self.dataset.watch(self.notes)
        return SafeLoader(
            NumberedBatches(self.dataset, self.batch_sampler(world_size), self.seed, rank, world_size),
            batch_size=None,
            sampler=CountFrom(done),
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
            worker_init_fn=_outlive_signals,
        )

    def read_by(self, pid: int) -> str | None:
        """Return the last file that the worker with process id `pid` started to read, or None if it is not known."""
        row = self.notes.row_of(pid)
        return None if row is None or row < 0 else self.dataset.describe_item(row)


class SafeLoader(DataLoader[Any]):
    """DataLoader whose workers do not import modules from the working folder, with any start method."""

    def __iter__(self) -> Any:
        with safe_children():
            return super().__iter__()


class NumberedBatches(Dataset[dict[str, Any]]):
    """Map-style dataset whose item k is batch k of one process. It depends only on k and the arguments.

    Args:
        dataset: dataset of the items.
        batch_sampler: sampler of batches that contain the items of all processes.
        seed: seed of the start times of the views in their tracks.
        rank: number of the process whose items are returned.
        world_size: number of processes.
    """

    def __init__(
        self,
        dataset: ContrastiveDataset | JoinedDataset,
        batch_sampler: NumberedBatchSampler,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.dataset = dataset
        self.batch_sampler = batch_sampler
        self.seed = seed
        self.rank = rank
        self.world_size = world_size

    def __getitem__(self, number: int) -> dict[str, Any]:
        generator = make_generator(self.seed, "views", number, 0)
        indices = self.batch_sampler.batch(number)
        batch = self.dataset.batch(indices, generator, slice(self.rank, None, self.world_size))
        # Plain numbers instead of tensors, because Lightning would move tensors to the device.
        return {**batch, "places": batch["places"].tolist()}


class CountFrom(Sampler[int]):
    """Sampler of all integers from `first`, without end."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.first)


def _outlive_signals(_: int) -> None:
    """Ignore SIGTERM and SIGINT in a worker, so that it still runs while the training process saves a checkpoint."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
