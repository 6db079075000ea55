"""Tracks as views with their labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssc_toolkit.audio import UnreadableAudio, read_audio
from ssc_toolkit.data.labels import Labels
from ssc_toolkit.errors import InputError
from ssc_toolkit.samplers import AdjacentSegments, ViewSampler

logger = logging.getLogger(__name__)


class ContrastiveDataset(Dataset[dict[str, Any]]):
    """Views of tracks, decoded from their files as they are asked for.

    An item is a dictionary of `waveforms` (views, 1, samples), `item` (its row in the table), and, if
    labels were given, `labels` and `labeled`. The default collation of a DataLoader stacks them to what
    the losses take. An index drawn as unlabelled by `SemiSupervisedBatchSampler` has `labeled` False.

    A file that cannot be decoded is named in a warning and left out of its batch, which is then smaller.

    Args:
        tracks: table with `path` and `seconds`, as `check_audio` returns it.
        sample_rate: hertz of the views; files are resampled to it.
        view_seconds: length of a view.
        views: views of each track.
        labels: of all tracks, or None.
        view_sampler: where the views lie; the paper's `AdjacentSegments` by default.
        most_unreadable: files that may turn out not to be decodable before it is an error.

    Raises:
        ValueError: if the table lacks a column or labels and tracks differ in number.

    Examples:
        >>> import tempfile, soundfile, pandas
        >>> path = tempfile.mkdtemp() + "/tone.wav"
        >>> soundfile.write(path, np.zeros(16000), 8000)
        >>> tracks = pandas.DataFrame({"path": [path], "seconds": [2.0]})
        >>> dataset = ContrastiveDataset(tracks, sample_rate=8000, view_seconds=0.5, views=2)
        >>> dataset[0]["waveforms"].shape
        torch.Size([2, 1, 4000])
    """

    def __init__(
        self,
        tracks: pd.DataFrame,
        sample_rate: int,
        view_seconds: float,
        views: int = 2,
        labels: Labels | None = None,
        view_sampler: ViewSampler | None = None,
        most_unreadable: int = 10,
    ) -> None:
        missing = {"path", "seconds"} - set(tracks.columns)
        if missing:
            raise ValueError(f"tracks: no column {', '.join(sorted(missing))}; check_audio() adds seconds")
        if labels is not None and len(labels.values) != len(tracks):
            raise ValueError(f"labels: {len(labels.values)} rows for {len(tracks)} tracks")
        self.paths = tracks["path"].tolist()
        self.lengths = torch.as_tensor(np.floor(tracks["seconds"].to_numpy() * sample_rate), dtype=torch.int64)
        self.sample_rate = sample_rate
        self.view_length = round(view_seconds * sample_rate)
        self.views = views
        self.labels = labels
        self.view_sampler = AdjacentSegments() if view_sampler is None else view_sampler
        self.most_unreadable = most_unreadable
        self.unreadable: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        items = self.__getitems__([index])
        if not items:
            raise InputError(f"tracks: {next(reversed(self.unreadable.values()))}")
        return items[0]

    def __getitems__(self, indices: Sequence[int], generator: torch.Generator | None = None) -> list[dict[str, Any]]:
        """Items of several tracks at once, as a DataLoader asks for them.

        Args:
            indices: rows of the table.
            generator: of the views' places; torch's global one if None.
        """
        rows = torch.as_tensor([int(index) for index in indices])
        found = self.view_sampler.views_of(rows, self.lengths, self.view_length, self.views, generator)
        items = []
        for index, tracks, starts in zip(indices, found.tracks.tolist(), found.starts.tolist(), strict=True):
            waveforms = self._read(tracks, starts)
            if waveforms is not None:
                items.append({"waveforms": waveforms, "item": int(index)} | self._labels_of(index))
        return items

    def _read(self, tracks: Sequence[int], starts: Sequence[int]) -> Tensor | None:
        """(views, 1, samples), or None if a file cannot be decoded."""
        views = []
        for track, start in zip(tracks, starts, strict=True):
            path = self.paths[track]
            try:
                views.append(read_audio(path, self.sample_rate, start, self.view_length))
            except UnreadableAudio as error:
                self._report(path, error)
                return None
        return torch.from_numpy(np.stack(views))[:, None]

    def _report(self, path: str, error: UnreadableAudio) -> None:
        """Name a file that cannot be decoded, once; too many of them are an error."""
        if path not in self.unreadable:
            self.unreadable[path] = str(error)
            logger.warning("left out of its batch: %s", error)
        if len(self.unreadable) > self.most_unreadable:
            raise InputError(
                f"tracks: {len(self.unreadable)} files could not be decoded, the last one {error}; mend or remove them"
            ) from error

    def _labels_of(self, index: int) -> dict[str, Any]:
        if self.labels is None:
            return {}
        may_be_seen = getattr(index, "labeled", True)
        return {"labels": self.labels.values[index], "labeled": self.labels.labeled[index] & may_be_seen}
