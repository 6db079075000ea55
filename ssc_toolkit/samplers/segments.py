"""View samplers: where in a track its views lie."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class ViewSampler(Protocol):
    """Maps track lengths to the starts of their views."""

    def __call__(
        self, track_lengths: Tensor, view_length: int, views: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Starts of the views of some tracks.

        Args:
            track_lengths: (tracks,) int64, in samples.
            view_length: samples of a view.
            views: views of each track.
            generator: CPU generator; torch's global one if None.

        Returns:
            (tracks, views) int64 starts in samples. A track shorter than a view starts at 0, to be
            padded at its end by whoever reads it.
        """
        ...


class AdjacentSegments:
    """Adjacent, non-overlapping segments of one random window of the track (SemiSupCon's views).

    A track too short for all of them side by side has them overlap, evenly spaced from its beginning to
    its end; one shorter than a view has them all start at 0.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> AdjacentSegments()(torch.tensor([1000, 150]), view_length=100, views=2, generator=generator)
        tensor([[777, 877],
                [  0,  50]])
    """

    def __call__(
        self, track_lengths: Tensor, view_length: int, views: int, generator: torch.Generator | None = None
    ) -> Tensor:
        _check(track_lengths, view_length, views)
        room = (track_lengths - view_length).clamp(min=0)  # for the last view's start
        # Side by side where there is room; closer together where there is not.
        span = room.clamp(max=view_length * (views - 1))
        offsets = span[:, None] * torch.arange(views) // max(views - 1, 1)
        spare = room - span
        return _random_up_to(spare, generator)[:, None] + offsets


class RandomSegments:
    """Segments anywhere in the track, each on its own; they may overlap.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> RandomSegments()(torch.tensor([1000, 150]), view_length=100, views=2, generator=generator)
        tensor([[874, 637],
                [ 23,  46]])
    """

    def __call__(
        self, track_lengths: Tensor, view_length: int, views: int, generator: torch.Generator | None = None
    ) -> Tensor:
        _check(track_lengths, view_length, views)
        room = (track_lengths - view_length).clamp(min=0)
        return _random_up_to(room[:, None].expand(-1, views), generator)


def _random_up_to(highest: Tensor, generator: torch.Generator | None) -> Tensor:
    """Whole numbers drawn uniformly from 0 to `highest`, both included."""
    fraction = torch.rand(highest.shape, generator=generator, dtype=torch.float64)
    return torch.minimum((fraction * (highest + 1)).long(), highest)


def _check(track_lengths: Tensor, view_length: int, views: int) -> None:
    if track_lengths.dim() != 1 or track_lengths.is_floating_point():
        raise ValueError(
            f"track_lengths: expected (tracks,) whole samples, got {track_lengths.dtype} {tuple(track_lengths.shape)}"
        )
    if view_length < 1:
        raise ValueError(f"view_length: expected at least 1 sample, got {view_length}")
    if views < 1:
        raise ValueError(f"views: expected at least 1, got {views}")
