"""The labeled flag of drawn items, kept through datasets that know plain indices only, and mixed streams."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from ssc_toolkit.seeds import whole_number


class with_labeled(Dataset[tuple[Any, bool]]):
    """Pair each item of a map-style dataset with the labeled flag of the index that drew it.

    `SemiSupervisedBatchSampler` says with each index whether the label may be seen. Datasets that convert the index to
    an int (Hugging Face `datasets`, `torch.utils.data.Subset`) lose the flag. Wrap the outermost one.

    Args:
        dataset: any dataset with `__getitem__`; items may be anything.

    Shape:
        An item is `(item, labeled)`. The default collation makes `labeled` a (batch,) bool tensor. A list of indices
        gives the dataset's own batch for the list, and a (batch,) bool tensor.

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
        """Return an item and its flag; an index without a flag counts as labeled."""
        if isinstance(index, Sequence):
            return self.dataset[[int(one) for one in index]], torch.tensor([_flag(one) for one in index])
        return self.dataset[int(index)], _flag(index)


class MixedStream(IterableDataset[tuple[Any, bool]]):
    """A labeled and an unlabeled stream, interleaved at a fixed fraction.

    Of the first n items, `floor(n * labeled_fraction)` come from the labeled stream, whatever n is. It ends where the
    stream whose turn it is ends; give endless streams, or `cycle=True` to begin each again at its end. In a loader,
    each worker mixes its own part of the streams: a stream that does not split itself among workers (webdataset does)
    is split here, item by item, with `split_workers=True`.

    Args:
        labeled: iterable of items with labels.
        unlabeled: iterable of items whose labels are not known.
        labeled_fraction: 0 to 1.
        cycle: iterate a stream again when it ends. An empty stream is an error.
        split_workers: give worker w of W every W-th item, from the w-th on.
        start: number of items of this process and worker to leave out, to resume.

    Raises:
        ValueError: for a fraction out of range, a negative start, or an empty stream that has to cycle.

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
        if not 0 <= labeled_fraction <= 1:
            raise ValueError(f"labeled_fraction: expected 0 to 1, got {labeled_fraction}")
        if whole_number("start", start) < 0:
            raise ValueError(f"start: expected at least 0, got {start}")
        self.streams = {True: labeled, False: unlabeled}
        self.labeled_fraction = float(labeled_fraction)
        self.cycle = cycle
        self.split_workers = split_workers
        self.start = int(start)

    def __iter__(self) -> Iterator[tuple[Any, bool]]:
        return itertools.islice(self._mixed(), self.start, None)

    def _mixed(self) -> Iterator[tuple[Any, bool]]:
        sides = {flag: self._items(stream) for flag, stream in self.streams.items()}
        for number in itertools.count():
            flag = self._labeled_before(number + 1) > self._labeled_before(number)
            try:
                yield next(sides[flag]), flag
            except StopIteration:
                return

    def _labeled_before(self, number: int) -> int:
        # The small term keeps a product such as 0.1 * 30 from falling below the whole number that it is.
        return int(number * self.labeled_fraction + 1e-6)

    def _items(self, stream: Iterable[Any]) -> Iterator[Any]:
        worker = get_worker_info() if self.split_workers else None
        first, step = (0, 1) if worker is None else (worker.id, worker.num_workers)
        while True:
            count = 0
            for item in itertools.islice(iter(stream), first, None, step):
                count += 1
                yield item
            if not self.cycle:
                return
            if not count:
                raise ValueError("labeled, unlabeled: expected streams with items for every worker, got an empty one")


def _flag(index: int) -> bool:
    return bool(getattr(index, "labeled", True))
