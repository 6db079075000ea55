"""Transforms made of transforms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ssc_toolkit.augmentations.base import Augmentation
from ssc_toolkit.augmentations.draw import Draw


class Container(Augmentation):
    """What Chain and OneOf share: members that are applied in turn, each to the examples it drew."""

    def __init__(self, transforms: Sequence[Augmentation], *, p: float = 1.0) -> None:
        super().__init__(p=p)
        for transform in transforms:
            if not isinstance(transform, Augmentation):
                raise TypeError(f"transforms: expected transforms or containers, got {type(transform).__name__}")
        self.transforms = nn.ModuleList(transforms)

    def members(self) -> Iterator[Augmentation]:
        """The transforms, in order."""
        return cast(Iterator[Augmentation], iter(self.transforms))

    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        for transform, child in zip(self.members(), draw.children, strict=True):
            clips = transform.apply_to_clips(clips, child)
        return clips


class Chain(Container):
    """Transforms one after another; each draws for each example on its own.

    Args:
        transforms: members, applied in this order.
        p: probability that an example goes through the chain at all.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import Gain, PolarityInversion
        >>> chain = Chain([Gain(gain_db=(-6, 0), p=0.5), PolarityInversion(p=0.5)])
        >>> waveforms = torch.rand(4, 2, 1, 1000) - 0.5                # (items, views, channels, samples)
        >>> views, draw = chain(waveforms, generator=torch.Generator().manual_seed(0), return_draw=True)
        >>> torch.equal(chain.apply(waveforms, draw), views)
        True
    """

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draw:
        """Draw for `count` examples from a CPU generator (torch's global one if None)."""
        applied = torch.rand(count, generator=generator) < self.p
        children = tuple(transform.draw(count, generator).gated(applied) for transform in self.members())
        return Draw(type(self).__name__, applied, children=children)


class OneOf(Container):
    """One of several transforms, chosen anew for each example; then the chosen one's own p applies.

    Args:
        transforms: members, at least one.
        weights: chances of the members, not negative, with a positive sum; equal if None.
        p: probability that an example meets any of them.

    Raises:
        ValueError: for no members, or weights that do not fit.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import HighPass, LowPass
        >>> filters = OneOf([LowPass(cutoff_hz=(500, 2000), sample_rate=16000),
        ...                  HighPass(cutoff_hz=(200, 1000), sample_rate=16000)])
        >>> filters(torch.randn(4, 1, 8000)).shape
        torch.Size([4, 1, 8000])
    """

    def __init__(
        self, transforms: Sequence[Augmentation], *, weights: Sequence[float] | None = None, p: float = 1.0
    ) -> None:
        super().__init__(transforms, p=p)
        if not transforms:
            raise ValueError("transforms: OneOf expects at least one transform, got none")
        weights = [1.0] * len(transforms) if weights is None else list(weights)
        if len(weights) != len(transforms):
            raise ValueError(f"weights: expected one for each of {len(transforms)} transforms, got {len(weights)}")
        if min(weights) < 0 or not sum(weights) > 0:
            raise ValueError(f"weights: expected numbers >= 0 with a positive sum, got {weights}")
        self.weights = weights

    def draw(self, count: int, generator: torch.Generator | None = None) -> Draw:
        """Draw for `count` examples from a CPU generator (torch's global one if None)."""
        applied = torch.rand(count, generator=generator) < self.p
        thresholds = torch.tensor(self.weights).cumsum(0)
        picked = torch.bucketize(torch.rand(count, generator=generator) * thresholds[-1], thresholds, right=True)
        picked = picked.clamp(max=len(self.weights) - 1)
        children = tuple(
            transform.draw(count, generator).gated(applied & (picked == index))
            for index, transform in enumerate(self.members())
        )
        return Draw(type(self).__name__, applied, {"picked": picked}, children)
