"""What the workers of a loader are reading, for the case that one of them dies."""

from __future__ import annotations

import os

import torch
from torch.utils.data import get_worker_info


class ReadingNotes:
    """A slate that the workers of a loader write on and the training process reads.

    Args:
        workers: of the loader.

    Examples:
        >>> notes = ReadingNotes(workers=2)
        >>> notes.note(7)                        # in the training process nothing is noted
        >>> notes.row_of(os.getpid()) is None
        True
    """

    def __init__(self, workers: int) -> None:
        self._slate = torch.full((max(1, workers), 2), -1).share_memory_()

    def note(self, row: int) -> None:
        """Write down, in a worker, which row it reads next."""
        worker = get_worker_info()
        if worker is not None:
            self._slate[worker.id, 0] = os.getpid()
            self._slate[worker.id, 1] = row

    def row_of(self, pid: int) -> int | None:
        """The row that a worker process noted last; None if it noted none."""
        for process, row in self._slate.tolist():
            if process == pid:
                return row
        return None
