"""View samplers that draw all views of an item from one track."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from ssc_toolkit.checks import check_fraction, check_integer, check_number
from ssc_toolkit.samplers.audible import AudibleBlocks, PermittedStarts
from ssc_toolkit.samplers.views import Views, ViewSampler, draw_up_to

_CANDIDATES = 64


class SegmentSampler(ViewSampler):
    """Base class of view samplers that draw all views of an item from its track.

    A view is a segment of the track. Its position depends only on the length of the track and on chance, and on the
    audible blocks of the track if `audible` is given.

    Args:
        audible: audible blocks of all tracks of the table, by which views avoid silent stretches. None: silent
            stretches are not avoided.
    """

    audible: AudibleBlocks | None = None

    def __init__(self, *, audible: AudibleBlocks | None = None) -> None:
        if audible is not None and not isinstance(audible, AudibleBlocks):
            raise TypeError(f"audible: expected AudibleBlocks, got {type(audible).__name__}")
        self.audible = audible

    @abstractmethod
    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        """Draw the positions at which the views of each track start.

        Args:
            room: (tracks,) int64, last possible start of a view in each track, in samples.
            view_length: length of a view in samples.
            views: number of views per track.
            generator: random generator on the CPU. None: the global generator of PyTorch.

        Returns:
            Starts in samples, (tracks, views) int64, from 0 to `room`.
        """

    def place_audible(
        self,
        audible: AudibleBlocks,
        rows: Tensor,
        room: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draw positions as by `place`, but so that the views avoid silent stretches.

        By default, `place` draws up to 64 candidates for each track. The first one is chosen whose views all avoid
        silent stretches, or else the one with the most such views.

        Args:
            audible: audible blocks of all tracks.
            rows: (tracks,) int64, row numbers of the tracks in `audible`.
            room: as for `place`.
            view_length: as for `place`.
            views: as for `place`.
            generator: as for `place`.

        Returns:
            As `place`.
        """
        permitted = audible.permitted(view_length)
        first = self.place(room, view_length, views, generator)
        scores = self._count_permitted(audible, rows, first, view_length, permitted)
        silent = (scores < views).nonzero()[:, 0]
        if not len(silent):
            return first
        more = self.place(room[silent].repeat(_CANDIDATES), view_length, views, generator)
        candidates = torch.cat([first[None, silent], more.unflatten(0, (_CANDIDATES, len(silent)))])
        rated = [self._count_permitted(audible, rows[silent], starts, view_length, permitted) for starts in candidates]
        starts = first.clone()
        starts[silent] = choose_first_best(candidates, torch.stack(rated))
        return starts

    @staticmethod
    def _count_permitted(
        audible: AudibleBlocks, rows: Tensor, starts: Tensor, view_length: int, permitted: PermittedStarts
    ) -> Tensor:
        """Return the number of views of each track that avoid silent stretches, (tracks,) int64."""
        return (audible.audible_samples(rows, starts, view_length) >= permitted.required[rows][:, None]).sum(1)

    def __call__(
        self,
        track_lengths: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Draw the positions at which the views of each track start.

        Args:
            track_lengths: (tracks,) int64, lengths of the tracks in samples.
            view_length: length of a view in samples.
            views: number of views per track.
            generator: random generator on the CPU. None: the global generator of PyTorch.
            rows: (tracks,) int64, row numbers of the tracks in `audible`. Required if the sampler has `audible`.

        Returns:
            Starts in samples, (tracks, views) int64. They are 0 for a track that is shorter than a view.

        Raises:
            ValueError: if the track lengths are not integers, `view_length` or `views` is less than 1, or `rows` is
                missing.
        """
        _check(track_lengths, view_length, views)
        room = (track_lengths - view_length).clamp(min=0)
        if self.audible is None:
            return self.place(room, view_length, views, generator)
        if rows is None:
            raise ValueError("rows: expected the row numbers of the tracks, because the sampler has audible, got None")
        return self.place_audible(self.audible, rows, room, view_length, views, generator)

    def views_of(
        self,
        items: Tensor,
        track_lengths: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None = None,
    ) -> Views:
        if self.audible is not None and len(self.audible) != len(track_lengths):
            raise ValueError(f"audible: expected {len(track_lengths)} tracks, got {len(self.audible)}")
        starts = self(track_lengths[items], view_length, views, generator, items)
        return Views(items[:, None].expand(-1, views), starts)


class SameSegment(SegmentSampler):
    """Segment sampler that uses one random segment as all views of a track, which then differ only by augmentation.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> SameSegment()(torch.tensor([1000, 150]), view_length=100, views=2, generator=generator)
        tensor([[874, 874],
                [ 36,  36]])
    """

    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        return draw_up_to(room, generator)[:, None].expand(-1, views)

    def place_audible(
        self,
        audible: AudibleBlocks,
        rows: Tensor,
        room: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        return audible.permitted(view_length).draw(rows, 1, generator).expand(-1, views)


class AdjacentSegments(SegmentSampler):
    """Segment sampler that draws adjacent segments without overlap at a random position, as in SemiSupCon.

    If the track is too short for this, the segments overlap and are evenly spaced from its beginning to its end. If the
    track is shorter than a view, all segments start at 0.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> AdjacentSegments()(torch.tensor([1000, 150]), view_length=100, views=2, generator=generator)
        tensor([[777, 877],
                [  0,  50]])
    """

    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        # Adjacent if the track is long enough, otherwise overlapping.
        span = room.clamp(max=view_length * (views - 1))
        return draw_up_to(room - span, generator)[:, None] + _spread(span, views)

    def place_audible(
        self,
        audible: AudibleBlocks,
        rows: Tensor,
        room: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        span = room.clamp(max=view_length * (views - 1))
        return audible.permitted(view_length, views).draw(rows, 1, generator) + _spread(span, views)


class RandomSegments(SegmentSampler):
    """Segment sampler that draws random segments of the track, in random order.

    By default, the segments are independent and can overlap. The arguments limit the gap between segments that are
    neighbors in time. The gap is the time from the end of one segment to the start of the next, negative if the
    segments overlap. If the track is too short for the limits, the segments are evenly spaced from its beginning to its
    end. If the track is shorter than a view, all segments start at 0.

    Args:
        min_gap_seconds: minimum gap between neighbors in seconds, at least 0. None: `overlap` is the limit.
        max_gap_seconds: maximum gap between neighbors in seconds, at least the minimum gap. None: no maximum.
        overlap: fraction of a view by which neighbors may overlap, 0 to 1. Ignored if there is a minimum gap.
        sample_rate: sample rate of the tracks in hertz. Required with `min_gap_seconds` or `max_gap_seconds`.
        audible: audible blocks of all tracks, as for `SegmentSampler`. If the limits and the audible parts of a track
            leave few positions, the limits are kept, and a view may be silent.

    Raises:
        ValueError: if a gap or the overlap is out of range, or gaps are given without a sample rate.

    Examples:
        >>> import torch
        >>> generator = torch.Generator().manual_seed(0)
        >>> RandomSegments()(torch.tensor([1000, 150]), view_length=100, views=2, generator=generator)
        tensor([[874, 637],
                [ 23,  46]])
        >>> near = RandomSegments(min_gap_seconds=1, max_gap_seconds=3, sample_rate=100)
        >>> starts = near(torch.tensor([5000]), view_length=100, views=2, generator=generator)
        >>> bool(200 <= starts.diff().abs() <= 400)
        True
    """

    def __init__(
        self,
        min_gap_seconds: float | None = None,
        max_gap_seconds: float | None = None,
        overlap: float = 1.0,
        *,
        sample_rate: int | None = None,
        audible: AudibleBlocks | None = None,
    ) -> None:
        super().__init__(audible=audible)
        self.overlap = check_fraction("overlap", overlap)
        self.sample_rate, self.min_gap_seconds, self.max_gap_seconds = sample_rate, None, None
        if min_gap_seconds is not None or max_gap_seconds is not None:
            self.sample_rate = check_integer("sample_rate", sample_rate)
        if min_gap_seconds is not None:
            self.min_gap_seconds = check_number("min_gap_seconds", min_gap_seconds, 0)
        if max_gap_seconds is not None:
            least = self.min_gap_seconds or 0.0
            self.max_gap_seconds = check_number("max_gap_seconds", max_gap_seconds, least)

    def place(self, room: Tensor, view_length: int, views: int, generator: torch.Generator | None) -> Tensor:
        least, greatest = self._gaps(view_length)
        if least == -view_length and greatest is None:
            return draw_up_to(room[:, None].expand(-1, views), generator)
        step = view_length + least
        spare = room - step * (views - 1)
        # Distribute the samples that the views and minimum gaps leave, as additional gaps before the views.
        if greatest is None:
            before = draw_up_to(spare.clamp(min=0)[:, None].expand(-1, views), generator).sort(1).values
        else:
            extra = draw_up_to(torch.full((len(room), views - 1), greatest - least), generator)
            total = extra.sum(1, keepdim=True)
            extra = torch.where(
                total > spare[:, None], extra * spare.clamp(min=0)[:, None] // total.clamp(min=1), extra
            )
            first = draw_up_to((spare - extra.sum(1)).clamp(min=0), generator)
            before = torch.cat([first[:, None], first[:, None] + extra.cumsum(1)], dim=1)
        starts = before + step * torch.arange(views)
        starts = torch.where(spare[:, None] >= 0, starts, _spread(room, views))
        order = torch.rand(starts.shape, generator=generator).argsort(1)
        return starts.gather(1, order)

    def place_audible(
        self,
        audible: AudibleBlocks,
        rows: Tensor,
        room: Tensor,
        view_length: int,
        views: int,
        generator: torch.Generator | None,
    ) -> Tensor:
        permitted = audible.permitted(view_length)
        least, greatest = self._gaps(view_length)
        if views == 1 or (least == -view_length and greatest is None):
            return permitted.draw(rows, views, generator)
        within = super().place_audible(audible, rows, room, view_length, views, generator)
        silent = (self._count_permitted(audible, rows, within, view_length, permitted) < views).nonzero()[:, 0]
        # Of segments in audible parts, the first are chosen whose gaps are within the limits.
        drawn = permitted.draw(rows[silent], _CANDIDATES * views, generator)
        candidates = drawn.unflatten(1, (_CANDIDATES, views)).transpose(0, 1)
        gaps = candidates.sort(2).values.diff(dim=2) - view_length
        kept = (gaps >= least).all(2) if greatest is None else ((gaps >= least) & (gaps <= greatest)).all(2)
        chosen = choose_first_best(candidates, kept.long())
        within[silent] = torch.where(kept.any(0)[:, None], chosen, within[silent])
        return within

    def _gaps(self, view_length: int) -> tuple[int, int | None]:
        """Return the minimum and maximum gap between segments in samples. A maximum of None means no maximum."""
        rate = self.sample_rate or 0
        least = -int(self.overlap * view_length)
        if self.min_gap_seconds is not None:
            least = round(self.min_gap_seconds * rate)
        greatest = None if self.max_gap_seconds is None else round(self.max_gap_seconds * rate)
        return least, greatest


def choose_first_best(candidates: Tensor, scores: Tensor) -> Tensor:
    """Return the candidate with the highest score for each track, and the first one of several.

    Args:
        candidates: (candidates, tracks, views) starts.
        scores: (candidates, tracks) int64.
    """
    count = len(candidates)
    best = (scores * count - torch.arange(count)[:, None]).argmax(0)
    return candidates[best, torch.arange(candidates.shape[1])]


def _spread(room: Tensor, views: int) -> Tensor:
    """Return starts (tracks, views) that are evenly spaced from 0 to the last possible start `room` (tracks,)."""
    return room[:, None] * torch.arange(views) // max(views - 1, 1)


def _check(track_lengths: Tensor, view_length: int, views: int) -> None:
    if not isinstance(track_lengths, Tensor):
        raise TypeError(f"track_lengths: expected a tensor (tracks,), got {type(track_lengths).__name__}")
    if track_lengths.dim() != 1 or track_lengths.is_floating_point():
        raise ValueError(
            f"track_lengths: expected (tracks,) integers, got {track_lengths.dtype} {tuple(track_lengths.shape)}"
        )
    check_integer("view_length", view_length)
    check_integer("views", views)
