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
from ssc_toolkit.checks import check_choice, check_integer_range, check_number
from ssc_toolkit.errors import InputError


class Container(Augmentation):
    """Base class of `Chain`, `OneOf` and `SomeOf`.

    The members of a container are transforms or other containers. They are applied in order. For each member, the
    container selects the examples (clips) to which the member can apply.
    """

    per_item: ClassVar[bool] = False
    """Whether the container decides once per item, not per view, whether it applies and which members it chooses."""

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
        """Return an iterator over the members, transforms or containers, in the order in which they are applied."""
        return cast(Iterator[Augmentation], iter(self.transforms))

    @abstractmethod
    def choose(self, applied: Tensor, generator: ExampleGenerator) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Choose at random which members can apply to each of N clips.

        Args:
            applied: (N,) bool, whether the container applies to each clip.
            generator: random generator that returns a number for each clip.

        Returns:
            Drawn values (N, ...) by name, and for each member a mask, bool (N,), True for the clips to which it can
            apply.
        """

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
        """Merge stages (groups of transforms) that can be computed together.

        `stages` contains the list of stages of each member.
        """

    def stages(self, samples: int, path: tuple[int, ...] = ()) -> list[Stage]:
        """Return the stages in order: groups of transforms that are computed together.

        Args:
            samples: length of the clips in samples.
            path: path to the draw of this container in the draw of the outermost container: the index in
                `Draw.children` at each level.
        """
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
    """Apply transforms one after another, each with separate random parameters for each clip of a batch.

    Neighboring transforms that have a frequency response (gain, polarity, filters, equalizer, delay, reverb, impulse
    response) can be fused: they are computed together by one multiplication, or by one FFT pair, which is an FFT and
    an inverse FFT. `explain` prints the fused stages.

    Args:
        transforms: members, applied in this order.
        p: probability with which the chain applies to a clip, 0 to 1.
        fuse: "exact", "all" or "none". "exact" fuses neighbors only if the result equals that of applying them one
            after the other, up to rounding. It does not fuse two neighbors if one spreads sound to earlier samples
            and the other to later samples, such as a zero-phase filter and a delay. "all" fuses these neighbors too.
            The waveform is then not cut to the length of the clip between them, so that the result differs near the
            ends of the clip. "none" fuses nothing. Echoes that begin after the end of the clip are always left out.

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
        check_choice("fuse", fuse, ("exact", "all", "none"))
        self.fuse = fuse

    def choose(self, applied: Tensor, generator: ExampleGenerator) -> tuple[dict[str, Tensor], list[Tensor]]:
        return {}, [applied] * len(self.transforms)

    def join(self, stages: Sequence[Sequence[Stage]]) -> list[Stage]:
        return join_stages([stage for own in stages for stage in own], self.fuse)

    @torch.no_grad()
    def explain(self, waveforms: Tensor | None = None, *, repeats: int = 5) -> None:
        """Print the stages, groups of transforms that are computed together, in order.

        Each line lists the transforms, how they are computed, the percentage of clips to which they apply, and the
        computing time per clip.

        Args:
            waveforms: waveforms for the timing, on any device. If None, 64 clips of noise with 59 535 samples.
            repeats: number of draws to time; the median time is printed.

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
    """A `Chain` that applies either to all views of an item or to none of them.

    This is decided once per item, with probability `p`. The random parameters of the members, and whether each member
    applies, are drawn separately for each view. Arguments and errors are those of `Chain`. Pass batches of shape
    (items, views, channels, samples). In a batch of shape (batch, channels, samples), every clip counts as an item.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import PolarityInversion
        >>> views = ItemChain([PolarityInversion()], p=0.5)(torch.ones(100, 2, 1, 4))
        >>> torch.equal(views[:, 0], views[:, 1])
        True
    """

    per_item = True


class OneOf(Container):
    """Apply one of several transforms, chosen at random for each clip of a batch.

    Args:
        transforms: members, at least one. The chosen member applies with its own probability `p`.
        weights: relative probabilities of the members, at least 0, with a positive sum; equal if None.
        p: probability with which one of the members is chosen for a clip, 0 to 1.

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
    """A `OneOf` that chooses the same member for all views of an item.

    The random parameters of the member, and whether it applies, are drawn separately for each view. Arguments and
    errors are those of `OneOf`. Pass batches of shape (items, views, channels, samples), as for `ItemChain`.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.augmentations import Gain
        >>> views = ItemOneOf([Gain(-6), Gain(-12)])(torch.ones(100, 2, 1, 4))
        >>> torch.equal(views[:, 0], views[:, 1])
        True
    """

    per_item = True


class SomeOf(Container):
    """Apply some of several transforms, chosen at random for each clip of a batch, in the given order.

    Args:
        transforms: members, at least one.
        count: number of members chosen for a clip, 0 to the number of members; an integer, or (low, high) to draw from
            uniformly, both ends included. Each chosen member applies with its own probability `p`.
        p: probability with which members are chosen for a clip, 0 to 1.

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
    """Raise InputError if members of a container, or members of those, have different sample rates."""
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
