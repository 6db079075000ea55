"""Promises of the view samplers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from seeded import generator

from ssc_toolkit.samplers import (
    AdjacentSegments,
    RandomSegments,
    SameLabelTracks,
    SameSegment,
    WeightedViews,
)

lengths = st.lists(st.integers(1, 2000), min_size=1, max_size=8).map(torch.tensor)


TEN_HOURS = 10 * 3600 * 48000


SEGMENTS = [
    SameSegment(),
    AdjacentSegments(),
    RandomSegments(),
    RandomSegments(overlap=0.0),
    RandomSegments(min_gap_seconds=0.5, sample_rate=100),
    RandomSegments(max_gap_seconds=1.0, sample_rate=100),
    RandomSegments(min_gap_seconds=0.2, max_gap_seconds=0.7, sample_rate=100),
]


@pytest.mark.parametrize("sampler", SEGMENTS)
@given(tracks=lengths, view=st.integers(1, 500), views=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_views_lie_inside_their_track(sampler, tracks, view, views, seed):
    starts = sampler(tracks, view, views, generator(seed))
    assert starts.shape == (len(tracks), views)
    assert (starts >= 0).all()
    assert (starts <= (tracks - view).clamp(min=0)[:, None]).all()
    assert torch.equal(starts, sampler(tracks, view, views, generator(seed)))


@given(tracks=lengths, view=st.integers(1, 500), views=st.integers(1, 6), seed=st.integers(0, 2**31))
def test_adjacent_segments_do_not_overlap_in_long_tracks(tracks, view, views, seed):
    starts = AdjacentSegments()(tracks, view, views, generator(seed))
    roomy = tracks >= view * views
    assert (starts.diff(dim=1)[roomy] == view).all()
    # Without room they overlap evenly, from the beginning to the end of the track.
    cramped = starts[~roomy & (tracks > view)]
    if views > 1:
        assert (cramped[:, 0] == 0).all()
        assert (cramped[:, -1] == (tracks - view)[~roomy & (tracks > view)]).all()
        assert (cramped.diff(dim=1).amax(1) - cramped.diff(dim=1).amin(1) <= 1).all()


def test_adjacent_segments_reach_both_ends_of_a_track():
    starts = AdjacentSegments()(torch.full((4000,), 103), 50, 2, generator(0))
    assert set(starts[:, 0].tolist()) == {0, 1, 2, 3}
    long = AdjacentSegments()(torch.full((1000,), TEN_HOURS), 129600, 2, generator(0))
    assert long.min() < TEN_HOURS * 0.01
    assert long.max() > TEN_HOURS * 0.99 - 129600


@given(tracks=lengths, view=st.integers(1, 200), views=st.integers(2, 5), seed=st.integers(0, 2**31))
def test_one_segment_for_all_views(tracks, view, views, seed):
    starts = SameSegment()(tracks, view, views, generator(seed))
    assert (starts == starts[:, :1]).all()


@given(
    tracks=lengths,
    view=st.integers(1, 200),
    views=st.integers(2, 5),
    least=st.one_of(st.none(), st.integers(0, 60)),
    more=st.one_of(st.none(), st.integers(0, 200)),
    overlap=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
def test_gaps_between_neighbors_are_in_the_range(tracks, view, views, least, more, overlap, seed):
    greatest = None if more is None else (least or 0) + more
    sampler = RandomSegments(least, greatest, overlap, sample_rate=1)
    starts = sampler(tracks, view, views, generator(seed)).sort(1).values
    gaps = starts.diff(dim=1) - view
    lowest = -int(overlap * view) if least is None else least
    roomy = tracks >= view + (views - 1) * (view + lowest)
    assert (gaps[roomy] >= lowest).all()
    if greatest is not None:
        assert (gaps[roomy] <= greatest).all()
    cramped = starts[~roomy & (tracks > view)]
    assert (cramped[:, 0] == 0).all()
    assert (cramped[:, -1] == (tracks - view)[~roomy & (tracks > view)]).all()


def test_segments_with_gaps_go_everywhere_in_random_order():
    sampler = RandomSegments(min_gap_seconds=0, max_gap_seconds=3, sample_rate=1)
    starts = sampler(torch.full((4000,), 30), 10, 2, generator(0))
    assert set(starts.flatten().tolist()) == set(range(21))
    assert 0.45 < (starts[:, 0] < starts[:, 1]).float().mean() < 0.55
    assert set((starts.diff(dim=1).abs() - 10).flatten().tolist()) == {0, 1, 2, 3}


@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=30).map(torch.tensor),
    views=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_the_other_views_lie_in_other_tracks_of_the_same_label(labels, views, seed):
    count = len(labels)
    known = torch.rand(count, generator=generator(seed)) < 0.8
    items, track_lengths = torch.arange(count), torch.arange(count) * 7 + 1
    found = SameLabelTracks(labels, known).views_of(items, track_lengths, 20, views, generator(seed))
    assert torch.equal(found.tracks[:, 0], items)
    for item in range(count):
        others = [t for t in range(count) if t != item and known[t] and known[item] and labels[t] == labels[item]]
        for track in found.tracks[item, 1:].tolist():
            assert track in others if others else track == item
    assert (found.starts >= 0).all()
    assert (found.starts <= (track_lengths[found.tracks] - 20).clamp(min=0)).all()


def test_partners_with_a_shared_label_are_equally_likely():
    tags = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    sampler = SameLabelTracks(tags)
    items = torch.zeros(6000, dtype=torch.int64)
    partners = sampler.views_of(items, torch.full((5,), 100), 10, 2, generator(0)).tracks[:, 1]
    shares = torch.bincount(partners, minlength=5) / 6000
    torch.testing.assert_close(shares, torch.tensor([0.0, 0.25, 0.25, 0.5, 0.0]), atol=0.03, rtol=0)
    lonely = sampler.views_of(torch.tensor([4]), torch.full((5,), 100), 10, 3, generator(0))
    assert lonely.tracks.tolist() == [[4, 4, 4]]


def test_a_million_tracks_are_fast():
    artists = torch.randint(200_000, (1_000_000,), generator=generator(0))
    sampler = SameLabelTracks(artists)
    items = torch.randint(1_000_000, (192,), generator=generator(1))
    found = sampler.views_of(items, torch.full((1_000_000,), 10**6), 1000, 2, generator(2))
    assert torch.equal(artists[found.tracks[:, 1]], artists[items])


def test_view_samplers_are_mixed_by_weight():
    artists = torch.arange(1000) // 2
    mixed = WeightedViews([(SameLabelTracks(artists), 1.0), (AdjacentSegments(), 3.0), (SameSegment(), 0.0)])
    items, track_lengths = torch.arange(1000), torch.full((1000,), 500)
    found = mixed.views_of(items, track_lengths, 50, 2, generator(0))
    elsewhere = found.tracks[:, 1] != items
    assert 0.2 < elsewhere.float().mean() < 0.3
    assert (found.starts.diff(dim=1)[~elsewhere] == 50).all()
    again = mixed.views_of(items, track_lengths, 50, 2, generator(0))
    assert torch.equal(again.tracks, found.tracks)
    assert torch.equal(again.starts, found.starts)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RandomSegments(overlap=1.5), "overlap"),
        (lambda: RandomSegments(min_gap_seconds=-1, sample_rate=10), "min_gap_seconds"),
        (lambda: RandomSegments(2, 1, sample_rate=10), "max_gap_seconds"),
        (lambda: RandomSegments(2), "sample_rate"),
        (lambda: SameLabelTracks(torch.zeros(2, 2, 2)), "labels"),
        (lambda: SameLabelTracks(torch.zeros(3).long(), torch.ones(2, dtype=torch.bool)), "labeled"),
        (
            lambda: SameLabelTracks(torch.zeros(3).long()).views_of(torch.tensor([0]), torch.tensor([5, 5]), 1, 2),
            "track_lengths",
        ),
        (lambda: WeightedViews([]), "samplers"),
        (lambda: WeightedViews([(SameSegment(), -1.0)]), "samplers"),
    ],
)
def test_bad_arguments_of_view_samplers_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_a_track_exactly_as_long_as_its_views():
    assert AdjacentSegments()(torch.tensor([300]), 100, 3, generator(0)).tolist() == [[0, 100, 200]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.tensor([[5]]), 1, 1), "track_lengths"),
        ((torch.tensor([5.0]), 1, 1), "track_lengths"),
        ((torch.tensor([5]), 0, 1), "view_length"),
        ((torch.tensor([5]), 1, 0), "views"),
    ],
)
def test_bad_track_lengths_and_views_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        AdjacentSegments()(*arguments)
