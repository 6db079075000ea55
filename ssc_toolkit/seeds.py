"""Random generators that depend only on given values, so that the random numbers of each step are reproducible."""

from __future__ import annotations

import torch

from ssc_toolkit.checks import as_integer
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
