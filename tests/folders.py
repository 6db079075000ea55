"""Contents of folders, and files with one flipped bit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np


def contents(folder: Path) -> dict[str, bytes]:
    """The content of each file below a folder but locks, by its path in the folder."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(files)}


def flip(path: Path, offset: int, bit: int = 0x10) -> None:
    """Flip one bit of a byte of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= bit
    path.write_bytes(content)


def each_flip(path: Path, further: Iterable[int] = (), bit: int = 0x10) -> Iterator[int]:
    """Flip one bit of 200 bytes spread over a file and of further ones, one at a time; whole again at the end."""
    whole = path.read_bytes()
    for offset in sorted({*np.linspace(0, len(whole) - 1, 200).astype(int).tolist(), *further}):
        flip(path, offset, bit)
        yield offset
        path.write_bytes(whole)
