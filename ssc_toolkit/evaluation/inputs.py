"""Checks of the arguments of this package."""

from __future__ import annotations

from collections.abc import Iterable, Sized

import numpy as np

from ssc_toolkit.errors import InputError


def embedding_rows(embeddings: np.ndarray, rows: int, argument: str = "embeddings", of: str = "labels") -> np.ndarray:
    """Return embeddings as an array after a check of their shape.

    Args:
        embeddings: (rows, dim).
        rows: expected number of rows.
        argument: name of the argument, for the error.
        of: what the rows belong to, for the error.

    Raises:
        InputError: if the shape is not (rows, dim).

    Examples:
        >>> embedding_rows(np.zeros((3, 8)), rows=4, of="tracks")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: embeddings: expected (4, dim), one row for each of the tracks, got (3, 8)
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2 or len(embeddings) != rows:
        raise InputError(f"{argument}: expected ({rows}, dim), one row for each of the {of}, got {embeddings.shape}")
    return embeddings


def as_many(values: Sized | None, count: int, argument: str, of: str) -> None:
    """Raise InputError unless `values` is None or has `count` elements."""
    if values is not None and len(values) != count:
        raise InputError(f"{argument}: expected {count}, one for each of the {of}, got {len(values)}")


def check_shares(shares: Iterable[float], argument: str = "shares") -> None:
    """Raise InputError unless there is at least one fraction and all are in (0, 1]."""
    for share in list(shares) or [0.0]:
        if not 0 < share <= 1:
            raise InputError(f"{argument}: expected fractions above 0 and up to 1, got {share:g}")
