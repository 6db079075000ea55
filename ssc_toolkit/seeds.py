"""Generators whose state follows from a few numbers, so that any step of a run can be drawn again."""

from __future__ import annotations

import hashlib

import torch


def generator_for(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on the key alone, such as (seed, "augment", step).

    Examples:
        >>> torch.rand(1, generator=generator_for(0, "a")) == torch.rand(1, generator=generator_for(0, "a"))
        tensor([True])
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
