"""Random generators that depend only on given values, so that the random numbers of each step are reproducible."""

from __future__ import annotations

import operator
from typing import Any

import torch

from ssc_toolkit.hashing import integer_hash


def make_generator(*key: int | str) -> torch.Generator:
    """Return a random generator on the CPU that depends only on the arguments, such as (seed, "augment", step).

    The type of an integer does not matter: `np.int64(3)`, `torch.tensor(3)` and `3` give the same generator.

    Args:
        key: integers and strings, such as a seed, a name and the number of a step.

    Raises:
        TypeError: if an argument is neither an integer nor a string, for example a bool or a float.

    Examples:
        >>> torch.rand(1, generator=make_generator(0, "a")) == torch.rand(1, generator=make_generator(0, "a"))
        tensor([True])
    """
    plain = tuple(str(part) if isinstance(part, str) else as_integer("key", part) for part in key)
    return torch.Generator().manual_seed(integer_hash(repr(plain)))


def as_integer(name: str, value: Any, low: int | None = None) -> int:
    """Convert an integer of Python, NumPy or PyTorch to a Python int.

    Args:
        name: name of the argument for the error message.
        value: the integer.
        low: lower bound, included; None for no bound.

    Raises:
        TypeError: for any other value, including bools.
        ValueError: if the integer is below the bound.

    Examples:
        >>> as_integer("seed", torch.tensor(3))
        3
        >>> as_integer("seed", True)
        Traceback (most recent call last):
        TypeError: seed: expected an integer, got True
    """
    is_bool = isinstance(value, bool) or getattr(value, "dtype", None) == torch.bool
    try:
        number = None if is_bool else int(operator.index(value))
    except (TypeError, RuntimeError):  # a tensor of several numbers raises RuntimeError
        number = None
    if number is None:
        raise TypeError(f"{name}: expected an integer, got {value!r}")
    if low is not None and number < low:
        raise ValueError(f"{name}: expected an integer of at least {low}, got {number}")
    return number
