"""Cache entries with checksums, a limit for each cache folder, and the places of all caches."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import platformdirs

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import append_checksum, atomic_path, held, is_leftover, reading, verify_checksum

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "SSC_TOOLKIT_CACHE_GB"
"""Environment variable with the limit of a cache folder in gigabytes."""
DEFAULT_LIMIT_GB = 20.0
_ENTRY = re.compile(r"[0-9a-f]{32}\.np[yz]")
_ADVICE = "it is computed again"

Content = TypeVar("Content")
_unwritable: set[Path] = set()
"""Cache folders whose first failed write was reported."""


def read_entry(path: Path, read: Callable[[Path], Content]) -> Content | None:
    """Return the content of a cache entry, or None if it is missing or damaged.

    The checksum is verified before anything else is read, so that no header of a damaged file is believed. A damaged
    entry is named in a warning.

    Args:
        path: of the entry.
        read: returns the content of a file with the right checksum.
    """
    if not path.exists():
        return None
    try:
        verify_checksum(path, "cache", _ADVICE)
        with reading("cache", path, _ADVICE):
            content = read(path)
    except InputError as error:
        logger.warning("%s", error)
        return None
    with contextlib.suppress(OSError):  # of another user, or on a disk that is read only
        os.utime(path)  # the time of the last use decides what is removed first
    return content


def write_entry(path: Path, write: Callable[[Path], None]) -> None:
    """Write a cache entry with a checksum, then remove the entries used least recently above the folder's limit.

    A disk that is full or read only is reported once for each folder; the work goes on without the cache.

    Args:
        path: of the entry, in a folder that exists.
        write: writes the content to the path that it gets.

    Raises:
        InputError: if the limit in the environment is no number.
    """
    limit_bytes = round(limit_gb() * 1e9)
    try:
        with atomic_path(path) as temporary:
            write(temporary)
            append_checksum(temporary)
    except OSError as error:
        if path.parent not in _unwritable:
            _unwritable.add(path.parent)
            reason = error.strerror or error
            logger.warning("cache: cannot write to %s (%s); the work goes on without it", path.parent, reason)
        return
    _evict(path.parent, limit_bytes, path)


def limit_gb() -> float:
    """Return the limit of a cache folder in gigabytes.

    Raises:
        InputError: if the environment variable holds something other than a number of at least 0.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(text) if text else DEFAULT_LIMIT_GB
    except ValueError:
        limit = -1.0
    if not 0 <= limit < 1e9:
        raise InputError(f"{LIMIT_VARIABLE}: expected a number of gigabytes, got {text!r}")
    return limit


def _evict(folder: Path, limit_bytes: int, newest: Path) -> None:
    entries = []
    for path in folder.iterdir():
        if _ENTRY.fullmatch(path.name) and path != newest and not path.is_symlink():
            try:
                status = path.stat()
            except OSError:  # another process removed it
                continue
            entries.append((status.st_mtime_ns, status.st_size, path))
    total = newest.stat().st_size if newest.exists() else 0
    for _, size, path in sorted(entries, reverse=True):
        total += size
        if total > limit_bytes:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class CachePlace:
    """A folder of the user's cache that this library wrote.

    Attributes:
        path: of the folder.
        holds: what is in it.
        bytes: size of its files.
    """

    path: Path
    holds: str
    bytes: int


def cache_root() -> Path:
    """Return the user's cache folder of this library."""
    return Path(platformdirs.user_cache_dir("ssc-toolkit", appauthor=False))


def cache_places() -> list[CachePlace]:
    """Return the caches in the user's cache folder: copies of stores at URLs, and rendered corpora."""
    root = cache_root()
    found = []
    for parent, holds in ((root / "stores", "store copied from a URL"), (root, "rendered corpus or its pieces")):
        if (parent.is_symlink() and parent != root) or not parent.is_dir():
            continue
        for path in sorted(parent.iterdir()):
            is_ours = parent != root or path.name.startswith("pieces-") or (path / "corpus.json").is_file()
            if is_ours and path.is_dir() and not path.is_symlink():
                found.append(CachePlace(path, holds, _size(path)))
    return found


def clean_caches() -> tuple[list[CachePlace], list[Path]]:
    """Remove the caches and the temporary files of killed processes from the user's cache folder.

    Other files there stay, and symbolic links are not followed.

    Returns:
        What was removed, and the folders that another process uses.
    """
    removed, busy = [], []
    for place in cache_places():
        try:
            with held(place.path, "cache"):
                for path in place.path.iterdir():
                    if path.name != ".lock":
                        _remove(path)
            shutil.rmtree(place.path)
            removed.append(place)
        except (InputError, OSError):
            busy.append(place.path)
    root = cache_root()
    for path in root.iterdir() if root.is_dir() else ():
        if is_leftover(path) and not path.is_symlink() and path.is_file():
            removed.append(CachePlace(path, "temporary file", path.stat().st_size))
            path.unlink(missing_ok=True)
    return removed, busy


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(folder: Path) -> int:
    return sum(
        (Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names
    )  # os.walk follows no links
