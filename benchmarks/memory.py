"""Memory of a process and its children."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def highest_memory(pid: int, ended: Callable[[], bool]) -> int:
    """Return the highest memory in bytes of a process and its descendants until `ended`, which waits, returns True.

    A page that several processes share counts once in all (proportional set size of Linux).
    """
    highest = 0
    while not ended():
        highest = max(highest, sum(map(_proportional_set_size, [pid, *_descendants(pid)])))
    return highest


def _descendants(pid: int) -> list[int]:
    """Return the process ids of all descendants."""
    found = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, file.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _proportional_set_size(pid: int) -> int:
    """Return the proportional set size of a process in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:"))
