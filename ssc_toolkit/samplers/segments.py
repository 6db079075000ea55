"""View samplers: where the views of an item lie, in its track or in one that shares a label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.samplers.membership import labelled_pairs


class Views(NamedTuple):
    """Where the views of some items lie.

    Attributes:
        tracks: (items, views) int64, rows of the track table.
        starts: (items, views) int64, first samples. A track shorter than a view starts at 0, to be padded at
            its end by whoever reads it; never with another track.
    """

    tracks: Tensor
    starts: Tensor


class ViewSampler(ABC):
    """Maps items to the places of their views."""

    @abstractmethod
    def views_of(
        self,
        items: Tensor,
        track_lengths: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None = None,
    ) -> Views:
        """Places of the views of some items.

        Args:
            items: (items,) int64, rows of the track table.
            track_lengths: (tracks,) int64, samples of every track of the table.
            view_length: samples of a view.
            views: views of each item.
            generator: CPU generator; torch's global one if None.
        """


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
        return _random_up_to(room, generator)[:, None].expand(-1, views)


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
        return _random_up_to(room - span, generator)[:, None] + _spread(span, views)


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
            return _random_up_to(room[:, None].expand(-1, views), generator)
        step = view_length + least
        spare = room - step * (views - 1)
        # Beyond the least gaps there is a part of the spare room before each view.
        if greatest is None:
            before = _random_up_to(spare.clamp(min=0)[:, None].expand(-1, views), generator).sort(1).values
        else:
            extra = _random_up_to(torch.full((len(room), views - 1), greatest - least), generator)
            total = extra.sum(1, keepdim=True)
            extra = torch.where(
                total > spare[:, None], extra * spare.clamp(min=0)[:, None] // total.clamp(min=1), extra
            )
            first = _random_up_to((spare - extra.sum(1)).clamp(min=0), generator)
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


class SameLabelTracks(ViewSampler):
    """The first view in the item's own track, each other one in another track that shares a label with it.

    Labels may be classes, artists, albums, or tags; of several labels that a track has, one that others have too is
    chosen at random. A track that shares no label with another stays by itself.

    Args:
        labels: of all tracks of the table, classes (tracks,) or multi-hot (tracks, classes).
        labeled: (tracks,) bool, where they are known; everywhere by default.
        segments: where the views lie in their tracks, `RandomSegments` by default.

    Raises:
        ValueError: for labels of another shape.

    Examples:
        >>> import torch
        >>> artists = torch.tensor([0, 1, 0, 1, 2])
        >>> sampler = SameLabelTracks(artists)
        >>> items, lengths = torch.tensor([0, 3, 4]), torch.full((5,), 1000)
        >>> sampler.views_of(items, lengths, view_length=100, views=2).tracks
        tensor([[0, 2],
                [3, 1],
                [4, 4]])
    """

    def __init__(self, labels: Tensor, labeled: Tensor | None = None, segments: SegmentSampler | None = None) -> None:
        member, label = labelled_pairs(labels, labeled, "tracks")
        label = label.unique(return_inverse=True)[1]
        self.segments = RandomSegments() if segments is None else segments
        self._tracks = len(labels)
        # Labels that one track alone has lead nowhere.
        shared = torch.bincount(label, minlength=1)[label] > 1
        member, label = member[shared], label[shared]
        by_label = torch.argsort(label, stable=True)
        self._members, self._label_of_member = member[by_label], label[by_label]
        counts = torch.bincount(label, minlength=int(label.max()) + 1 if len(label) else 1)
        self._counts, self._begins = counts, counts.cumsum(0) - counts
        # Places in the list of members, those of a track one after the other.
        self._entries = torch.argsort(self._members, stable=True)
        entry_counts = torch.bincount(self._members, minlength=self._tracks)
        self._entry_counts, self._entry_begins = entry_counts, entry_counts.cumsum(0) - entry_counts

    def views_of(
        self,
        items: Tensor,
        track_lengths: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None = None,
    ) -> Views:
        if len(track_lengths) != self._tracks:
            raise ValueError(f"track_lengths: expected those of {self._tracks} tracks, got {len(track_lengths)}")
        tracks = torch.cat([items[:, None], self._partners(items, views - 1, generator)], dim=1)
        starts = self.segments(track_lengths[tracks.flatten()], view_length, 1, generator)
        return Views(tracks, starts.view(tracks.shape))

    def _partners(self, items: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
        """(items, count) other tracks that share a label with each item."""
        own = self._entry_counts[items]
        if not len(self._entries) or count == 0:
            return items[:, None].expand(-1, count)
        pick = _random_up_to((own - 1).clamp(min=0)[:, None].expand(-1, count), generator)
        place = self._entries[(self._entry_begins[items][:, None] + pick).clamp(max=len(self._entries) - 1)]
        label = self._label_of_member[place]
        # One of the others: as many steps ahead in the circle of those who have the label.
        size, begin = self._counts[label], self._begins[label]
        ahead = 1 + _random_up_to(size - 2, generator)
        partner = self._members[begin + (place - begin + ahead) % size]
        return torch.where(own[:, None] > 0, partner, items[:, None])


class WeightedViews(ViewSampler):
    """One of several view samplers, chosen anew for each item.

    Args:
        samplers: with their weights, not negative, of a positive sum.

    Raises:
        ValueError: for no samplers, or weights that do not fit.

    Examples:
        >>> import torch
        >>> sampler = WeightedViews([(AdjacentSegments(), 0.8), (SameSegment(), 0.2)])
        >>> views = sampler.views_of(torch.arange(3), torch.full((3,), 1000), view_length=100, views=2)
        >>> views.tracks
        tensor([[0, 0],
                [1, 1],
                [2, 2]])
    """

    def __init__(self, samplers: Sequence[tuple[ViewSampler, float]]) -> None:
        weights = [weight for _, weight in samplers]
        if not weights or min(weights) < 0 or not sum(weights) > 0:
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


def _spread(room: Tensor, views: int) -> Tensor:
    """Starts (tracks, views) evenly spaced from 0 to `room` (tracks,)."""
    return room[:, None] * torch.arange(views) // max(views - 1, 1)


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
