"""Datasets and streams that return a flag with each item, which states whether its label may be used."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ssc_toolkit.checks import as_integer, check_bool, check_fraction


class with_labeled(Dataset[tuple[Any, bool]]):
    """Dataset that returns each item of a map-style dataset with a flag: whether the label of the item may be used.

    The indices from `SemiSupervisedBatchSampler` have an attribute `labeled`, which this class returns as the flag.
    Datasets that convert the index to an int (Hugging Face `datasets`, `torch.utils.data.Subset`) drop this flag. If
    datasets are nested, wrap the outermost one.

    Args:
        dataset: any dataset with `__getitem__`.

    Shape:
        For an index, the result is `(item, labeled)`, where `labeled` is a bool. The default collation returns the
        flags of a batch as a bool tensor (batch,). For a list of indices, the result is the output of the dataset for
        the list, and a bool tensor (batch,).

    Examples:
        >>> from ssc_toolkit.samplers import SampledIndex
        >>> subset = torch.utils.data.Subset(torch.arange(100), range(50, 60))
        >>> with_labeled(subset)[SampledIndex(3, labeled=False)]
        (tensor(53), False)
    """

    def __init__(self, dataset: Any) -> None:
        if not hasattr(dataset, "__getitem__"):
            raise TypeError(f"dataset: expected one with __getitem__, got {type(dataset).__name__}")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int | Sequence[int]) -> tuple[Any, Any]:
        """Return an item and a bool: whether its label may be used. For an ordinary integer index, it is True.

        For a sequence of indices, return the output of the dataset and a bool tensor (indices,).

        Raises:
            TypeError: if `index` is neither an integer nor a sequence of integers, for example a slice.
        """
        if isinstance(index, Tensor | np.ndarray):
            index = index.tolist()
        if isinstance(index, Sequence) and not isinstance(index, str | bytes):
            rows = [as_integer("index", one) for one in index]
            return self.dataset[rows], torch.tensor([_flag(one) for one in index], dtype=torch.bool)
        if isinstance(index, slice):
            raise TypeError(f"index: expected an integer or a list of integers, which have flags, got {index}")
        return self.dataset[as_integer("index", index)], _flag(index)


_NAMES = {True: "labeled", False: "unlabeled"}


class MixedStream(IterableDataset[tuple[Any, bool]]):
    """Stream of pairs (item, labeled) that mixes a labeled and an unlabeled stream at a fixed fraction.

    Of the first n items, `floor(n * labeled_fraction)` come from the labeled stream, for any n. The mixed stream ends
    when its next item would come from a stream that has ended. For an infinite stream, pass infinite streams or
    `cycle=True`. Items are not shuffled; shuffle each stream before you mix them.

    In a `DataLoader`, each worker has its own mixed stream. Some streams, such as those of webdataset, give different
    items to each worker. For other streams, pass `split_workers=True`; otherwise every worker yields all items.

    `state_dict` and `load_state_dict` resume an iteration. `StatefulDataLoader` of torchdata calls them. A stream that
    has both methods resumes from its own state. Any other stream is read from its beginning up to the position of the
    state, and must yield the same items as before.

    Args:
        labeled: iterable of items with labels.
        unlabeled: iterable of items whose labels are not known.
        labeled_fraction: fraction of labeled items, 0 to 1.
        cycle: whether to restart a stream when it ends.
        split_workers: whether worker w of W uses only the items w, w + W, w + 2W, … of each stream.
        start: number of items of the mixed stream that each worker skips at the beginning.

    Raises:
        ValueError: if `labeled_fraction` is out of range, `start` is negative, or a stream is empty with `cycle=True`.

    Examples:
        >>> list(itertools.islice(MixedStream("ab", range(9), labeled_fraction=0.5, cycle=True), 4))
        [(0, False), ('a', True), (1, False), ('b', True)]
    """

    def __init__(
        self,
        labeled: Iterable[Any],
        unlabeled: Iterable[Any],
        labeled_fraction: float = 0.5,
        *,
        cycle: bool = False,
        split_workers: bool = False,
        start: int = 0,
    ) -> None:
        for name, stream in (("labeled", labeled), ("unlabeled", unlabeled)):
            if not isinstance(stream, Iterable):
                raise TypeError(f"{name}: expected an iterable, got {type(stream).__name__}")
        self.streams = {True: labeled, False: unlabeled}
        self.labeled_fraction = check_fraction("labeled_fraction", labeled_fraction)
        self.cycle = check_bool("cycle", cycle)
        self.split_workers = check_bool("split_workers", split_workers)
        self.start = as_integer("start", start, 0)
        self._given = 0
        self._resume: dict[str, Any] | None = None

    def __iter__(self) -> Iterator[tuple[Any, bool]]:
        resumed, self._resume = self._resume, None
        done = 0 if resumed is None else resumed["items"]
        self._given = done
        sides = {flag: self._side(flag, done, resumed) for flag in self.streams}
        for number in itertools.count(done):
            flag = self._labeled_before(number + 1) > self._labeled_before(number)
            try:
                item = next(sides[flag])
            except StopIteration:
                return
            self._given = number + 1
            if number >= self.start:
                yield item, flag

    def state_dict(self) -> dict[str, Any]:
        """Return a dict with the number of items yielded so far, and the states of streams that have `state_dict`."""
        states = {name: stream.state_dict() for name, stream in self._named() if _is_stateful(stream)}
        return {"items": self._given, "streams": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume the next iteration from a result of `state_dict`. Later iterations start from the beginning.

        Raises:
            ValueError: if `state` is not a result of `state_dict`, or has the states of other streams.
        """
        wanted = {name for name, stream in self._named() if _is_stateful(stream)}
        if not isinstance(state, Mapping) or not isinstance(state.get("streams"), Mapping) or "items" not in state:
            raise ValueError(f"state: expected a result of state_dict(), got {state!r}")
        given = as_integer("state: items", state["items"], 0)
        if state["streams"].keys() != wanted:
            found = sorted(map(str, state["streams"]))
            raise ValueError(f"state: expected states of the streams {sorted(wanted)}, got {found}")
        for name, stream in self._named():
            if name in wanted:
                stream.load_state_dict(state["streams"][name])
        self._given = given
        self._resume = {"items": self._given, "streams": wanted}

    def _named(self) -> Iterator[tuple[str, Any]]:
        return ((name, self.streams[flag]) for flag, name in _NAMES.items())

    def _side(self, flag: bool, done: int, resumed: Mapping[str, Any] | None) -> Iterator[Any]:
        """Yield the items of one stream that are not among the first `done` items of the mixed stream.

        Args:
            flag: True for the labeled stream, False for the unlabeled stream.
            done: number of items that the mixed stream has yielded.
            resumed: state from which the mixed stream resumes, or None.
        """
        labeled = self._labeled_before(done)
        before = labeled if flag else done - labeled
        is_placed = resumed is not None and _NAMES[flag] in resumed["streams"] and before > 0
        items = self._items(self.streams[flag], is_placed)
        return items if is_placed else itertools.islice(items, before, None)

    def _labeled_before(self, number: int) -> int:
        # The small term prevents rounding errors from making a product such as 0.1 * 30 less than an integer.
        return int(number * self.labeled_fraction + 1e-6)

    def _items(self, stream: Iterable[Any], is_placed: bool = False) -> Iterator[Any]:
        """Yield the items of `stream` that belong to this worker of the data loader.

        `is_placed` is True if the stream resumes after an item of this worker.
        """
        worker = get_worker_info() if self.split_workers else None
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            count = int(is_placed)
            for item in itertools.islice(iter(stream), step - 1 if is_placed else first, None, step):
                count += 1
                yield item
            is_placed = False
            if not self.cycle:
                return
            if not count:
                raise ValueError("labeled, unlabeled: expected streams with items for every worker, got an empty one")


def _is_stateful(stream: Any) -> bool:
    return hasattr(stream, "state_dict") and hasattr(stream, "load_state_dict")


def _flag(index: object) -> bool:
    return bool(getattr(index, "labeled", True))
