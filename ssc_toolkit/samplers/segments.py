"""Views within the item's own track."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ssc_toolkit.samplers.views import Views, ViewSampler, random_up_to


class SegmentSampler(ViewSampler):
    """A view sampler that stays within the item's own track; a function of the track's length alone."""

    @abstractmethod
    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        """Starts (tracks, views), 0 to `room` (tracks,), the last place where a view fits."""

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
            (tracks, views) int64 starts in samples; 0 in a track shorter than a view.

        Raises:
            ValueError: for lengths that are no whole numbers, or views that are none.
        """
        _check(track_lengths, view_length, views)
        return self.place((track_lengths - view_length).clamp(min=0), view_length, views, generator)

    def views_of(
        self,
        items: Tensor,
        track_lengths: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None = None,
    ) -> Views:
        starts = self(track_lengths[items], view_length, views, generator)
        return Views(items[:, None].expand(-1, views), starts)


class SameSegment(SegmentSampler):
    """One segment anywhere in the track, the same for all views: they differ by augmentation alone.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> SameSegment()(torch.tensor([1000, 150]), view_length=100, views=2, generator=generator)
        tensor([[874, 874],
                [ 36,  36]])
    """

    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        return random_up_to(room, generator)[:, None].expand(-1, views)


class AdjacentSegments(SegmentSampler):
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

    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        # Side by side where there is room; closer together where there is not.
        span = room.clamp(max=view_length * (views - 1))
        return random_up_to(room - span, generator)[:, None] + _spread(span, views)


class RandomSegments(SegmentSampler):
    """Segments anywhere in the track, in random order.

    Without arguments each lies on its own, and they may overlap. Otherwise the gaps between neighbours in time (the
    end of one to the start of the next, negative where they overlap) lie in the range asked for. A track
    too short for that has them evenly spaced from its beginning to its end; one shorter than a view has them all
    start at 0.

    Args:
        minimum_gap_seconds: least gap between neighbours, at least 0.
        maximum_gap_seconds: greatest gap between neighbours, at least the least one.
        overlap: share of a view that neighbours may overlap where no least gap is given, 0 to 1.
        sample_rate: hertz; needed with gaps.

    Raises:
        ValueError: for gaps or an overlap out of range, or gaps without a sample rate.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> RandomSegments()(torch.tensor([1000, 150]), view_length=100, views=2, generator=generator)
        tensor([[874, 637],
                [ 23,  46]])
        >>> near = RandomSegments(minimum_gap_seconds=1, maximum_gap_seconds=3, sample_rate=100)
        >>> starts = near(torch.tensor([5000]), view_length=100, views=2, generator=generator)
        >>> bool(200 <= starts.diff().abs() <= 400)
        True
    """

    def __init__(
        self,
        minimum_gap_seconds: float | None = None,
        maximum_gap_seconds: float | None = None,
        overlap: float = 1.0,
        *,
        sample_rate: int | None = None,
    ) -> None:
        if not 0 <= overlap <= 1:
            raise ValueError(f"overlap: expected a share from 0 to 1, got {overlap}")
        if minimum_gap_seconds is not None and not minimum_gap_seconds >= 0:
            raise ValueError(f"minimum_gap_seconds: expected at least 0, got {minimum_gap_seconds}")
        least = 0.0 if minimum_gap_seconds is None else minimum_gap_seconds
        if maximum_gap_seconds is not None and not maximum_gap_seconds >= least:
            raise ValueError(f"maximum_gap_seconds: expected at least {least:g}, got {maximum_gap_seconds}")
        has_gaps = minimum_gap_seconds is not None or maximum_gap_seconds is not None
        if has_gaps and not (sample_rate is not None and sample_rate > 0):
            raise ValueError(f"sample_rate: gaps in seconds need a positive number of hertz, got {sample_rate}")
        self.minimum_gap_seconds = minimum_gap_seconds
        self.maximum_gap_seconds = maximum_gap_seconds
        self.overlap = overlap
        self.sample_rate = sample_rate

    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        least, greatest = self._gaps(view_length)
        if least == -view_length and greatest is None:
            return random_up_to(room[:, None].expand(-1, views), generator)
        step = view_length + least
        spare = room - step * (views - 1)
        # Beyond the least gaps there is a part of the spare room before each view.
        if greatest is None:
            before = random_up_to(spare.clamp(min=0)[:, None].expand(-1, views), generator).sort(1).values
        else:
            extra = random_up_to(torch.full((len(room), views - 1), greatest - least), generator)
            total = extra.sum(1, keepdim=True)
            extra = torch.where(
                total > spare[:, None], extra * spare.clamp(min=0)[:, None] // total.clamp(min=1), extra
            )
            first = random_up_to((spare - extra.sum(1)).clamp(min=0), generator)
            before = torch.cat([first[:, None], first[:, None] + extra.cumsum(1)], dim=1)
        starts = before + step * torch.arange(views)
        starts = torch.where(spare[:, None] >= 0, starts, _spread(room, views))
        order = torch.rand(starts.shape, generator=generator).argsort(1)
        return starts.gather(1, order)

    def _gaps(self, view_length: int) -> tuple[int, int | None]:
        """Least and greatest gap in samples; None if there is no greatest one."""
        rate = self.sample_rate or 0
        least = -int(self.overlap * view_length)
        if self.minimum_gap_seconds is not None:
            least = round(self.minimum_gap_seconds * rate)
        greatest = None if self.maximum_gap_seconds is None else round(self.maximum_gap_seconds * rate)
        return least, greatest


def _spread(room: Tensor, views: int) -> Tensor:
    """Starts (tracks, views) evenly spaced from 0 to `room` (tracks,)."""
    return room[:, None] * torch.arange(views) // max(views - 1, 1)


def _check(track_lengths: Tensor, view_length: int, views: int) -> None:
    if track_lengths.dim() != 1 or track_lengths.is_floating_point():
        raise ValueError(
            f"track_lengths: expected (tracks,) whole samples, got {track_lengths.dtype} {tuple(track_lengths.shape)}"
        )
    if view_length < 1:
        raise ValueError(f"view_length: expected at least 1 sample, got {view_length}")
    if views < 1:
        raise ValueError(f"views: expected at least 1, got {views}")
