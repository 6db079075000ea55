"""Views that avoid silent stretches, compared with a loop over all starts."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import generator

from ssc_toolkit.samplers import (
    AdjacentSegments,
    AudibleBlocks,
    RandomSegments,
    SameLabelTracks,
    SameSegment,
    SegmentSampler,
    WeightedViews,
)

BLOCK, VIEW = 50, 100
LOUD, SILENT = -20.0, -120.0

patterns = st.lists(st.lists(st.booleans(), min_size=1, max_size=12), min_size=1, max_size=4)


def blocks_of(tracks: list[list[bool]], block: int = BLOCK, cut: int = 0, threshold: float = -40.0) -> AudibleBlocks:
    """Tracks of loud and silent blocks, the last of which lacks `cut` samples."""
    levels = torch.tensor([LOUD if loud else SILENT for track in tracks for loud in track])
    lengths = torch.tensor([len(track) * block - cut for track in tracks])
    return AudibleBlocks(levels, lengths, block, threshold)


def audible_in(track: list[bool], start: int, length: int, block: int = BLOCK) -> int:
    """Samples of a segment that are in loud blocks, counted one by one."""
    return sum(k // block < len(track) and track[k // block] for k in range(start, start + length))


def starts_by_hand(track: list[bool], length: int, view: int, adjacent: int, block: int) -> list[int]:
    last = max(0, length - view * adjacent)
    least = {
        start: min(audible_in(track, start + number * view, view, block) for number in range(adjacent))
        for start in range(last + 1)
    }
    required = min(round(view / 2), max(least.values()))
    return [start for start in least if last == 0 or least[start] >= required]


@given(
    tracks=patterns,
    block=st.integers(1, 8),
    cut=st.integers(0, 7),
    view=st.integers(1, 20),
    adjacent=st.integers(1, 3),
)
def test_permitted_starts_are_those_of_a_loop(tracks, block, cut, view, adjacent):
    cut = min(cut, block - 1)
    permitted = blocks_of(tracks, block, cut).permitted(view, adjacent)
    found, before = [], 0
    for first, end in zip(permitted.firsts.tolist(), permitted.ends.tolist(), strict=True):
        found += range(first, first + end - before)
        before = end
    for row, track in enumerate(tracks):
        own = found[permitted.bounds[row] : permitted.bounds[row + 1]]
        assert own == starts_by_hand(track, len(track) * block - cut, view, adjacent, block)


@pytest.mark.parametrize("make", [SameSegment, AdjacentSegments, RandomSegments])
def test_starts_are_uniform_over_the_permitted_ones(make):
    track = [False] * 8 + [True] * 8 + [False] * 24  # 80 % silence
    count = 60_000
    audible = blocks_of([track])
    rows, lengths = torch.zeros(count, dtype=torch.int64), torch.full((count,), len(track) * BLOCK)
    starts = make(audible=audible)(lengths, VIEW, 2, generator(0), rows)
    adjacent = 2 if make is AdjacentSegments else 1
    expected = starts_by_hand(track, len(track) * BLOCK, VIEW, adjacent, BLOCK)
    counts = starts[:, 0].bincount(minlength=expected[-1] + 1)
    assert counts.nonzero()[:, 0].tolist() == expected
    mean = count / len(expected)
    # The statistic has the mean and about twice the variance of its degrees of freedom.
    freedom = len(expected) - 1
    chi_square = float(((counts[expected] - mean) ** 2 / mean).sum())
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


LIMITED = [
    RandomSegments(overlap=0.0),
    RandomSegments(min_gap_seconds=0.5, sample_rate=100),
    RandomSegments(max_gap_seconds=1.0, sample_rate=100),
    RandomSegments(min_gap_seconds=0.2, max_gap_seconds=0.7, sample_rate=100),
]


@pytest.mark.parametrize("sampler", [SameSegment(), AdjacentSegments(), RandomSegments(), *LIMITED])
@pytest.mark.parametrize("views", [1, 2])
def test_no_view_is_silent_where_sound_is_long_enough(sampler, views):
    tracks = [[False] * 32 + [True] * 8, ([True] * 8 + [False] * 20) * 3, [True] * 30]
    sampler.audible = blocks_of(tracks)
    rows = torch.arange(3).repeat(300)
    lengths = torch.tensor([len(track) * BLOCK for track in tracks])[rows]
    starts = sampler(lengths, VIEW, views, generator(1), rows)
    assert (starts >= 0).all()
    assert (starts <= lengths[:, None] - VIEW).all()
    for row, own in zip(rows.tolist(), starts.tolist(), strict=True):
        assert min(audible_in(tracks[row], start, VIEW) for start in own) >= VIEW // 2
    if isinstance(sampler, RandomSegments) and views == 2:
        least, greatest = sampler._gaps(VIEW)
        gaps = starts.sort(1).values.diff(dim=1) - VIEW
        assert (gaps >= least).all()
        assert greatest is None or (gaps <= greatest).all()


@pytest.mark.parametrize("make", [SameSegment, AdjacentSegments, RandomSegments])
def test_audible_tracks_have_the_same_views_without_the_option(make):
    lengths, rows = torch.tensor([1000, 4000, 120]), torch.tensor([0, 1, 2, 1, 0])
    audible = AudibleBlocks(torch.full((20 + 80 + 3,), LOUD), lengths, BLOCK)
    without = make()(lengths[rows], VIEW, 2, generator(3))
    assert torch.equal(make(audible=audible)(lengths[rows], VIEW, 2, generator(3), rows), without)


def test_silent_tracks_are_counted_and_their_views_are_anywhere():
    levels = torch.tensor([SILENT] * 10 + [-85.0] * 10 + [LOUD] * 10)
    audible = AudibleBlocks(levels, torch.full((3,), 10 * BLOCK), BLOCK, -10)
    assert audible.is_silent.tolist() == [True, True, False]
    starts = SameSegment(audible=audible)(torch.full((3000,), 500), VIEW, 2, generator(0), torch.arange(3).repeat(1000))
    for row in range(3):
        assert starts[row::3].min() < 10
        assert starts[row::3].max() > 390


@pytest.mark.parametrize(("threshold", "permitted"), [(-10, [False, False, True]), (-25, [False, True, True])])
def test_the_threshold_is_relative_to_the_loudest_block(threshold, permitted):
    levels = torch.tensor([-60.0, -40.0, -20.0]).repeat_interleave(10)
    audible = AudibleBlocks(torch.cat([levels, levels - 15]), torch.full((2,), 30 * BLOCK), BLOCK, threshold)
    rows = torch.arange(2).repeat(500)
    starts = SameSegment(audible=audible)(torch.full((1000,), 1500), VIEW, 1, generator(0), rows)
    for row in range(2):
        middles = (starts[row::2, 0] + VIEW // 2) // (10 * BLOCK)
        assert [bool((middles == part).any()) for part in range(3)] == permitted


def test_other_samplers_pass_the_rows_of_their_tracks():
    tracks = [[False] * 32 + [True] * 8, [True] * 8 + [False] * 32]
    audible, lengths = blocks_of(tracks), torch.full((2,), 40 * BLOCK)
    pairs = SameLabelTracks(torch.tensor([0, 0]), segments=RandomSegments(audible=audible))
    mixed = WeightedViews([(pairs, 0.5), (AdjacentSegments(audible=audible), 0.5)])
    for sampler in (pairs, mixed):
        views = sampler.views_of(torch.arange(2).repeat(200), lengths, VIEW, 2, generator(0))
        for track, start in zip(views.tracks.flatten().tolist(), views.starts.flatten().tolist(), strict=True):
            assert audible_in(tracks[track], start, VIEW) >= VIEW // 2


def test_selected_tracks_keep_their_blocks():
    tracks = [[True, False], [False, True, True], [True], [False, False]]
    audible = blocks_of(tracks)
    chosen = audible.select(torch.tensor([2, 1, 1]))
    expected = blocks_of([tracks[2], tracks[1], tracks[1]])
    for view in (10, 60, 120):
        found, right = chosen.permitted(view), expected.permitted(view)
        assert all(torch.equal(*pair) for pair in zip(found, right, strict=True))
    again = pickle.loads(pickle.dumps(audible))
    assert torch.equal(again.is_silent, audible.is_silent)


class Middle(SegmentSampler):
    """A sampler of a user: near the middle of the track."""

    def place(self, room, view_length, views, generator):
        return (room[:, None] // 2 + torch.randint(-400, 400, (len(room), views), generator=generator)).clamp(min=0)


def test_samplers_of_users_choose_among_candidates():
    track = [False] * 16 + [True] * 8 + [False] * 16
    rows, lengths = torch.zeros(200, dtype=torch.int64), torch.full((200,), 40 * BLOCK)
    starts = Middle(audible=blocks_of([track]))(lengths, VIEW, 2, generator(0), rows)
    assert all(audible_in(track, start, VIEW) >= VIEW // 2 for start in starts.flatten().tolist())
    assert starts[:, 0].unique().numel() > 50


def test_wrong_arguments_are_named():
    audible = blocks_of([[True, False]])
    with pytest.raises(ValueError, match="rows: expected the row numbers"):
        SameSegment(audible=audible)(torch.tensor([100]), 10, 2)
    with pytest.raises(ValueError, match="audible: expected 2 tracks, got 1"):
        SameSegment(audible=audible).views_of(torch.tensor([0]), torch.tensor([100, 100]), 10, 2)
    with pytest.raises(TypeError, match="audible: expected AudibleBlocks, got int"):
        SameSegment(audible=3)
    for threshold in (0, 5, float("nan")):
        with pytest.raises(ValueError, match="threshold_db"):
            AudibleBlocks(torch.zeros(2), torch.tensor([100]), 50, threshold)
    with pytest.raises(ValueError, match="expected 2 levels"):
        AudibleBlocks(torch.zeros(3), torch.tensor([100]), 50)
