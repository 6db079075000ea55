"""Positions of views that avoid silent stretches of tracks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ssc_toolkit.checks import check_integer, check_number
from ssc_toolkit.samplers.views import draw_up_to

MIN_LEVEL_DB = -80.0
"""Level in dB of full scale below which a block is always silent, so that the dither of 16-bit audio is silent."""
_MIN_AUDIBLE = 0.5  # fraction of a view that must be audible, if a view of the track reaches it
_FAR = 2**60
_TRACKS_AT_ONCE = 256


class PermittedStarts(NamedTuple):
    """Starts at which views of tracks avoid silent stretches, as intervals of samples.

    Attributes:
        firsts: (intervals,) int64, first start of each interval, track by track.
        ends: (intervals,) int64, number of starts in this interval and all intervals before it.
        bounds: (tracks + 1,) int64, number of starts in all tracks before each track, and in all tracks.
        required: (tracks,) int64, number of audible samples that each view must have.
    """

    firsts: Tensor
    ends: Tensor
    bounds: Tensor
    required: Tensor

    def draw(self, rows: Tensor, views: int, generator: torch.Generator | None) -> Tensor:
        """Draw starts with equal probability, independently for each view.

        Args:
            rows: (n,) int64, row numbers of tracks.
            views: number of views per track.
            generator: random generator on the CPU. None: the global generator of PyTorch.

        Returns:
            (n, views) int64.
        """
        before, after = self.bounds[rows][:, None], self.bounds[rows + 1][:, None]
        number = before + draw_up_to((after - before - 1).expand(-1, views), generator)
        place = torch.searchsorted(self.ends, number, right=True)
        begin = torch.where(place > 0, self.ends[place - 1], 0)
        return self.firsts[place] + number - begin


class AudibleBlocks:
    """Audible parts of the tracks of a table, by which view samplers avoid silent stretches.

    Each track is divided into blocks of equal length. A block is silent if its level is below that of the loudest block
    of the track by more than the threshold, or below -80 dB of full scale. A view avoids silent stretches if at least
    half of it is in audible blocks. If no view of a track reaches this, the views with the largest audible part are
    used. In a track that is silent throughout, views are at any position.

    `AudioStore.audible_blocks` creates an object from the levels that `prepare` stored.

    Args:
        levels: (blocks,) level of each block of all tracks, track by track, in dB of full scale.
        lengths: (tracks,) int64, length of each track in samples. A track has a block for each begun `block_length`.
        block_length: length of a block in samples.
        threshold_db: level below which a block is silent, in dB relative to the loudest block of its track, -200 to -1.

    Attributes:
        lengths: (tracks,) int64, length of each track in samples.
        block_length: length of a block in samples.
        is_silent: (tracks,) bool, True for tracks that are silent throughout.

    Raises:
        ValueError: if the number of levels is not the number of blocks, or if the threshold is out of range.

    Examples:
        >>> levels = torch.tensor([-120.0, -20.0, -20.0, -120.0, -120.0])  # one track of five blocks
        >>> audible = AudibleBlocks(levels, torch.tensor([500]), block_length=100, threshold_db=-40)
        >>> permitted = audible.permitted(view_length=100)
        >>> starts = permitted.draw(torch.tensor([0]), 1000, torch.Generator().manual_seed(0))
        >>> starts.min(), starts.max()
        (tensor(50), tensor(250))
    """

    def __init__(self, levels: Tensor, lengths: Tensor, block_length: int, threshold_db: float = -40.0) -> None:
        self.block_length = check_integer("block_length", block_length)
        check_number("threshold_db", threshold_db, -200, -1)
        counts = -(-lengths // block_length)
        if levels.shape != (int(counts.sum()),):
            raise ValueError(f"levels: expected {int(counts.sum())} levels, got the shape {tuple(levels.shape)}")
        owner = torch.repeat_interleave(torch.arange(len(counts)), counts)
        loudest = levels.new_full((len(counts),), -torch.inf).scatter_reduce(0, owner, levels, "amax")
        self._set(levels >= (loudest + threshold_db).clamp(min=MIN_LEVEL_DB)[owner], lengths)

    def _set(self, audible: Tensor, lengths: Tensor) -> None:
        self.lengths, self._counts = lengths, -(-lengths // self.block_length)
        self._begins = self._counts.cumsum(0) - self._counts
        self._audible = torch.cat([audible, audible.new_zeros(1)])  # the last entry stands for the end of a track
        self._sums = torch.cat([torch.zeros(1, dtype=torch.int64), audible.cumsum(0)])
        number = self._sums[self._begins + self._counts] - self._sums[self._begins]
        self.is_silent, self._is_whole = number == 0, number == self._counts
        self._permitted: dict[tuple[int, int], PermittedStarts] = {}

    def __len__(self) -> int:
        return len(self.lengths)

    def select(self, rows: Tensor) -> AudibleBlocks:
        """Return the audible blocks of some tracks, given their row numbers (tracks,) int64, in their order."""
        counts = self._counts[rows]
        shifts = torch.repeat_interleave(self._begins[rows] - (counts.cumsum(0) - counts), counts)
        chosen = object.__new__(AudibleBlocks)
        chosen.block_length = self.block_length
        chosen._set(self._audible[torch.arange(len(shifts)) + shifts], self.lengths[rows])
        return chosen

    def audible_samples(self, rows: Tensor, starts: Tensor, view_length: int) -> Tensor:
        """Return the number of samples of each view that are in audible blocks.

        Args:
            rows: (n,) int64, row number of the track of the views.
            starts: (n, views) int64, first sample of each view.
            view_length: length of a view in samples.
        """
        return self._audible_before(rows, starts + view_length) - self._audible_before(rows, starts)

    def permitted(self, view_length: int, adjacent: int = 1) -> PermittedStarts:
        """Find the starts in all tracks at which views avoid silent stretches. The result is computed once.

        Args:
            view_length: length of a view in samples. In a track that is not longer than the views, the start is 0.
            adjacent: number of views, each directly after the previous one, that must all avoid silent stretches.
        """
        key = (view_length, adjacent)
        if key not in self._permitted:
            self._permitted[key] = self._find_all(view_length, adjacent)
        return self._permitted[key]

    def _find_all(self, view_length: int, adjacent: int) -> PermittedStarts:
        """Find the permitted starts in all tracks. Arguments are those of `permitted`."""
        last = (self.lengths - view_length * adjacent).clamp(min=0)
        is_free = self._is_whole | (last == 0)
        free, partly = is_free.nonzero()[:, 0], (~is_free).nonzero()[:, 0]
        partly = partly[self._counts[partly].argsort(stable=True)]  # tracks of similar lengths are processed together
        found = [(free, torch.zeros_like(free), last[free] + 1)]
        required = torch.zeros_like(self.lengths)
        for rows in partly.split(_TRACKS_AT_ONCE) if len(partly) else ():
            firsts, counts, required[rows] = self._find(rows, last[rows], view_length, adjacent)
            track, interval = counts.nonzero(as_tuple=True)
            found.append((rows[track], firsts[track, interval], counts[track, interval]))
        owner, firsts, counts = map(torch.cat, zip(*found, strict=True))
        order = owner.argsort(stable=True)
        owner, firsts, counts = owner[order], firsts[order], counts[order]
        totals = torch.zeros_like(self.lengths).index_add(0, owner, counts)
        bounds = torch.cat([totals.new_zeros(1), totals.cumsum(0)])
        continues = (owner[1:] == owner[:-1]) & (firsts[1:] == firsts[:-1] + counts[:-1])
        edge = torch.ones(min(1, len(owner)), dtype=torch.bool)
        is_first, is_end = torch.cat([edge, ~continues]), torch.cat([~continues, edge])
        return PermittedStarts(firsts[is_first], counts.cumsum(0)[is_end], bounds, required)

    def _find(self, rows: Tensor, last: Tensor, view_length: int, adjacent: int) -> tuple[Tensor, Tensor, Tensor]:
        """Find the permitted starts of tracks that are partly silent.

        Between two starts at which an end of a view is at the border of blocks, the number of audible samples of the
        view grows by 1 per sample, falls by 1 per sample, or is constant.

        Args:
            rows: (n,) int64, row numbers of the tracks.
            last: (n,) int64, last possible start in each track.
            view_length: as for `permitted`.
            adjacent: as for `permitted`.

        Returns:
            First start and number of starts of intervals, (n, intervals) int64 each, and the required number of audible
            samples (n,).
        """
        block = self.block_length
        borders = torch.tensor(sorted({-number * view_length % block for number in range(adjacent + 1)}))
        firsts = (torch.arange(int(last.max()) // block + 1)[:, None] * block + borders).flatten()
        ends = torch.cat([firsts[1:], firsts[-1:] + block])
        spans = torch.minimum(ends, last[:, None] + 1) - firsts
        grows, falls, stays = (torch.full(spans.shape, _FAR) for _ in range(3))
        for number in range(adjacent):
            begin = (firsts + number * view_length).expand(len(rows), -1)
            count = self.audible_samples(rows, begin, view_length)
            slope = self._is_audible(rows, begin + view_length).long() - self._is_audible(rows, begin).long()
            for kind, sign in ((grows, 1), (falls, -1), (stays, 0)):
                torch.minimum(kind, torch.where(slope == sign, count, _FAR), out=kind)
        best = torch.minimum(((falls - grows) // 2).clamp(min=0), (spans - 1).clamp(min=0))
        most = torch.minimum(torch.minimum(grows + best, falls - best), stays)
        half = round(_MIN_AUDIBLE * view_length)
        required = torch.where(spans > 0, most, 0).amax(1).clamp(max=half)
        low = (required[:, None] - grows).clamp(min=0)
        high = torch.minimum(spans, falls - required[:, None] + 1)
        counts = torch.where(stays >= required[:, None], high - low, 0).clamp(min=0)
        return firsts + low, counts, required

    def _audible_before(self, rows: Tensor, samples: Tensor) -> Tensor:
        """Return the number of audible samples before each position (n, positions) in the tracks `rows` (n,)."""
        begins, block = self._begins[rows][:, None], samples // self.block_length
        place = begins + torch.minimum(block, self._counts[rows][:, None])
        whole = (self._sums[place] - self._sums[begins]) * self.block_length
        return whole + self._is_audible(rows, samples) * (samples - block * self.block_length)

    def _is_audible(self, rows: Tensor, samples: Tensor) -> Tensor:
        """Return whether positions (n, positions) in the tracks `rows` (n,) are in audible blocks."""
        block = samples // self.block_length
        place = torch.where(block < self._counts[rows][:, None], self._begins[rows][:, None] + block, -1)
        return self._audible[place]
