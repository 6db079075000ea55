"""Containers: transforms that apply other transforms."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ssc_toolkit.augmentations.base import Augmentation, check_waveforms
from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.example_generator import ExampleGenerator
from ssc_toolkit.augmentations.fusion import Stage, join_alternatives, join_stages, make_stage
from ssc_toolkit.checks import check_integer_range, check_number
from ssc_toolkit.errors import InputError


class Container(Augmentation):
    """Base class of Chain, OneOf and SomeOf, which apply members in order, each to selected examples."""

    per_item: ClassVar[bool] = False
    """Whether p and the choice of members are drawn once per item; members always draw for each view."""

    def __init__(self, transforms: Sequence[Augmentation], *, p: float = 1.0) -> None:
        super().__init__(p=p)
        if isinstance(transforms, (str, Augmentation)) or not isinstance(transforms, (Sequence, nn.ModuleList)):
            raise TypeError(f"transforms: expected a list of transforms, got {type(transforms).__name__}")
        for transform in transforms:
            if not isinstance(transform, Augmentation):
                raise TypeError(f"transforms: expected transforms or containers, got {type(transform).__name__}")
        self.transforms = nn.ModuleList(transforms)
        _check_rates(self)

    def members(self) -> Iterator[Augmentation]:
        """Return the transforms in order."""
        return cast(Iterator[Augmentation], iter(self.transforms))

    @abstractmethod
    def choose(self, applied: Tensor, generator: ExampleGenerator) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Return the drawn values by name and, for each member, (N,) bool: the examples to which it can apply."""

    def draw_examples(self, generator: ExampleGenerator) -> Draw:
        alike = max(1, generator.views) if self.per_item else 1
        own = generator.of_items() if alike > 1 else generator
        applied = own.uniform() < self.p
        values, allowed = self.choose(applied, own)
        if alike > 1:
            applied, *allowed = (rows.repeat_interleave(alike) for rows in (applied, *allowed))
            values = {name: value.repeat_interleave(alike, dim=0) for name, value in values.items()}
        children = tuple(
            transform.draw_examples(generator.member(number)).gated(meets)
            for number, (transform, meets) in enumerate(zip(self.members(), allowed, strict=True))
        )
        return Draw(type(self).__name__, applied, values, children)

    def check_draw(self, draw: Draw) -> None:
        super().check_draw(draw)
        drawn, own = [child.transform for child in draw.children], [type(member).__name__ for member in self.members()]
        if drawn != own:
            raise InputError(
                f"draw: expected a draw by a {draw.transform} of {', '.join(own) or 'no members'}, "
                f"got one of {', '.join(drawn) or 'no members'}"
            )
        for member, child in zip(self.members(), draw.children, strict=True):
            member.check_draw(child)

    @abstractmethod
    def join(self, stages: Sequence[Sequence[Stage]]) -> list[Stage]:
        """Join the stages of all members."""

    def stages(self, samples: int, path: tuple[int, ...] = ()) -> list[Stage]:
        """Return the stages in order, for clips of `samples` samples; `path` is that of the draw of this container."""
        return self.join(
            [
                member.stages(samples, (*path, index))
                if isinstance(member, Container)
                else [make_stage(member, samples, (*path, index))]
                for index, member in enumerate(self.members())
            ]
        )

    def apply_to_clips(self, clips: Tensor, draw: Draw) -> Tensor:
        for stage in self.stages(clips.shape[-1]):
            clips = stage.apply(clips, draw)
        return clips


