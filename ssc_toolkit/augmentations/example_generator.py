"""Random numbers with a separate stream for each example of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15  # an odd number near 2^64 / golden ratio, as in SplitMix64
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # factors of SplitMix64
_MASK = 2**64 - 1


class ExampleGenerator:
    """Counter-based generator of random numbers, with one row for each example.

    The numbers of an example depend only on a seed, the position of the example in the batch, the place of the
    transform in its containers, and the order of the calls. They do not depend on the other examples. Every process of
    a training can therefore draw the numbers of its own examples only, and obtains those that one process would draw.

    With the finalizer h of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA
    2014) and its increment g, the 64-bit number k = 1, 2, ... of the example at position i is

        h(h(h(seed) + g i) + g k)

    so it is computed without the numbers before it (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC
    2011). Member m = 0, 1, ... of a container has the seed h(seed) + g (m + 1).

    `Augmentation.draw` makes the generator. `Transform.draw_values` calls `uniform`, `log_uniform` and `integers`.

    Args:
        seed: 64-bit integer.
        positions: (N,) uint64, position of each example in the batch.
        views: number of successive positions that are views of the same item.

    Examples:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...>
        >>> generator = ExampleGenerator.from_torch(None, count=3)
        >>> generator.uniform((0.0, 10.0)).shape, generator.integers((1, 6), size=4).shape
        (torch.Size([3]), torch.Size([3, 4]))
    """

    def __init__(self, seed: int, positions: np.ndarray[Any, Any], views: int = 1) -> None:
        self._seed = _hash_one(seed)
        self._positions = positions
        self._views = views
        self._rows: np.ndarray[Any, Any] | None = None
        self._drawn = 0

    @classmethod
    def from_torch(
        cls,
        generator: torch.Generator | None,
        count: int,
        views: int = 1,
        places: Sequence[int] | Tensor | None = None,
    ) -> ExampleGenerator:
        """Return the generator of a batch, seeded with one number from a generator of PyTorch.

        Args:
            generator: CPU generator; the global generator of PyTorch if None.
            count: number of clips.
            views: number of successive clips that are views of the same item.
            places: position of each item in the batch of all processes; 0 to the number of items - 1 if None.
        """
        seed = torch.randint(-(2**63), 2**63 - 1, (1,), generator=generator, dtype=torch.int64, device="cpu").item()
        if places is None:
            return cls(int(seed), np.arange(count, dtype=np.uint64), views)
        items = check_places(places, count // max(1, views))
        positions = items[:, None] * np.uint64(views) + np.arange(views, dtype=np.uint64)
        return cls(int(seed), positions.ravel(), views)

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def views(self) -> int:
        """Number of successive examples that are views of the same item."""
        return self._views

    def member(self, number: int) -> ExampleGenerator:
        """Return the generator of a member of a container, which is independent of those of other members."""
        return ExampleGenerator(self._seed + (number + 1) * _STEP, self._positions, self._views)

    def of_items(self) -> ExampleGenerator:
        """Return a generator with one row per item instead of one per view."""
        return ExampleGenerator(self._seed, self._positions[:: self._views] // np.uint64(self._views))

    def uniform(
        self, bounds: tuple[float, float] = (0.0, 1.0), size: int | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Draw numbers uniformly from [low, high).

        Args:
            bounds: (low, high).
            size: numbers per example; one, without an axis of its own, if None.
            dtype: float32 or float64.

        Returns:
            (N,) or (N, size).
        """
        low, high = bounds
        if dtype == torch.float64:
            return torch.from_numpy(low + (high - low) * self._unit(size))
        numbers = (self._bits(size) >> np.uint64(40)).astype(np.float32)  # 24 random bits
        numbers *= np.float32((high - low) * 2.0**-24)
        numbers += np.float32(low)
        return torch.from_numpy(numbers)

    def log_uniform(self, bounds: tuple[float, float]) -> Tensor:
        """Draw (N,) positive numbers whose logarithm is uniform between those of the bounds (low, high)."""
        low, high = bounds
        return low * (high / low) ** self.uniform()

    def integers(self, bounds: tuple[int, int], size: int | None = None) -> Tensor:
        """Draw int64 integers uniformly from low to high, both included and fewer than 2^53; (N,) or (N, size)."""
        low, high = bounds
        return low + torch.from_numpy((self._unit(size) * (high - low + 1)).astype(np.int64))

    def _unit(self, size: int | None) -> np.ndarray[Any, Any]:
        """Return float64 numbers in [0, 1) with 53 random bits."""
        return (self._bits(size) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def _bits(self, size: int | None) -> np.ndarray[Any, Any]:
        """Return the next 64-bit numbers of each example, (N,) or (N, size)."""
        if self._rows is None:
            self._rows = _hash(self._positions * np.uint64(_STEP) + np.uint64(self._seed))
        count = 1 if size is None else size
        steps = [(self._drawn + number) * _STEP & _MASK for number in range(1, count + 1)]
        self._drawn += count
        if size is None:
            return _hash(self._rows + np.uint64(steps[0]))
        return _hash(self._rows[:, None] + np.array(steps, dtype=np.uint64))


def check_places(places: Sequence[int] | Tensor, items: int) -> np.ndarray[Any, Any]:
    """Return the positions of the items as (items,) uint64, or raise an error if they are not integers >= 0."""
    try:
        found = torch.as_tensor(places, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"places: expected integers, got {places!r}") from error
    if found.dtype == torch.bool or found.is_floating_point() or found.is_complex():
        if found.numel():
            raise TypeError(f"places: expected integers, got {found.dtype}")
        found = found.long()
    if found.shape != (items,):
        raise ValueError(f"places: expected one for each of {items} items, got {tuple(found.shape)}")
    if (found < 0).any():
        raise ValueError(f"places: expected integers of at least 0, got {int(found.min())}")
    return found.numpy().astype(np.uint64)


def _hash(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Apply the finalizer of SplitMix64 in place; products wrap around."""
    value ^= value >> np.uint64(30)
    value *= _FIRST
    value ^= value >> np.uint64(27)
    value *= _SECOND
    value ^= value >> np.uint64(31)
    return value


def _hash_one(value: int) -> int:
    """Apply the same hash to one integer, modulo 2^64."""
    value &= _MASK
    value = (value ^ value >> 30) * int(_FIRST) & _MASK
    value = (value ^ value >> 27) * int(_SECOND) & _MASK
    return value ^ value >> 31
