"""Functions that read, write, list, limit and remove cached files."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import FileLock, Timeout

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import append_checksum, atomic_path, is_leftover, lock_folder, reading, verify_checksum

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "SSC_TOOLKIT_CACHE_GB"
"""Name of the environment variable that sets the maximum size of a cache folder in gigabytes."""
DEFAULT_LIMIT_GB = 20.0
_ENTRY = re.compile(r"[0-9a-f]{32}\.np[yz]")
_ADVICE = "it is computed again"
ENTRIES = "embeddings and predictions"
STORE_COPY = "store copied from a URL"
CORPUS = "rendered corpus"
PIECES = "pieces of rendered corpora"
_IN_OUTPUTS = ("cache", "evaluation")
"""Names of the cache folders in the output folders of `compare` and `demo`."""
_KEPT_SECONDS = 24 * 3600

Content = TypeVar("Content")
_unwritable: set[Path] = set()
"""Cache folders for which a warning about a failed write was already logged."""


def read_entry(path: Path, read: Callable[[Path], Content]) -> Content | None:
    """Return the content of an entry of a cache folder, or None if it is missing or damaged.

    A cache entry is a file with a checksum, which is verified before `read` is called. For a damaged entry, a warning
    is logged.

    Args:
        path: path of the entry.
        read: function that takes the path of a file and returns its content.
    """
    if not path.is_file():  # a pipe or a folder is not a cache entry
        return None
    try:
        verify_checksum(path, "cache", _ADVICE)
        with reading("cache", path, _ADVICE):
            content = read(path)
    except InputError as error:
        logger.warning("%s", error)
        return None
    with contextlib.suppress(OSError):  # the file of another user, or a read-only disk
        os.utime(path)  # the entries that were used least recently are removed first
    return content


def write_entry(path: Path, write: Callable[[Path], None]) -> None:
    """Write a cache entry with a checksum, and limit the size of the folder.

    If the folder exceeds the limit (`read_limit_gb`), the least recently used entries are removed. If the entry cannot
    be written, for example because the disk is full, no error is raised. The first failure in a folder logs a warning.

    Args:
        path: path of the entry, in an existing folder.
        write: function that writes the content to a path.

    Raises:
        InputError: if `SSC_TOOLKIT_CACHE_GB` is not a number of at least 0.
    """
    limit_bytes = round(read_limit_gb() * 1e9)
    try:
        with atomic_path(path) as temporary:
            write(temporary)
            append_checksum(temporary)
    except OSError as error:
        if path.parent not in _unwritable:
            _unwritable.add(path.parent)
            reason = error.strerror or next(
                iter(error.args), type(error).__name__
            )  # NumPy raises errors without a number
            logger.warning("cache: cannot write to %s (%s); the work continues without the cache", path.parent, reason)
        return
    _evict(path.parent, limit_bytes, path)


def read_limit_gb() -> float:
    """Return the maximum size of a cache folder in gigabytes.

    Raises:
        InputError: if the environment variable `SSC_TOOLKIT_CACHE_GB` is not a number of at least 0.
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
    entries = [entry for entry in _list_entries(folder) if entry[2] != newest]
    total = newest.stat().st_size if newest.exists() else 0
    for _, size, path in sorted(entries, reverse=True):
        total += size
        if total > limit_bytes:
            path.unlink(missing_ok=True)


def _list_entries(folder: Path) -> list[tuple[int, int, Path]]:
    """Return the time of last use (nanoseconds), the size (bytes) and the path of each entry of a cache folder."""
    entries = []
    for path in folder.iterdir() if folder.is_dir() else ():
        if _ENTRY.fullmatch(path.name) and not path.is_symlink():
            try:
                status = path.stat()
            except OSError:  # another process removed it
                continue
            entries.append((status.st_mtime_ns, status.st_size, path))
    return entries


@dataclass(frozen=True)
class CachePlace:
    """Folder or file of a cache, whose content this library can create again.

    Attributes:
        path: path of the folder or file.
        holds: description of the content.
        bytes: total size of the files in bytes. In a folder that the user gave, only cache entries are counted.
    """

    path: Path
    holds: str
    bytes: int


def find_cache_root() -> Path:
    """Return the path of the folder in which this library stores caches of the current user."""
    return Path(platformdirs.user_cache_dir("ssc-toolkit", appauthor=False))


def list_caches(folders: Sequence[Path] = ()) -> list[CachePlace]:
    """Return the caches in the user's cache folder and in other folders.

    The user's cache folder contains copies of audio stores that were read from URLs, and rendered corpora.

    Args:
        folders: cache folders, or output folders of `compare` or `demo`.

    Raises:
        InputError: if one of the folders does not exist.
    """
    root = find_cache_root()
    found = []
    for parent in (root / "stores", root):
        if (parent.is_symlink() and parent != root) or not parent.is_dir():
            continue
        for path in sorted(parent.iterdir()):
            holds = STORE_COPY if parent != root else _content_of(path)
            if holds and not is_leftover(path) and path.is_dir() and not path.is_symlink():
                found.append(CachePlace(path, holds, _size(path)))
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"folders: there is no folder {folder}")
        for path in (folder, *(folder / name for name in _IN_OUTPUTS)):
            if entries := _list_entries(path):
                found.append(CachePlace(path, ENTRIES, sum(size for _, size, _ in entries)))
    return found


