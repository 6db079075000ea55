"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ssc_toolkit.errors import InputError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """What `write_json` writes."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Keep other processes out of a folder for the length of the block; a process that dies lets go.

    Args:
        folder: exists and can be written.
        name: what the user calls it, for the message.

    Raises:
        InputError: if another process holds it.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{name}: another process is at work in {folder}; choose another folder") from None
    try:
        yield
    finally:
        lock.release()


def writable_folder(path: Path, name: str) -> Path:
    """Make a folder, or raise InputError now if nothing can be written there.

    Args:
        path: the folder.
        name: what the user calls it, for the message.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError as error:
        raise InputError(f"{name}: {path} is a file; choose a folder") from error
    except OSError as error:
        raise InputError(f"{name}: cannot write to {path} ({error.strerror}); choose another folder") from error
    return path
