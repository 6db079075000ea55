"""Base class of view samplers, which draw positions of views in tracks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.checks import check_number


class Views(NamedTuple):
    """Positions of the views of items. A view is a segment of a track.

    Attributes:
        tracks: (items, views) int64, row of the track table from which each view is read.
        starts: (items, views) int64, index of the first sample of each view. If the track is shorter than the view, the
            start is 0, and you must pad the view at its end.
    """

    tracks: Tensor
    starts: Tensor


class ViewSampler(ABC):
    """Base class of view samplers, which draw the positions of the views of items."""

    @abstractmethod
    def views_of(
        self,
        items: Tensor,
        track_lengths: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None = None,
    ) -> Views:
        """Draw the positions of the views of items.

        Args:
            items: (items,) int64, rows of the track table.
            track_lengths: (tracks,) int64, lengths in samples of all tracks in the table.
            view_length: length of a view in samples.
            views: number of views per item.
            generator: random generator on the CPU. None: the global generator of PyTorch.

        Returns:
            Track and start in samples of each view, (items, views) int64 each.
        """


class WeightedViews(ViewSampler):
    """View sampler that uses one of several view samplers, chosen at random for each item.

    Args:
        samplers: pairs (view sampler, weight). The probability of a sampler is proportional to its weight. Weights are
            at least 0, and their sum is above 0.

    Raises:
        ValueError: if there are no samplers, or the weights are invalid.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.samplers import AdjacentSegments, SameSegment
        >>> sampler = WeightedViews([(AdjacentSegments(), 0.8), (SameSegment(), 0.2)])
        >>> views = sampler.views_of(torch.arange(3), torch.full((3,), 1000), view_length=100, views=2)
        >>> views.tracks
        tensor([[0, 0],
                [1, 1],
                [2, 2]])
    """

    def __init__(self, samplers: Sequence[tuple[ViewSampler, float]]) -> None:
        if not isinstance(samplers, Sequence) or not all(map(_is_weighted, samplers)):
            raise ValueError(f"samplers: expected pairs of a view sampler and its weight, got {samplers!r}")
        weights = [check_number("samplers: weight", weight, 0) for _, weight in samplers]
        if not sum(weights) > 0:
            raise ValueError(f"samplers: expected weights >= 0 with a positive sum, got {weights}")
        self.samplers = [sampler for sampler, _ in samplers]
        self.weights = weights

    def views_of(
        self,
        items: Tensor,
        track_lengths: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None = None,
    ) -> Views:
        weights = torch.tensor(self.weights, dtype=torch.float64)
        chosen = torch.multinomial(weights, max(1, len(items)), replacement=True, generator=generator)[: len(items)]
        tracks = torch.empty(len(items), views, dtype=torch.int64)
        starts = torch.empty_like(tracks)
        for number, sampler in enumerate(self.samplers):
            rows = (chosen == number).nonzero()[:, 0]
            if len(rows):
                found = sampler.views_of(items[rows], track_lengths, view_length, views, generator)
                tracks[rows], starts[rows] = found.tracks, found.starts
        return Views(tracks, starts)


def _is_weighted(pair: Any) -> bool:
    """Return whether a value is a pair whose first element is a view sampler."""
    return isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], ViewSampler)


def draw_up_to(highest: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw a random integer from 0 to `highest`, inclusive, for each entry of `highest`, in the same shape."""
    fraction = torch.rand(highest.shape, generator=generator, dtype=torch.float64)
    return torch.minimum((fraction * (highest + 1)).long(), highest)
