"""Dataset that returns views (segments) of tracks and their labels."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ssc_toolkit.audio import Channel, UnreadableAudio, check_channel, read_audio
from ssc_toolkit.checks import MAX_FINITE, check_fraction, check_integer, check_positive
from ssc_toolkit.data.labels import Labels, name_signals
from ssc_toolkit.data.store.layout import FULL_SCALE
from ssc_toolkit.data.store.reader import AudioStore, open_store_of
from ssc_toolkit.data.track_table import Tracks
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.data.worker_trace import WorkerTrace
from ssc_toolkit.errors import InputError
from ssc_toolkit.samplers import AdjacentSegments, Views, ViewSampler

logger = logging.getLogger(__name__)


def as_float(waveforms: Tensor) -> Tensor:
    """Convert waveforms to floating point with values from -1 to 1.

    Args:
        waveforms: tensor of any shape. Floating point is returned unchanged. int16 is divided by 32768.

    Returns:
        Waveforms of the same shape and on the same device.

    Raises:
        InputError: if the dtype is neither floating point nor int16.

    Examples:
        >>> as_float(torch.tensor([-32768, 0, 16384], dtype=torch.int16))
        tensor([-1.0000,  0.0000,  0.5000])
    """
    if waveforms.is_floating_point():
        return waveforms
    if waveforms.dtype != torch.int16:
        raise InputError(f"waveforms: expected floating point or torch.int16, got {waveforms.dtype}")
    return waveforms.float() / FULL_SCALE


class ContrastiveDataset(Dataset[dict[str, Any]]):
    """Dataset that returns several views (segments) of each track, with the labels of the track.

    The audio is read from an audio store (`AudioStore`), or decoded from the audio files when an item is requested.

    An item is a dictionary with `waveforms` (views, 1, samples) and `item`, the row number of the track. If `labels` is
    given, the item also has `labels` and `labeled`, which is False if the label is unknown. If `labels` is a
    dictionary, both are dictionaries with the same keys. The default collation of a DataLoader stacks items to batches
    that the losses accept.

    `SemiSupervisedBatchSampler` marks some indices as unlabeled. For such an index, `labeled` is False. Wrappers that
    replace indices, such as `torch.utils.data.Subset`, drop the mark. Instead of a wrapper, give the sampler the row
    numbers of the subset.

    For a list of indices, the dataset returns a stacked batch. To request such batches, use
    `DataLoader(dataset, sampler=batch_sampler, batch_size=None)`. This avoids the collation, which takes most of the
    loading time with an audio store.

    If a file cannot be decoded, a warning names it, and its batch has one item less.

    Args:
        tracks: track table, data frame or path of a table, with the column `path`. Without a store, the column
            `seconds` (duration) is also required. `check_audio` adds it.
        sample_rate: sample rate of the views in hertz. Audio files are resampled. A store must have this sample rate.
        view_seconds: length of a view in seconds.
        views: number of views of each track.
        labels: labels of all tracks, or a dictionary of labels by name. None for unlabeled data.
        view_sampler: sampler of the positions of views in a track. By default `AdjacentSegments()`.
        max_unusable: maximum fraction of the tracks that may fail to decode. If more tracks fail, an error is raised.
        store: audio store with the tracks. By default, the store that the table comes from, if any.
        dtype: float32, or int16 with a store. int16 halves the memory traffic. Convert int16 batches with `as_float` on
            the device.
        channel: conversion of audio files to mono, as for `read_audio`. It has no effect with a store.

    Raises:
        ValueError: if the table lacks a column, if the numbers of labels and tracks differ, or if `dtype` is int16
            without a store.
        InputError: if the store has another sample rate or lacks a track, or if `view_seconds` is not positive.

    Examples:
        >>> import tempfile, soundfile, pandas
        >>> path = tempfile.mkdtemp() + "/tone.wav"
        >>> soundfile.write(path, np.zeros(16000), 8000)
        >>> tracks = pandas.DataFrame({"path": [path], "seconds": [2.0]})
        >>> dataset = ContrastiveDataset(tracks, sample_rate=8000, view_seconds=0.5, views=2)
        >>> dataset[0]["waveforms"].shape, dataset[[0, 0, 0]]["waveforms"].shape
        (torch.Size([2, 1, 4000]), torch.Size([3, 2, 1, 4000]))
    """

    def __init__(
        self,
        tracks: Tracks,
        sample_rate: int,
        view_seconds: float,
        views: int = 2,
        labels: Labels | Mapping[str, Labels] | None = None,
        view_sampler: ViewSampler | None = None,
        max_unusable: float = 0.1,
        store: AudioStore | None = None,
        dtype: torch.dtype = torch.float32,
        channel: Channel = "mean",
    ) -> None:
        tracks = as_track_table(tracks)
        from_store = store is not None or tracks.store is not None
        missing = ({"path"} if from_store else {"path", "seconds"}) - set(tracks)
        if missing:
            raise ValueError(f"tracks: no column {', '.join(sorted(missing))}; `check_audio` adds seconds")
        check_positive("view_seconds", view_seconds, high=MAX_FINITE)
        check_channel(channel)
        check_integer("views", views, 1)
        check_fraction("max_unusable", max_unusable)
        if not isinstance(labels, Labels | Mapping | None):
            raise ValueError(f"labels: expected the result of encode_labels, got {type(labels).__name__}")
        for signal in name_signals(labels).values():
            if len(signal.values) != len(tracks):
                raise ValueError(f"labels: expected {len(tracks)} rows, one for each track, got {len(signal.values)}")
        self.paths = tracks["path"].tolist()
        self.sample_rate = sample_rate
        self.store = open_store_of(tracks, sample_rate) if store is None else store
        self.dtype = dtype
        self.channel: Channel = channel
        if dtype not in (torch.float32, torch.int16):
            raise ValueError(f"dtype: expected float32 or int16, got {dtype}")
        if self.store is None:
            if dtype != torch.float32:
                raise ValueError(f"dtype: expected float32 without a store, got {dtype}")
            lengths = np.floor(tracks["seconds"].to_numpy() * sample_rate)
            self.lengths = torch.as_tensor(lengths, dtype=torch.int64)
        else:
            self.store.check_rate(sample_rate)
            self._stored = self.store.rows_of(self.paths)
            self.lengths = self.store.lengths[self._stored]
        self.view_length = round(view_seconds * sample_rate)
        self.views = views
        self.labels = labels
        self.view_sampler = AdjacentSegments() if view_sampler is None else view_sampler
        self.max_unusable = max_unusable
        self.unreadable: dict[str, str] = {}
        self._notes: tuple[WorkerTrace, int] | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int | Sequence[int]) -> dict[str, Any]:
        """Return the item with an index, or a stacked batch for a list of indices."""
        if isinstance(index, Sequence):
            return self.batch(index)
        return {name: value[0] for name, value in self.batch([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return a list of items. A DataLoader with a batch size calls this method and stacks the items."""
        batch = self.batch(indices)
        return [
            {name: _each(value, lambda tensor: tensor[place]) for name, value in batch.items()}  # noqa: B023
            for place in range(len(batch["item"]))
        ]

    def batch(
        self, indices: Sequence[int], generator: torch.Generator | None = None, part: slice | Tensor | None = None
    ) -> dict[str, Any]:
        """Return a batch of several tracks.

        Args:
            indices: row numbers of the tracks.
            generator: generator for the positions of the views. By default, the global generator of PyTorch.
            part: positions in `indices` of the tracks that are read. None: all tracks. The positions of views are
                always drawn for all indices. Several processes that read different parts therefore get, together, the
                same views as one process that reads all.

        Returns:
            A dictionary with `waveforms` (items, views, 1, samples) of `dtype`, and the row numbers `item` (items,)
            int64. If the dataset has labels, it also has `labels` and `labeled` (items,) bool, or dictionaries of them.
            If `part` is given, it also has `places` (items,), the positions of the items in `indices`. Tracks that
            cannot be decoded are omitted.

        Raises:
            IndexError: if an index is not a row number of the table.
            InputError: if no track of the batch can be decoded, or if more than the fraction `max_unusable` of all
                tracks failed so far.
            TypeError: if an index is not an integer.
        """
        try:
            rows = torch.tensor([operator.index(index) for index in indices], dtype=torch.int64)
        except TypeError:
            raise TypeError(
                f"indices: expected integers, got {next(iter(indices), None)!r}; a batch sampler goes into a "
                "DataLoader as batch_sampler=, or as sampler= with batch_size=None"
            ) from None
        if ((rows < 0) | (rows >= len(self))).any():
            raise IndexError(f"indices: expected 0 to {len(self) - 1}, got {rows.min()} to {rows.max()}")
        found = self.view_sampler.views_of(rows, self.lengths, self.view_length, self.views, generator)
        may_be_seen = torch.tensor([getattr(index, "labeled", True) for index in indices])
        places = torch.arange(len(rows))
        if part is not None:
            found, rows, may_be_seen = Views(found.tracks[part], found.starts[part]), rows[part], may_be_seen[part]
        waveforms, kept = self._read(found)
        batch: dict[str, Any] = {"waveforms": waveforms, "item": rows[kept]}
        if part is not None:
            batch["places"] = places[part][kept]
        if self.labels is None:
            return batch
        own = {name: signal[rows[kept]] for name, signal in name_signals(self.labels).items()}
        values = {name: signal.values for name, signal in own.items()}
        labeled = {name: signal.labeled & may_be_seen[kept] for name, signal in own.items()}
        if isinstance(self.labels, Labels):
            return {**batch, "labels": values[""], "labeled": labeled[""]}
        return {**batch, "labels": values, "labeled": labeled}

    def watch(self, notes: WorkerTrace, first_row: int = 0) -> None:
        """Make each DataLoader worker record in `notes` which row it reads, for error messages.

        The recorded number is the row number plus `first_row`.
        """
        self._notes = (notes, first_row)

    def describe_item(self, row: int) -> str:
        """Return a text with the file path of a row, and the audio store if there is one, for error messages."""
        return self.paths[row] if self.store is None else f"{self.paths[row]} in {self.store!r}"

    def _note(self, row: int) -> None:
        if self._notes is not None:
            notes, first_row = self._notes
            notes.note(first_row + row)

    def _read(self, places: Views) -> tuple[Tensor, Tensor]:
        """Read the views at `places`, and return them with the indices of their items in `places`.

        Items that cannot be decoded are omitted. The views are waveforms (items, views, 1, samples).
        """
        everything = torch.arange(len(places.tracks))
        if self.store is not None:
            self._note(int(places.tracks[0, 0]))
            rows = self._stored[places.tracks.flatten()]
            segments = self.store.read(rows, places.starts.flatten(), self.view_length, self.dtype)
            return segments.view(*places.tracks.shape, 1, self.view_length), everything
        decoded = [
            self._decode(tracks, starts)
            for tracks, starts in zip(places.tracks.tolist(), places.starts.tolist(), strict=True)
        ]
        kept = [place for place, item in enumerate(decoded) if item is not None]
        if not kept:
            raise InputError(f"tracks: {next(reversed(self.unreadable.values()))}")
        return torch.from_numpy(np.stack([item for item in decoded if item is not None])), everything[kept]

    def _decode(self, tracks: Sequence[int], starts: Sequence[int]) -> np.ndarray | None:
        """Decode the views of one item, (views, 1, samples). Return None if a file cannot be decoded.

        `tracks` and `starts` are the row number and the first sample of each view.
        """
        views = []
        for track, start in zip(tracks, starts, strict=True):
            self._note(track)
            path = self.paths[track]
            try:
                views.append(read_audio(path, self.sample_rate, start, self.view_length, self.channel))
            except UnreadableAudio as error:
                self._report(path, error)
                return None
        return np.stack(views)[:, None]

    def _report(self, path: str, error: UnreadableAudio) -> None:
        """Warn about a file that cannot be decoded, once per file. Raise InputError if too many files failed."""
        if path not in self.unreadable:
            self.unreadable[path] = str(error)
            logger.warning("left out of its batch: %s", error)
        if len(self.unreadable) > self.max_unusable * len(self.paths):
            raise InputError(
                f"tracks: {len(self.unreadable)} files could not be decoded (last error: {error}); fix or remove them"
            ) from error


def _each(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to a tensor, or to each tensor in a dictionary."""
    return {name: function(tensor) for name, tensor in value.items()} if isinstance(value, dict) else function(value)
