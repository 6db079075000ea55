"""Stages: groups of transforms in nested containers that are computed together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ssc_toolkit.augmentations.base import Augmentation
from ssc_toolkit.augmentations.draw import Draw
from ssc_toolkit.augmentations.linear import Grid, Linear, Reach, Scaling, apply_linear


@dataclass(frozen=True)
class Leaf:
    """A single transform that is a member of a container, or of a container within a container.

    Attributes:
        transform: the transform.
        path: path to its random parameters in the `Draw` of the outermost container: the index in `Draw.children` at
            each level.
    """

    transform: Augmentation
    path: tuple[int, ...]

    def draw(self, of_container: Draw) -> Draw:
        """Return the random parameters of this transform, given those of the outermost container."""
        for index in self.path:
            of_container = of_container.children[index]
        return of_container


@dataclass(frozen=True)
class Stage:
    """Transforms that are computed together.

    Attributes:
        leaves: the transforms in order. A transform without a frequency response is the only one of its stage.
        reach: number of samples that the combined impulse response extends before and after time 0. None if the
            transform has no frequency response.
    """

    leaves: tuple[Leaf, ...]
    reach: Reach | None

    def apply(self, clips: Tensor, draw: Draw) -> Tensor:
        """Apply the transforms to clips (N, channels, samples), given the draw of the outermost container."""
        if self.reach is None:
            leaf = self.leaves[0]
            return leaf.transform.apply_to_clips(clips, leaf.draw(draw))
        members = [(leaf.transform, leaf.draw(draw)) for leaf in self.leaves]
        return apply_linear(clips, members, self.reach)  # type: ignore[arg-type]  # all are Linear if `reach` is set

    def describe(self, clips: Tensor) -> str:
        """Return a text with the names of the transforms and how they are computed for clips (N, channels, samples)."""
        names = " + ".join(type(leaf.transform).__name__ for leaf in self.leaves)
        filters = [leaf.transform for leaf in self.leaves if not isinstance(leaf.transform, Scaling)]
        if self.reach is None:
            return names
        if not filters:
            return f"{names}: one multiplication"
        if all(isinstance(transform, Linear) and transform.direct for transform in filters):
            return f"{names}: in the time domain"
        return f"{names}: one FFT pair of {Grid.like(clips, self.reach).length} samples"


def make_stage(transform: Augmentation, samples: int, path: tuple[int, ...]) -> Stage:
    """Return a stage that contains only one transform, for clips of `samples` samples.

    `path` is the path to its random parameters, as in `Leaf`.
    """
    return Stage((Leaf(transform, path),), transform.reach(samples) if isinstance(transform, Linear) else None)


def join_stages(stages: Sequence[Stage], fuse: str) -> list[Stage]:
    """Join neighboring stages where `fuse` allows it. `fuse` is "exact", "all" or "none", as for `Chain`."""
    result: list[Stage] = []
    for stage in stages:
        left = result[-1] if result else None
        if left is None or left.reach is None or stage.reach is None or fuse == "none":
            result.append(stage)
        elif fuse == "all" or _commutes_with_cutting(left.reach, stage.reach):
            reach = Reach(left.reach.before + stage.reach.before, left.reach.after + stage.reach.after)
            result[-1] = Stage(left.leaves + stage.leaves, reach)
        else:
            result.append(stage)
    return result


def _commutes_with_cutting(first: Reach, second: Reach) -> bool:
    """Return whether two filters give the same result if the waveform is cut to the clip length between them.

    The arguments are the extents of their impulse responses before and after time 0.
    """
    return not (first.before and second.after) and not (first.after and second.before)


def join_alternatives(members: Sequence[Sequence[Stage]]) -> list[Stage]:
    """Join the stages of members of a container that applies at most one of them to each clip.

    `members` are the lists of stages of the members. All members that consist of one stage with a frequency response
    become one stage.
    """
    linear = [stages[0] for stages in members if len(stages) == 1 and stages[0].reach is not None]
    others = [stage for stages in members for stage in stages if stage not in linear]
    if not linear:
        return others
    reaches = [stage.reach for stage in linear if stage.reach is not None]
    reach = Reach(max(r.before for r in reaches), max(r.after for r in reaches))
    return [Stage(tuple(leaf for stage in linear for leaf in stage.leaves), reach), *others]
