"""Shared memory with the rows that DataLoader workers read, to name the audio file if a worker dies."""

from __future__ import annotations

import os

import torch
from torch.utils.data import get_worker_info


class WorkerTrace:
    """Shared memory in which DataLoader workers record the row that they read, so that the main process knows it.

    Args:
        workers: number of DataLoader workers.

    Examples:
        >>> notes = WorkerTrace(workers=2)
        >>> notes.note(7)                        # has no effect in the main process
        >>> notes.row_of(os.getpid()) is None
        True
    """

    def __init__(self, workers: int) -> None:
        self._slate = torch.full((max(1, workers), 2), -1).share_memory_()

    def note(self, row: int) -> None:
        """Record the row that the current worker reads next. This has no effect in the main process."""
        worker = get_worker_info()
        if worker is not None:
            self._slate[worker.id, 0] = os.getpid()
            self._slate[worker.id, 1] = row

    def row_of(self, pid: int) -> int | None:
        """Return the last row that the worker with process id `pid` recorded, or None if it recorded no row."""
        for process, row in self._slate.tolist():
            if process == pid:
                return row
        return None
