"""Estimates of the time, memory and disk space of a command, and checks of them before its work starts."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ssc_toolkit.errors import InputError

logger = logging.getLogger(__name__)

_MEMORY_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Files with the limit and the use of the memory of a container, in bytes, for both versions of control groups."""


@dataclass(frozen=True)
class Estimate:
    r"""Estimated time, memory and disk space of a command.

    Attributes:
        work: what the command processes, such as "120 tracks, 3.5 h of audio".
        seconds: duration in seconds.
        memory_bytes: largest memory of the processes of the command in bytes, including the current one.
        disk_bytes: bytes that are written, by folder. The folders need not exist.
        contents: bytes of the parts of what is written, by name.
        argument: name of the option that gave the folders, for the error message.
        gpu_bytes: memory of the GPU in bytes, or None without a GPU.

    Examples:
        >>> store = 5 * 2**30
        >>> estimate = Estimate("120 tracks, 3.5 h of audio", 754.0, 2**30, {Path("out"): store}, {"store": store})
        >>> print(*estimate.lines(), sep="\n")
        estimate: 120 tracks, 3.5 h of audio; about 13 min
        estimate: 1.0 GB of memory, 5.0 GB of disk space (store 5.0 GB)
    """

    work: str
    seconds: float
    memory_bytes: int
    disk_bytes: Mapping[Path, int]
    contents: Mapping[str, int] = field(default_factory=dict)
    argument: str = "out"
    gpu_bytes: int | None = None

    def lines(self) -> list[str]:
        """Return the estimate as two lines of text."""
        parts = ", ".join(f"{name} {format_bytes(size)}" for name, size in self.contents.items())
        disk = format_bytes(sum(self.disk_bytes.values()))
        gpu = "" if self.gpu_bytes is None else f"{format_bytes(self.gpu_bytes)} of GPU memory, "
        memory = f"{format_bytes(self.memory_bytes)} of memory, {gpu}{disk} of disk space"
        return [
            f"estimate: {self.work}; about {format_seconds(self.seconds)}",
            f"estimate: {memory}{f' ({parts})' if parts else ''}",
        ]

    def report(self) -> None:
        """Print the estimate, and check that there is enough disk space and memory.

        Raises:
            InputError: if a disk has less free space than needed, or the machine less memory than needed. If only the
                free memory is less, a warning is logged.
        """
        for line in self.lines():
            print(line, flush=True)
        check_disk(self.disk_bytes, self.argument)
        check_memory(self.memory_bytes)


def check_disk(disk_bytes: Mapping[Path, int], argument: str) -> None:
    """Raise InputError if a disk has less free space than the bytes that are to be written to its folders.

    Args:
        disk_bytes: bytes by folder. Bytes of folders on the same disk are added. The folders need not exist.
        argument: name of the option that gave the folders.
    """
    needed: dict[int, int] = {}
    for folder, size in disk_bytes.items():
        place = _existing(folder)
        disk = place.stat().st_dev
        needed[disk] = needed.get(disk, 0) + size
        free = shutil.disk_usage(place).free
        if free < needed[disk]:
            raise InputError(
                f"{argument}: expected {format_bytes(needed[disk])} of free space in {folder}, got "
                f"{format_bytes(free)}; free disk space or choose a folder on another disk"
            )


def check_memory(memory_bytes: int, advice: str = "use fewer processes", gpu_bytes: int | None = None) -> None:
    """Raise InputError if a command needs more memory than there is, and log a warning if it needs more than is free.

    Args:
        memory_bytes: needed memory in bytes.
        advice: what the user can do.
        gpu_bytes: memory of the GPU, if it is the needed memory; by default, the memory of the machine or container.
    """
    total, free = find_memory() if gpu_bytes is None else (gpu_bytes, None)
    if total is not None and memory_bytes > total:
        raise InputError(
            f"memory: expected {format_bytes(memory_bytes)} of {'memory' if gpu_bytes is None else 'GPU memory'}, got "
            f"{format_bytes(total)}; {advice}"
        )
    if free is not None and memory_bytes > free:
        logger.warning(
            "about %s of memory are needed, but %s are free; other programs may become slow, or the command may be "
            "killed", format_bytes(memory_bytes), format_bytes(free),
        )  # fmt: skip


def find_memory() -> tuple[int | None, int | None]:
    """Return the memory of the machine or container, and the part that this process can use, in bytes.

    The part includes the memory that this process uses already. None stands for an unknown number.
    """
    total = free = None
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
        free = kilobytes * 1024 + current_memory()
    except (AttributeError, OSError, StopIteration, ValueError):
        pass
    for limit_file, use_file in _MEMORY_LIMITS:
        try:
            limit, use = int(Path(limit_file).read_text()), int(Path(use_file).read_text())
        except (OSError, ValueError):  # no container, or no limit
            continue
        total = limit if total is None else min(total, limit)
        free = limit - use + current_memory() if free is None else min(free, limit - use + current_memory())
    return total, free


def current_memory() -> int:
    """Return the memory that this process uses in bytes, or its largest use so far where the system tells no more."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak_memory()


def peak_memory() -> int:
    """Return the largest memory that this process used so far, in bytes, or 0 if the system does not tell it."""
    try:
        import resource
    except ImportError:  # not a Unix system
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def format_bytes(size: float) -> str:
    """Return a number of bytes as text.

    Examples:
        >>> format_bytes(0), format_bytes(300_000), format_bytes(12 * 2**20), format_bytes(3.21 * 2**40)
        ('0 MB', '0.3 MB', '12 MB', '3.2 TB')
    """
    units = ("MB", "GB", "TB", "PB")
    value = size / 2**20
    for unit in units:
        if value < 1000 or unit == units[-1]:
            break
        value /= 1024
    if unit == "MB":
        return f"{value:.0f} MB" if value >= 1 or not size else f"{max(0.1, value):.1f} MB"
    return f"{value:.1f} {unit}"


def format_seconds(seconds: float) -> str:
    """Return a duration as text.

    Examples:
        >>> [format_seconds(seconds) for seconds in (0.2, 42.3, 754, 9000, 400_000)]
        ['1 s', '42 s', '13 min', '2.5 h', '4.6 days']
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def format_audio(tracks: int, seconds: float) -> str:
    """Return a number of tracks and their total duration as text.

    Examples:
        >>> format_audio(1200, 3600 * 80.25)
        '1 200 tracks, 80.2 h of audio'
    """
    return f"{format_count(tracks, 'track')}, {_format_hours(seconds)} of audio"


def format_count(count: int, noun: str) -> str:
    """Return a number with a noun in the singular or plural.

    Examples:
        >>> format_count(1, "corruption"), format_count(0, "track"), format_count(1200, "track")
        ('1 corruption', '0 tracks', '1 200 tracks')
    """
    number = f"{count:,}".replace(",", " ")
    return f"{number} {noun}{'' if count == 1 else 's'}"


def _format_hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 90 * 60 else format_seconds(seconds)


def _existing(folder: Path) -> Path:
    """Return the deepest folder of a path that exists."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return place
