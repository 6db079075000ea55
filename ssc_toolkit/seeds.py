"""Generators whose state follows from a few numbers, so that any step of a run can be drawn again."""

from __future__ import annotations

import hashlib
import operator
from typing import Any

import torch


def generator_for(*key: int | str) -> torch.Generator:
    """Return a CPU generator that depends on the key alone, such as (seed, "augment", step).

    Whole numbers count by their value: `np.int64(3)`, `torch.tensor(3)` and `3` give the same generator.

    Raises:
        TypeError: for a part of the key that is neither a whole number nor text, such as a bool or a float.

    Examples:
        >>> torch.rand(1, generator=generator_for(0, "a")) == torch.rand(1, generator=generator_for(0, "a"))
        tensor([True])
    """
    plain = tuple(str(part) if isinstance(part, str) else whole_number("key", part) for part in key)
    digest = hashlib.blake2b(repr(plain).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def whole_number(name: str, value: Any) -> int:
    """Return an integer of Python, NumPy or PyTorch as a Python int.

    Raises:
        TypeError: for anything else, bools included.

    Examples:
        >>> whole_number("seed", torch.tensor(3))
        3
        >>> whole_number("seed", True)
        Traceback (most recent call last):
        TypeError: seed: expected a whole number, got True
    """
    is_bool = isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool
    try:
        if not is_bool:
            return int(operator.index(value))
    except TypeError:
        pass
    raise TypeError(f"{name}: expected a whole number, got {value!r}") from None
