"""Loading of the windows of tracks in batches, clean or corrupted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
import soxr
import torch
from torch import Tensor

from ssc_toolkit.data import TrackTable, UnreadableAudio, read_audio
from ssc_toolkit.data.store.reader import open_store_of
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.windows import MAX_WINDOWS, count_windows, find_audible, spread_windows

_MAX_WHOLE = 4 * MAX_WINDOWS  # a track with more windows is not decoded as a whole
_MAX_SECONDS = 192.0  # mean length of the tracks in a batch that is corrupted, which limits the memory
_MAX_SAMPLES = 2**25  # in the windows of a batch of clean tracks, which limits the memory to some 128 MiB

Decoded = TypeVar("Decoded")

Reader = Callable[[int, int, int], np.ndarray]
"""Function from a row number of the track table, a first sample and a number of samples to that segment, (samples,)."""


def make_reader(tracks: TrackTable, sample_rate: int) -> Reader:
    """Return a function that reads segments of tracks from the audio store of the table, or else from audio files.

    Args:
        tracks: track table with the column `path`.
        sample_rate: sample rate of the segments in hertz.

    Raises:
        DamagedFile: if the samples of a track in the store do not match their checksum. The keys of cached embeddings
            contain these checksums, so embeddings of damaged samples must not be cached.
    """
    paths = tracks["path"].tolist()
    store = open_store_of(tracks, sample_rate)
    if store is None:
        return lambda row, start, length: read_audio(paths[row], sample_rate, start, length)
    rows = store.rows_of(paths).tolist()
    store.verify(rows)
    return lambda row, start, length: store.read([rows[row]], [start], length)[0].numpy()


class LoadedBatch(NamedTuple):
    """Windows of a batch of tracks.

    Attributes:
        tracks: number of tracks whose last windows are in the batch.
        rows: row numbers of the tracks that could be decoded.
        windows: for each model, the windows (rows, windows, samples) of these tracks. Empty without such tracks.
        audible: for each model, which windows of the clean audio are pooled, as from `find_audible`, bool (rows,
            windows). It is the same for clean and corrupted audio. Empty without such tracks.
    """

    tracks: int
    rows: list[int]
    windows: list[Tensor]
    audible: list[Tensor]


@dataclass
class AudioLoader:
    """Loader that yields the windows of tracks in batches, for several models.

    A corruption is applied to the whole track, at its own sample rate. The result is resampled to the sample rate of
    each model, so that all models receive the same corrupted audio. The length of the corrupted audio is a whole number
    of seconds. Silent windows are found in the clean audio, so that a corruption does not change the choice of windows.

    Args:
        tracks: track table with the columns `path` and `seconds`.
        rates: sample rate of each model in hertz.
        sizes: length of a window of each model in samples.
        corruption: corruption of the tracks. None loads clean audio.
        batch_size: maximum number of tracks in a batch.
        max_unusable: maximum fraction of tracks that may fail to decode.
        all_windows: whether to load all windows of clean tracks for a single model, and not at most 64. A track with
            more windows is then loaded in several batches.

    Attributes:
        problems: error messages of the tracks that failed to decode so far.
        failed: row numbers of these tracks. Earlier batches may contain windows of them.

    Raises:
        InputError: as for `count_windows`.
    """

    tracks: TrackTable
    rates: Sequence[int]
    sizes: Sequence[int]
    corruption: FixedCorruption | None = None
    batch_size: int = 32
    max_unusable: float = 0.1
    all_windows: bool = False
    problems: list[str] = field(default_factory=list)
    failed: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        counts = [count_windows(self.tracks, *model) for model in zip(self.rates, self.sizes, strict=True)]
        self._counts = np.stack(counts, axis=1)

    def batches(self, device: torch.device) -> Iterator[LoadedBatch]:
        """Load the tracks in batches.

        Args:
            device: device on which corruptions are computed.

        Yields:
            The windows of each batch.

        Raises:
            InputError: if the fraction of tracks that failed to decode exceeds `max_unusable`.
        """
        yield from self._clean_batches() if self.corruption is None else self._corrupted_batches(device)

    def _clean_batches(self) -> Iterator[LoadedBatch]:
        readers = {rate: make_reader(self.tracks, rate) for rate in self.rates}
        counts = np.minimum(self._counts, MAX_WINDOWS)
        samples = int((counts * self.sizes).sum(axis=1).max(initial=1))
        keys = self._counts if self.all_windows else counts
        for rows in self._groups(keys, max(1, min(self.batch_size, _MAX_SAMPLES // samples))):
            if keys[rows[0]].max() > MAX_WINDOWS:
                for row in rows:
                    yield from self._long_track(row, readers)
                continue
            decoded = self._decode(rows, lambda row: self._read_windows(row, readers, {}))
            windows = [torch.from_numpy(np.stack(parts)) for parts in zip(*decoded.values(), strict=True)]
            yield LoadedBatch(len(rows), list(decoded), windows, [find_audible(own) for own in windows])

    def _long_track(self, row: int, readers: Mapping[int, Reader]) -> Iterator[LoadedBatch]:
        """Yield all windows of a clean track for the only model, 64 at a time."""
        (rate,), (size,), count = self.rates, self.sizes, int(self._counts[row, 0])
        for first in range(0, count, MAX_WINDOWS):
            number = min(MAX_WINDOWS, count - first)

            def read(row: int, start: int = first * size, length: int = number * size) -> np.ndarray:
                return readers[rate](row, start, length)

            decoded = self._decode([row], read)
            if not decoded:
                yield LoadedBatch(1, [], [], [])
                return
            windows = torch.from_numpy(decoded[row]).reshape(1, number, size)
            yield LoadedBatch(int(first + number == count), [row], [windows], [find_audible(windows)])

    def _corrupted_batches(self, device: torch.device) -> Iterator[LoadedBatch]:
        corruption = self.corruption
        assert corruption is not None
        own_rate = corruption.sample_rate
        readers = {rate: make_reader(self.tracks, rate) for rate in {own_rate, *self.rates}}
        draw = corruption.draw_for(self.tracks)
        seconds = self._corrupted_seconds()
        batch_size = max(1, int(self.batch_size * min(1.0, _MAX_SECONDS / seconds.max(initial=1))))
        for rows in self._groups(np.column_stack([seconds, self._counts]), batch_size):
            decoded = self._decode(
                rows, lambda row: self._read_clean(row, readers, own_rate, int(seconds[row]) * own_rate)
            )
            if not decoded:
                yield LoadedBatch(len(rows), [], [], [])
                continue
            signals, audible = zip(*decoded.values(), strict=True)
            clean = torch.from_numpy(np.stack(signals))[:, None].to(device)
            corrupted = corruption.transform.apply_draw(clean, draw[torch.tensor(list(decoded))])
            waveforms = {rate: resample_waveforms(corrupted, own_rate, rate)[:, 0] for rate in set(self.rates)}
            windows = [
                _cut(waveforms[rate], size, count)
                for rate, size, count in zip(self.rates, self.sizes, self._counts[rows[0]].tolist(), strict=True)
            ]
            yield LoadedBatch(
                len(rows), list(decoded), windows, [torch.cat(parts) for parts in zip(*audible, strict=True)]
            )

    def _read_clean(
        self, row: int, readers: Mapping[int, Reader], rate: int, length: int
    ) -> tuple[np.ndarray, list[Tensor]]:
        """Return `length` samples of a clean track at `rate` hertz, and its audible windows for each model.

        The audible windows, bool (1, windows), are found in the same samples as without a corruption.
        """
        whole: dict[int, np.ndarray] = {}
        windows = self._read_windows(row, readers, whole)
        audible = [find_audible(torch.from_numpy(own)[None]) for own in windows]
        if len(whole.get(rate, ())) < length:
            whole[rate] = readers[rate](row, 0, length)
        return whole[rate][:length], audible

    def _read_windows(self, row: int, readers: Mapping[int, Reader], whole: dict[int, np.ndarray]) -> list[np.ndarray]:
        """Return the clean windows (windows, samples) of a track for each model.

        The samples of a track that is decoded as a whole are added to `whole` by sample rate. Their number depends on
        the track, and on the models only if it is shorter than a window, because the resampled end of a segment
        depends on what follows.
        """
        counts = self._counts[row].tolist()
        lengths: dict[int, int] = {}
        for rate, size, count in zip(self.rates, self.sizes, counts, strict=True):
            if count <= _MAX_WHOLE:
                full = (int(self.tracks["seconds"].iloc[row]) + 1) * rate
                lengths[rate] = max(lengths.get(rate, full), size * count)
        whole |= {rate: readers[rate](row, 0, length) for rate, length in lengths.items()}
        found = []
        for rate, size, count in zip(self.rates, self.sizes, counts, strict=True):
            if count <= _MAX_WHOLE:
                found.append(_cut(torch.from_numpy(whole[rate])[None], size, count)[0].numpy())
            else:
                starts = (spread_windows(count) * size).tolist()
                found.append(np.stack([readers[rate](row, start, size) for start in starts]))
        return found

    def _corrupted_seconds(self) -> np.ndarray:
        """Return the number of seconds of audio to corrupt for each track.

        They are whole seconds, so that tracks can be corrupted in batches, and do not depend on the windows, unless the
        windows need a part of the last second. The end of a track is not padded without need, because a corruption such
        as `Reverse` would move the padding to the beginning.
        """
        needed = np.ceil((self._counts * self.sizes / np.asarray(self.rates)).max(axis=1) - 1e-6)
        return np.maximum(np.floor(self.tracks["seconds"].to_numpy() + 1e-6), needed).astype(int)

    def _groups(self, keys: np.ndarray, batch_size: int) -> Iterator[list[int]]:
        """Yield lists of consecutive row numbers of tracks with equal keys (tracks, columns)."""
        listed = keys.tolist()
        for _, group in itertools.groupby(range(len(listed)), key=listed.__getitem__):
            rows = list(group)
            yield from (rows[first : first + batch_size] for first in range(0, len(rows), batch_size))

    def _decode(self, rows: Sequence[int], read: Callable[[int], Decoded]) -> dict[int, Decoded]:
        """Return the result of a function for each row whose track can be decoded."""
        decoded = {}
        for row in rows:
            try:
                decoded[row] = read(row)
            except UnreadableAudio as error:
                self.failed.add(row)
                self._note(str(error))
        return decoded

    def _note(self, problem: str) -> None:
        self.problems.append(problem)
        if len(self.problems) > self.max_unusable * len(self.tracks):
            raise InputError(
                f"tracks: {len(self.problems)} of {len(self.tracks)} could not be decoded, such as "
                f"{self.problems[0]}. Fix or remove these tracks"
            )


def _cut(waveforms: Tensor, size: int, count: int) -> Tensor:
    """Return the windows (rows, windows, size) to embed of waveforms (rows, samples) with `count` whole windows."""
    windows = waveforms[:, : size * count].unflatten(1, (count, size))
    return windows if count <= MAX_WINDOWS else windows[:, torch.from_numpy(spread_windows(count))]


def resample_waveforms(waveforms: Tensor, sample_rate: int, wanted: int) -> Tensor:
    """Resample waveforms (N, 1, samples) from `sample_rate` hertz to `wanted` hertz with the library soxr."""
    if sample_rate == wanted:
        return waveforms
    signals = waveforms[:, 0].float().cpu().numpy()
    found = torch.from_numpy(np.stack([soxr.resample(signal, sample_rate, wanted) for signal in signals]))
    length = math.ceil(waveforms.shape[-1] * wanted / sample_rate)
    return torch.nn.functional.pad(found, (0, length - found.shape[1]))[:, None].to(waveforms.device)