class Chain(Container):
    """Apply transforms one after another; each draws its parameters for each example.

    Neighbors that have a frequency response (gain, polarity, filters, equalizer, delay, reverb, impulse
    response) are fused into one multiplication or one FFT pair. `explain` prints the fused stages.

    Args:
        transforms: members, applied in this order.
        p: probability that the chain applies to an example.
        fuse: "exact" fuses neighbors if the result equals that of applying them one after the other, up to rounding.
            It does not fuse a pair of which one extends forward and the other backward in time, such as a
            zero-phase filter and a delay, because applying them one after the other cuts off what the first one moves
            beyond an end of the clip. "all" also fuses these pairs: the result is that of a clip surrounded by
            silence and cut once at the end, and it differs only near the ends of the clip. Echoes that begin after
            the clip are always left out. "none" fuses nothing.

    Raises:
        InputError: if members have different sample rates.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import Gain, PolarityInversion
        >>> chain = Chain([Gain(gain_db=(-6, 0), p=0.5), PolarityInversion(p=0.5)])
        >>> waveforms = torch.rand(4, 2, 1, 1000) - 0.5                # (items, views, channels, samples)
        >>> views, draw = chain(waveforms, generator=torch.Generator().manual_seed(0), return_draw=True)
        >>> torch.equal(chain.apply_draw(waveforms, draw), views)
        True
    """

    def __init__(
        self,
        transforms: Sequence[Augmentation],
        *,
        p: float = 1.0,
        fuse: Literal["exact", "all", "none"] = "exact",
    ) -> None:
        super().__init__(transforms, p=p)
        if fuse not in ("exact", "all", "none"):
            raise ValueError(f'fuse: expected "exact", "all" or "none", got {fuse!r}')
        self.fuse = fuse

    def choose(self, applied: Tensor, generator: ExampleGenerator) -> tuple[dict[str, Tensor], list[Tensor]]:
        return {}, [applied] * len(self.transforms)

    def join(self, stages: Sequence[Sequence[Stage]]) -> list[Stage]:
        return join_stages([stage for own in stages for stage in own], self.fuse)

    @torch.no_grad()
    def explain(self, waveforms: Tensor | None = None, *, repeats: int = 5) -> None:
        """Print the stages in order: transforms, method, fraction of examples that they apply to, and time.

        Args:
            waveforms: waveforms to measure with, on any device; by default, 64 noise clips of 59 535 samples.
            repeats: number of timed draws; the median is printed.

        Examples:
            >>> from ssc_toolkit.augmentations import Delay, Gain, Reverb
            >>> chain = Chain([Gain(), Delay(sample_rate=16000), Reverb(sample_rate=16000), Gain()])
            >>> chain.explain(torch.randn(2, 1, 8000))  # doctest: +ELLIPSIS
            1. Gain + Delay + Reverb + Gain: one FFT pair of 24000 samples; 100 % of the examples; ... ms a clip
        """
        if waveforms is None:
            waveforms = 0.1 * torch.randn(64, 1, 59535)
        check_waveforms(waveforms)
        clips = rearrange(waveforms, "... channels samples -> (...) channels samples")
        generator = torch.Generator().manual_seed(0)
        many = self.draw(4096, generator)
        draws = [self.draw(len(clips), generator).to(clips.device) for _ in range(repeats + 1)]
        for number, stage in enumerate(self.stages(clips.shape[-1]), start=1):
            touched = torch.stack([leaf.draw(many).applied for leaf in stage.leaves]).any(0)
            seconds = sorted(_seconds(stage, clips, draw) for draw in draws)[repeats // 2]
            print(
                f"{number}. {stage.describe(clips)}; {100 * touched.float().mean():.0f} % of the examples; "
                f"{1e3 * seconds / len(clips):.3f} ms a clip"
            )


class ItemChain(Chain):
    """A `Chain` whose own p is drawn once for all views of an item; members draw for each view.

    Arguments and errors are those of `Chain`. Pass batches of (items, views, channels, samples); in a batch of
    (batch, channels, samples), every clip counts as an item.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import PolarityInversion
        >>> views = ItemChain([PolarityInversion()], p=0.5)(torch.ones(100, 2, 1, 4))
        >>> torch.equal(views[:, 0], views[:, 1])
        True
    """

    per_item = True


class OneOf(Container):
    """Apply one of several transforms, chosen at random for each example, with its own p.

    Args:
        transforms: members, at least one.
        weights: weights of the members in the random choice, at least 0, with a positive sum; equal if None.
        p: probability that one of the members is chosen for an example.

    Raises:
        ValueError: if there are no members, the weights are not valid, or members have different sample rates.

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
        weights = [check_number("weights", weight, 0, 1e9) for weight in weights]
        if len(weights) != len(transforms):
            raise ValueError(f"weights: expected one per transform, {len(transforms)}, got {len(weights)}")
        if not sum(weights) > 0:
            raise ValueError(f"weights: expected numbers >= 0 with a positive sum, got {weights}")
        self.weights = weights

    def choose(self, applied: Tensor, generator: ExampleGenerator) -> tuple[dict[str, Tensor], list[Tensor]]:
        thresholds = torch.tensor(self.weights).cumsum(0)
        picked = torch.bucketize(generator.uniform() * thresholds[-1], thresholds, right=True)
        picked = picked.clamp(max=len(self.weights) - 1)
        return {"picked": picked}, [applied & (picked == index) for index in range(len(self.weights))]

    def join(self, stages: Sequence[Sequence[Stage]]) -> list[Stage]:
        return join_alternatives(stages)


class ItemOneOf(OneOf):
    """A `OneOf` that chooses once for all views of an item; members draw for each view, including their own p.

    Arguments and errors are those of `OneOf`; pass batches as for `ItemChain`.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import Gain
        >>> views = ItemOneOf([Gain(-6), Gain(-12)])(torch.ones(100, 2, 1, 4))
        >>> torch.equal(views[:, 0], views[:, 1])
        True
    """

    per_item = True


class SomeOf(Container):
    """Apply some of several transforms, chosen at random for each example, in the given order.

    Args:
        transforms: members, at least one.
        count: (low, high) number of members chosen for an example, drawn uniformly, both ends included, 0 to all
            members. Each chosen member then applies with its own p.
        p: probability that members are chosen for an example.

    Raises:
        ValueError: if there are no members, the count is out of range, or members have different sample rates.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import Gain, PolarityInversion, Reverse
        >>> some = SomeOf([Gain(), PolarityInversion(), Reverse()], count=(1, 2))
        >>> some(torch.randn(4, 1, 8000)).shape
        torch.Size([4, 1, 8000])
    """

    def __init__(
        self, transforms: Sequence[Augmentation], *, count: tuple[int, int] | Sequence[int] | int, p: float = 1.0
    ) -> None:
        super().__init__(transforms, p=p)
        if not transforms:
            raise ValueError("transforms: SomeOf expects at least one transform, got none")
        self.count = check_integer_range("count", count, 0, len(transforms))

    def choose(self, applied: Tensor, generator: ExampleGenerator) -> tuple[dict[str, Tensor], list[Tensor]]:
        wanted = generator.integers(self.count)
        scores = generator.uniform(size=len(self.transforms))
        chosen = scores.argsort(1).argsort(1) < wanted[:, None]
        return {"picked": chosen}, [applied & column for column in chosen.unbind(1)]

    def join(self, stages: Sequence[Sequence[Stage]]) -> list[Stage]:
        return join_stages([stage for own in stages for stage in own], "exact")


def _check_rates(container: Container) -> None:
    """Raise InputError if members at any depth have different sample rates."""
    rated = [one for one in container.modules() if isinstance(one, Augmentation) and one.sample_rate is not None]
    for other in rated[1:]:
        if other.sample_rate != rated[0].sample_rate:
            raise InputError(
                f"transforms: expected the same sample rate for all members, got {type(rated[0]).__name__} at "
                f"{rated[0].sample_rate} Hz and {type(other).__name__} at {other.sample_rate} Hz"
            )


def _seconds(stage: Stage, clips: Tensor, draw: Draw) -> float:
    begin = time.perf_counter()
    stage.apply(clips, draw)
    if clips.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin
