"""Record of the rows that loader workers read, used to name the file when a worker dies."""

from __future__ import annotations

import os

import torch
from torch.utils.data import get_worker_info


class WorkerTrace:
    """Shared memory in which loader workers write the row that they read, for the training process.

    Args:
        workers: number of workers of the loader.

    Examples:
        >>> notes = WorkerTrace(workers=2)
        >>> notes.note(7)                        # in the training process nothing is noted
        >>> notes.row_of(os.getpid()) is None
        True
    """

    def __init__(self, workers: int) -> None:
        self._slate = torch.full((max(1, workers), 2), -1).share_memory_()

    def note(self, row: int) -> None:
        """Record the row that the current worker reads next; in the training process nothing is recorded."""
        worker = get_worker_info()
        if worker is not None:
            self._slate[worker.id, 0] = os.getpid()
            self._slate[worker.id, 1] = row

    def row_of(self, pid: int) -> int | None:
        """Return the last row that the worker with process id `pid` recorded, or None."""
        for process, row in self._slate.tolist():
            if process == pid:
                return row
        return None
