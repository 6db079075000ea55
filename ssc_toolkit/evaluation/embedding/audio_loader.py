"""Loading of the audio of tracks in batches, clean or corrupted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import soxr
import torch
from torch import Tensor

from ssc_toolkit.data import TrackTable, UnreadableAudio, read_audio
from ssc_toolkit.data.store import open_store_of
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import DEFAULT_WINDOW_SECONDS
from ssc_toolkit.evaluation.embedding.windows import MAX_WINDOWS

MAX_CORRUPTED_SECONDS = MAX_WINDOWS * DEFAULT_WINDOW_SECONDS
"""Length in seconds of the beginning of a track that is corrupted, unless its windows cover more."""

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


@dataclass
class AudioLoader:
    """Loader that yields the audio of tracks in batches, at the sample rates of several models.

    A corruption is applied at its own sample rate. The result is resampled to the sample rate of each model, so that
    all models receive the same corrupted audio. The length of the corrupted audio is a whole number of seconds.

    Args:
        tracks: track table with the columns `path` and `seconds`.
        rates: sample rate of each model in hertz.
        needs: (tracks, models) number of samples of a track that a model needs, at the sample rate of the model.
        corruption: corruption of the tracks. None loads clean audio.
        batch_size: maximum number of tracks in a batch.
        max_unusable: maximum fraction of tracks that may fail to decode.

    Attributes:
        problems: error messages of the tracks that failed to decode so far.
    """

    tracks: TrackTable
    rates: Sequence[int]
    needs: np.ndarray
    corruption: FixedCorruption | None = None
    batch_size: int = 32
    max_unusable: float = 0.1
    problems: list[str] = field(default_factory=list)

    def batches(self, device: torch.device) -> Iterator[tuple[int, list[int], dict[int, Tensor]]]:
        """Load the tracks in batches.

        Args:
            device: device on which corruptions are computed.

        Yields:
            The number of tracks in the batch, a list of the row numbers of the tracks that could be decoded, and a
            dictionary from sample rate to the waveforms (rows, 1, samples) of these tracks.

        Raises:
            InputError: if the fraction of tracks that failed to decode exceeds `max_unusable`.
        """
        lengths = self._lengths()
        readers = {
            rate: make_reader(self.tracks, rate) for rate in ([self._own_rate] if self.corruption else self.rates)
        }
        draw = None if self.corruption is None else self.corruption.draw_for(self.tracks)
        for rows in self._groups(lengths):
            decoded: dict[int, dict[int, np.ndarray]] = {}
            for row in rows:
                try:
                    decoded[row] = {rate: readers[rate](row, 0, int(lengths[rate][row])) for rate in readers}
                except UnreadableAudio as error:
                    self._note(str(error))
            kept = list(decoded)
            if not kept:
                yield len(rows), [], {}
                continue
            waveforms = {
                rate: torch.from_numpy(np.stack([decoded[row][rate] for row in kept]))[:, None] for rate in readers
            }
            if self.corruption is not None and draw is not None:
                clean = waveforms[self._own_rate].to(device)
                corrupted = self.corruption.transform.apply_draw(clean, draw[torch.tensor(kept)])
                waveforms = {rate: resample_waveforms(corrupted, self._own_rate, rate) for rate in self.rates}
            yield len(rows), kept, waveforms

    @property
    def _own_rate(self) -> int:
        assert self.corruption is not None
        return self.corruption.sample_rate

    def _lengths(self) -> dict[int, np.ndarray]:
        """Return the number of samples to decode from each track, an array (tracks,) for each sample rate in hertz."""
        if self.corruption is None:
            wanted = np.asarray(self.rates)
            return {rate: self.needs[:, wanted == rate].max(axis=1) for rate in set(self.rates)}
        needed = np.ceil((self.needs / np.asarray(self.rates)).max(axis=1) - 1e-6)
        whole = np.ceil(self.tracks["seconds"].to_numpy() - 1e-6)
        seconds = np.maximum(np.minimum(whole, MAX_CORRUPTED_SECONDS), needed)
        return {self._own_rate: (seconds * self._own_rate).astype(int)}

    def _groups(self, lengths: dict[int, np.ndarray]) -> Iterator[list[int]]:
        """Yield lists of consecutive row numbers of tracks from which the same number of samples is decoded.

        `lengths` are numbers of samples to decode, (tracks,) by sample rate.
        """
        keys = list(zip(*self.needs.T.tolist(), *(length.tolist() for length in lengths.values()), strict=True))
        for _, group in itertools.groupby(range(len(keys)), key=keys.__getitem__):
            rows = list(group)
            yield from (rows[first : first + self.batch_size] for first in range(0, len(rows), self.batch_size))

    def _note(self, problem: str) -> None:
        self.problems.append(problem)
        if len(self.problems) > self.max_unusable * len(self.tracks):
            raise InputError(
                f"tracks: {len(self.problems)} of {len(self.tracks)} could not be decoded, such as "
                f"{self.problems[0]}. Fix or remove these tracks"
            )


def resample_waveforms(waveforms: Tensor, sample_rate: int, wanted: int) -> Tensor:
    """Resample waveforms (N, 1, samples) from `sample_rate` hertz to `wanted` hertz with the library soxr."""
    if sample_rate == wanted:
        return waveforms
    signals = waveforms[:, 0].float().cpu().numpy()
    found = torch.from_numpy(np.stack([soxr.resample(signal, sample_rate, wanted) for signal in signals]))
    length = math.ceil(waveforms.shape[-1] * wanted / sample_rate)
    return torch.nn.functional.pad(found, (0, length - found.shape[1]))[:, None].to(waveforms.device)
