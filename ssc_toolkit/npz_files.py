"""Function that reads NPZ files of unknown origin, whose content may be larger than the memory."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO

import numpy as np

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # the others expand without a limit in a single read
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_arrays(
    path: Path, names: Collection[str] | None = None, max_bytes: int | None = None
) -> dict[str, np.ndarray]:
    """Read arrays of an NPZ file, after a check of their sizes, for which nothing is decompressed.

    Args:
        path: path of the file.
        names: names of the arrays to read; by default all.
        max_bytes: maximum total size of the arrays to read in bytes; by default the size of the file, which is enough
            for files that are not compressed.

    Returns:
        The arrays by name.

    Raises:
        KeyError: if an array is missing.
        Exception: of other types, such as ValueError, if the file is damaged or its arrays are larger than `max_bytes`.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "large.npz"
        >>> np.savez_compressed(path, zeros=np.zeros(10**6))
        >>> read_arrays(path, max_bytes=10**6)
        Traceback (most recent call last):
        ValueError: its arrays have 8000128 bytes, expected at most 1000000
    """
    limit = path.stat().st_size if max_bytes is None else max_bytes
    with zipfile.ZipFile(path) as archive:
        known = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
        wanted = [known[name] for name in (known if names is None else names)]
        total = sum(member.file_size for member in wanted)
        if total > limit:
            raise ValueError(f"its arrays have {total} bytes, expected at most {limit}")
        for member in wanted:
            if member.compress_type not in _METHODS:
                raise ValueError(f"{member.filename[:100]} has an unknown compression")
            with archive.open(member) as file:
                _check_header(file, member)
        found = {}
        for name in known if names is None else names:
            with archive.open(known[name]) as file:
                found[name] = np.lib.format.read_array(file, allow_pickle=False)
        return found


def _check_header(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Raise ValueError unless the shape and the type in the header of an array have the size of the member."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{member.filename[:100]} has an unknown format")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.itemsize == 0 and 0 not in shape:  # any number of such elements takes no space in the file
        raise ValueError(f"{member.filename[:100]} has elements of no size")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != member.file_size - file.tell():
        raise ValueError(f"{member.filename[:100]} has another size than its header")
