"""Views from different tracks that share a label."""

from __future__ import annotations

import torch
from torch import Tensor

from ssc_toolkit.samplers.label_budget import find_labeled_pairs
from ssc_toolkit.samplers.segments import RandomSegments, SegmentSampler
from ssc_toolkit.samplers.views import Views, ViewSampler, draw_up_to


class SameLabelTracks(ViewSampler):
    """View sampler that draws the views of an item from different tracks with the same label.

    The first view is from the track of the item. Each other view is from a random other track with the same label, such
    as the class, artist, album or tag. If a track has several labels, one that other tracks also have is chosen at
    random. If a track shares no label with another track, all views are from this track.

    Args:
        labels: labels of all tracks of the dataset: class indices (tracks,) or multi-hot (tracks, classes).
        labeled: bool (tracks,), True where the labels are known. None: all labels are known.
        segments: segment sampler that draws the position of each view in its track; `RandomSegments()` by default.

    Raises:
        ValueError: if the shape of the labels is invalid.
        TypeError: if `segments` is not a segment sampler.

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
        member, label = find_labeled_pairs(labels, labeled, "tracks")
        label = label.unique(return_inverse=True)[1]
        self.segments = RandomSegments() if segments is None else segments
        if not isinstance(self.segments, SegmentSampler):
            raise TypeError(f"segments: expected a segment sampler, got {type(segments).__name__}")
        self._tracks = len(labels)
        # Ignore labels of a single track.
        shared = torch.bincount(label, minlength=1)[label] > 1
        member, label = member[shared], label[shared]
        by_label = torch.argsort(label, stable=True)
        self._members, self._label_of_member = member[by_label], label[by_label]
        counts = torch.bincount(label, minlength=int(label.max()) + 1 if len(label) else 1)
        self._counts, self._begins = counts, counts.cumsum(0) - counts
        # Indices into the list of members, grouped by track.
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
            raise ValueError(f"track_lengths: expected the lengths of {self._tracks} tracks, got {len(track_lengths)}")
        tracks = torch.cat([items[:, None], self._partners(items, views - 1, generator)], dim=1)
        starts = self.segments(track_lengths[tracks.flatten()], view_length, 1, generator, tracks.flatten())
        return Views(tracks, starts.view(tracks.shape))

    def _partners(self, items: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
        """Draw `count` other tracks that share a label with each of the given tracks `items`, (items, count) int64."""
        own = self._entry_counts[items]
        if not len(self._entries) or count == 0:
            return items[:, None].expand(-1, count)
        pick = draw_up_to((own - 1).clamp(min=0)[:, None].expand(-1, count), generator)
        place = self._entries[(self._entry_begins[items][:, None] + pick).clamp(max=len(self._entries) - 1)]
        label = self._label_of_member[place]
        # To draw another track, step ahead by at least 1 in the circular list of the tracks with this label.
        size, begin = self._counts[label], self._begins[label]
        ahead = 1 + draw_up_to(size - 2, generator)
        partner = self._members[begin + (place - begin + ahead) % size]
        return torch.where(own[:, None] > 0, partner, items[:, None])
