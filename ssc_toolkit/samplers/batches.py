"""What all batch samplers have in common: numbered batches, epochs, processes, resuming."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Sampler

from ssc_toolkit.seeds import whole_number


class SampledIndex(int):
    """A dataset index that also says whether the item's label may be seen.

    It is an ordinary integer to any dataset; `labeled` is False where the item was drawn as an
    unlabelled one, whatever labels it has.
    """

    labeled: bool

    def __new__(cls, index: int, labeled: bool) -> SampledIndex:
        number = super().__new__(cls, index)
        number.labeled = labeled
        return number

    def __reduce__(self) -> tuple:
        return SampledIndex, (int(self), self.labeled)


class NumberedBatchSampler(Sampler[list[int]], ABC):
    """A batch sampler whose batch k is a pure function of its arguments and k.

    So nothing has to be stored to resume, and workers that fetch ahead change nothing. Iterating goes through one
    epoch, a run of successive batches: those of epoch e are numbered e * len(self) to (e + 1) * len(self) - 1. Who
    iterates to its end finds the next epoch the next time; who breaks off begins the same one again.

    Args:
        batch_size: items in the batch of one process.
        seed: of everything that is drawn.
        rank: number of this process; each process gets its own part of batch k.
        world_size: number of processes.
        steps: batches of an epoch; by default as many as it takes to go through the items once.
    """

    def __init__(self, batch_size: int, seed: int, rank: int, world_size: int, steps: int | None) -> None:
        batch_size, seed = whole_number("batch_size", batch_size), whole_number("seed", seed)
        rank, world_size = whole_number("rank", rank), whole_number("world_size", world_size)
        steps = None if steps is None else whole_number("steps", steps)
        if batch_size < 1:
            raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 to world_size - 1 = {world_size - 1}, got {rank}")
        if steps is not None and steps < 1:
            raise ValueError(f"steps: expected at least 1 batch, got {steps}")
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.steps = steps
        self.epoch = 0
        self._handed_out = 0
        self._resume_at: int | None = None
        self._settings_hash: str | None = None

    @abstractmethod
    def batch(self, number: int) -> list[SampledIndex]:
        """Batch `number` of this process, counted from 0 over all epochs."""

    @abstractmethod
    def batches_of_a_pass(self) -> int:
        """Batches that it takes to go through the items once."""

    def set_epoch(self, epoch: int) -> None:
        """Choose which epoch the next iteration goes through; otherwise it is the one after the last complete one."""
        self.epoch = whole_number("epoch", epoch)

    def __len__(self) -> int:
        return self.batches_of_a_pass() if self.steps is None else self.steps

    def __iter__(self) -> Iterator[list[int]]:
        epoch = self.epoch
        first, last = epoch * len(self), (epoch + 1) * len(self)
        resume_at, self._resume_at = self._resume_at, None
        if resume_at is not None and first <= resume_at < last:
            first = resume_at
        for number in range(first, last):
            self._handed_out = number + 1
            yield list(self.batch(number))
        if self.epoch == epoch:
            self.epoch += 1

    def state_dict(self, batches: int | None = None) -> dict[str, Any]:
        """Where to go on, and what the numbers of the batches depend on.

        Args:
            batches: how many were trained on, over all epochs. By default how many were handed out, which is more where
                the workers of a loader fetch ahead.
        """
        if batches is not None and batches < 0:
            raise ValueError(f"batches: expected at least 0, got {batches}")
        done = self._handed_out if batches is None else batches
        return {"batches": done, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the batches of a state: the next iteration gives the remaining ones of their epoch.

        Raises:
            ValueError: if the state is that of a sampler with other settings.
        """
        for name, value in self._identity().items():
            if name not in state or "batches" not in state:
                raise ValueError(
                    f"state: expected one that state_dict() gave, got only {', '.join(state) or 'nothing'}"
                )
            if state[name] != value:
                raise ValueError(f"state: {name} is {state[name]}, but this sampler has {value}")
        self._handed_out = self._resume_at = state["batches"]
        self.epoch = state["batches"] // len(self)

    @abstractmethod
    def settings(self) -> tuple[float | Tensor, ...]:
        """Numbers and tensors that the batches depend on, beside seed, sizes and processes."""

    def _identity(self) -> dict[str, Any]:
        own = {"seed": self.seed, "batch_size": self.batch_size, "world_size": self.world_size}
        if self._settings_hash is None:
            digest = hashlib.blake2b(digest_size=8)
            for value in self.settings():
                digest.update(value.numpy().tobytes() if isinstance(value, Tensor) else repr(value).encode())
            self._settings_hash = digest.hexdigest()
        return {**own, "batches_of_an_epoch": len(self), "items_and_shares": self._settings_hash}