def _content_of(path: Path) -> str:
    """Return a description of the content of a folder, or an empty string if this library did not write it."""
    if (path / "corpus.json").is_file():
        return CORPUS
    return PIECES if path.name.startswith("pieces-") else ""


def clean_caches(folders: Sequence[Path] = ()) -> tuple[list[CachePlace], list[Path]]:
    """Remove temporary files and the caches that `list_caches` returns, except those that another process uses.

    Other files are kept. Symbolic links are not followed.

    Args:
        folders: as for `list_caches`.

    Returns:
        The removed caches, and the paths that could not be removed, such as those that another process uses.
    """
    removed, busy = [], []
    for place in [*list_caches(folders), *_list_leftovers()]:
        try:
            if place.holds == ENTRIES:
                _remove_entries(place.path)
            elif is_leftover(place.path):
                _remove(place.path)
            else:
                _remove_unused(place.path)
            removed.append(place)
        except (InputError, OSError):
            busy.append(place.path)
    return removed, busy


def limit_store_copies(kept: Path) -> None:
    """Remove the least recently used copies of stores until the total size of all copies is within the limit.

    The copy `kept` is not removed, and neither are copies that another process is writing. If another process reads a
    removed copy, it copies the missing files again.

    Args:
        kept: folder of the copy in use, in the user's cache folder.

    Raises:
        InputError: if `SSC_TOOLKIT_CACHE_GB` is not a number of at least 0.
    """
    _limit_folders(kept, STORE_COPY)


def limit_corpora(used: Path) -> None:
    """Remove the least recently used rendered corpora until the total size of all corpora is within the limit.

    The corpus `used` is not removed, and neither are corpora that another process is rendering, or that were used in
    the last 24 hours, because another process may be reading them.

    Args:
        used: folder of the corpus in use, in the user's cache folder.

    Raises:
        InputError: if `SSC_TOOLKIT_CACHE_GB` is not a number of at least 0.
    """
    _limit_folders(used, CORPUS, _KEPT_SECONDS)


def _limit_folders(used: Path, holds: str, kept_seconds: float = 0.0) -> None:
    limit_bytes = round(read_limit_gb() * 1e9)
    with contextlib.suppress(OSError):  # the folder of another user
        os.utime(used)
    places = [place for place in list_caches() if place.holds == holds]
    total = sum(place.bytes for place in places)
    for place in sorted(places, key=lambda place: place.path.stat().st_mtime_ns):
        if total <= limit_bytes:
            return
        if place.path.resolve() == used.resolve() or time.time() - place.path.stat().st_mtime < kept_seconds:
            continue
        try:
            _remove_unused(place.path)
        except (InputError, OSError):
            continue
        total -= place.bytes
        logger.info(
            "cache: removed %s (%s, %.1f MB) to stay within the limit", place.path, place.holds, place.bytes / 1e6
        )


def _list_leftovers() -> list[CachePlace]:
    """Return the paths of temporary files in the user's cache folder, and of folders whose removal was interrupted."""
    root, stores = find_cache_root(), find_cache_root() / "stores"
    parents = [*([root] if root.is_dir() else []), *([stores] if stores.is_dir() and not stores.is_symlink() else [])]
    found = [path for parent in parents for path in parent.iterdir() if is_leftover(path) and not path.is_symlink()]
    return [CachePlace(path, "temporary", _size(path)) for path in found]


def _remove_entries(folder: Path) -> None:
    owner = folder.parent if folder.name in _IN_OUTPUTS else folder
    with lock_folder(owner, "cache"):
        for _, _, path in _list_entries(folder):
            path.unlink(missing_ok=True)


def _remove_unused(folder: Path) -> None:
    """Remove a cache folder if no process uses it.

    Raises:
        InputError: if another process holds a lock in it.
    """
    doomed = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:16]}.tmp")
    with ExitStack() as locks:
        locks.enter_context(lock_folder(folder, "cache"))
        for path in folder.rglob(".*.lock"):  # locks of files that a process is copying to a store
            try:
                locks.enter_context(FileLock(path).acquire(timeout=0))
            except Timeout as error:
                raise InputError(f"cache: another process is copying a file to {path.parent}") from error
        folder.rename(doomed)  # atomic, so that a process that starts now creates a new folder
    _remove(doomed)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.lstat().st_size
    return sum(
        (Path(parent) / name).lstat().st_size for parent, _, names in os.walk(path) for name in names
    )  # os.walk follows no links
