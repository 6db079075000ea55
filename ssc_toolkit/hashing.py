"""Hashes of text and files.

The hashes are stored in file names, caches, stores and settings of runs, so the functions must always return the same
hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from io import BufferedIOBase
from pathlib import Path
from typing import Any


def new_digest(content: bytes = b"", size: int = 16) -> Any:
    """Return a `hashlib.blake2b` object that has hashed `content` and has a digest of `size` bytes.

    File names and checksums use 16 bytes.
    """
    return hashlib.blake2b(content, digest_size=size)


def text_hash(text: str | bytes, size: int = 16) -> str:
    """Return the BLAKE2b hash of a text in UTF-8, as 2 * `size` hexadecimal digits.

    Examples:
        >>> text_hash("jazz", size=8)
        '833585d6fe0feec0'
    """
    return new_digest(text.encode() if isinstance(text, str) else text, size).hexdigest()


def integer_hash(text: str) -> int:
    """Return a hash of a text in UTF-8 that is an integer from 0 to 2^63 - 1, such as a seed.

    Examples:
        >>> integer_hash("jazz")
        6951033343467231937
    """
    return int.from_bytes(new_digest(text.encode(), size=8).digest(), "little") >> 1


def file_hash(path: str | Path, size: int = 16) -> str:
    """Return the BLAKE2b hash of a file's content, as 2 * `size` hexadecimal digits.

    Raises:
        OSError: if the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return stream_digest(file, size).hexdigest()


def stream_digest(file: BufferedIOBase, size: int = 16) -> Any:
    """Return a `hashlib.blake2b` object of the bytes of an open file from its current position to its end."""
    return hashlib.file_digest(file, lambda: new_digest(size=size))


def short_hash(text: str, digits: int = 16) -> str:
    """Return the first hexadecimal digits of the SHA-256 hash of a text.

    These hashes identify splits, tables and settings.

    Examples:
        >>> short_hash("jazz", digits=10)
        'c301f75ab5'
    """
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def lines_hash(lines: Iterable[str]) -> str:
    r"""Return the `short_hash` of lines of text that are joined by line feeds.

    Examples:
        >>> lines_hash(["a.wav\ttrain", "b.wav\ttest"]) == short_hash("a.wav\ttrain\nb.wav\ttest")
        True
    """
    return short_hash("\n".join(lines))
