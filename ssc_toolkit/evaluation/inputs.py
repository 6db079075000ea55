"""What the functions of this package are given, checked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Sized

import numpy as np

from ssc_toolkit.errors import InputError


def embedding_rows(embeddings: np.ndarray, rows: int, argument: str = "embeddings", of: str = "labels") -> np.ndarray:
    """Embeddings as an array, if there is one for each row of what they belong to.

    Args:
        embeddings: (rows, dim).
        rows: how many there should be.
        argument: what the caller calls them.
        of: what the rows are those of.

    Raises:
        InputError: for another shape.

    Examples:
        >>> embedding_rows(np.zeros((3, 8)), rows=4, of="tracks")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: embeddings: expected (4, dim), a row for each of the tracks, got (3, 8)
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) != rows:
        raise InputError(f"{argument}: expected ({rows}, dim), a row for each of the {of}, got {embeddings.shape}")
    return embeddings


def as_many(values: Sized | None, count: int, argument: str, of: str) -> None:
    """Raise InputError unless there are `count` values, or none are given."""
    if values is not None and len(values) != count:
        raise InputError(f"{argument}: expected {count}, one for each of the {of}, got {len(values)}")


def check_shares(shares: Iterable[float], argument: str = "shares") -> None:
    """Raise InputError unless there are shares, all above 0 and up to 1."""
    for share in list(shares) or [0.0]:
        if not 0 < share <= 1:
            raise InputError(f"{argument}: expected above 0 and up to 1, got {share:g}")
