"""Base class of the batch samplers, with numbered batches, epochs, processes and resuming."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Sampler

from ssc_toolkit.checks import as_integer, check_integer
from ssc_toolkit.hashing import new_digest
from ssc_toolkit.old_names import SAMPLER_STATE, with_new_names


class SampledIndex(int):
    """Dataset index that also states whether the label of the item may be used.

    Datasets treat the index as an ordinary integer. Its attribute `labeled` is False if the sampler drew the item as
    unlabeled, even if the item has a label.
    """

    labeled: bool

    def __new__(cls, index: int, labeled: bool) -> SampledIndex:
        number = super().__new__(cls, index)
        number.labeled = labeled
        return number

    def __reduce__(self) -> tuple:
        return SampledIndex, (int(self), self.labeled)


class NumberedBatchSampler(Sampler[list[int]], ABC):
    """Base class of batch samplers in which batch k depends only on the arguments of the constructor and on k.

    Training can thus resume from k alone, and workers that prefetch do not change the batches. An iteration yields one
    epoch. Epoch e consists of the batches e * len(self) to (e + 1) * len(self) - 1. The next iteration yields the next
    epoch if the previous iteration was complete, and otherwise the same epoch again.

    Args:
        batch_size: number of items in the batch of one process.
        seed: seed of all random choices.
        rank: index of this process, 0 to world_size - 1. Processes get different items in batch k.
        world_size: number of processes.
        steps: number of batches in an epoch. None: the number of batches in one pass over the items.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if a number is not an integer.
    """

    def __init__(self, batch_size: int, seed: int, rank: int, world_size: int, steps: int | None) -> None:
        self.batch_size = as_integer("batch_size", batch_size, 1)
        self.seed = as_integer("seed", seed)
        self.rank = as_integer("rank", rank)
        self.world_size = as_integer("world_size", world_size)
        self.steps = None if steps is None else as_integer("steps", steps, 1)
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank: expected 0 to world_size - 1 = {self.world_size - 1}, got {self.rank}")
        self.epoch = 0
        self._handed_out = 0
        self._resume_at: int | None = None
        self._settings_hash: str | None = None

    @abstractmethod
    def batch(self, number: int) -> list[SampledIndex]:
        """Return batch `number` of this process. Batches are numbered from 0 over all epochs."""

    @abstractmethod
    def batches_of_a_pass(self) -> int:
        """Return the number of batches in one pass over all items, by default the length of an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch that the next iteration yields, counted from 0.

        You need not call this method: after an iteration that was not interrupted, the next one yields the next epoch.
        """
        self.epoch = check_integer("epoch", epoch, 0)

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
        """Return a state from which `load_state_dict` resumes.

        Args:
            batches: number of batches used for training, over all epochs. None: the number of batches that the sampler
                has yielded, which is larger if the workers of a data loader prefetch.

        Returns:
            Dictionary for `load_state_dict`.
        """
        done = self._handed_out if batches is None else check_integer("batches", batches, 0)
        return {"batches": done, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from a result of `state_dict`. The next iteration yields the remaining batches of its epoch.

        Raises:
            TypeError: if the state is not a mapping.
            ValueError: if the state is that of a sampler with other settings.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state: expected a result of state_dict(), got {type(state).__name__}")
        state = with_new_names(state, SAMPLER_STATE)
        for name, value in self._identity().items():
            if name not in state or "batches" not in state:
                raise ValueError(f"state: expected a result of state_dict(), got only {', '.join(state) or 'nothing'}")
            if state[name] != value:
                raise ValueError(f"state: expected {name} to be {value} as in this sampler, got {state[name]}")
        self._handed_out = self._resume_at = check_integer("state: batches", state["batches"], 0)
        self.epoch = self._handed_out // len(self)

    @abstractmethod
    def settings(self) -> tuple[float | Tensor, ...]:
        """Return the arguments of the subclass on which the batches depend, to compare them when training resumes."""

    def _identity(self) -> dict[str, Any]:
        own = {"seed": self.seed, "batch_size": self.batch_size, "world_size": self.world_size}
        if self._settings_hash is None:
            digest = new_digest(size=8)
            for value in self.settings():
                if isinstance(value, Tensor):
                    digest.update(f"{value.dtype} {tuple(value.shape)} ".encode() + value.numpy().tobytes())
                else:
                    digest.update(f"{value!r} ".encode())
            self._settings_hash = digest.hexdigest()
        return {**own, "batches_of_an_epoch": len(self), "settings_hash": self._settings_hash}
