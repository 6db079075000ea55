"""Reader of audio stores."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit.checks import check_integer
from ssc_toolkit.data.store.layout import (
    FULL_SCALE,
    MAX_DESCRIPTION_BYTES,
    PREPARE_ADVICE,
    SAMPLE,
    SHARDS,
    ShardDescription,
    parse_description,
)
from ssc_toolkit.data.store.prepare import prepare_store
from ssc_toolkit.data.store.remote import LocalFiles, accept_any
from ssc_toolkit.data.store.shard_writer import is_intact
from ssc_toolkit.data.store.stored_tracks import StoredTracks
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, reading
from ssc_toolkit.progress import progress_bar

_MAX_OPEN = 4096
_SHOWN = 5


class AudioStore(StoredTracks):
    """Reader of an audio store, which is a folder that contains decoded audio and a track table.

    `AudioStore.prepare` creates a store. Every track is stored as 16-bit mono audio at the same sample rate, with its
    original level. The audio of several tracks is in one file, called a shard. Shards are memory-mapped, so segments
    are read without decoding. Several processes can read a store at the same time. A pickled reader contains only the
    path of the store and the settings.

    Args:
        path: folder of the store, or a URL that fsspec supports (`s3://…`, `gs://…`, `https://…`). With a URL, each
            shard is copied to the local machine before it is read for the first time.
        sample_rate: expected sample rate in hertz. None accepts any sample rate.
        cache: folder for local copies if `path` is a URL. By default, a folder in the user's cache.

    Attributes:
        sample_rate: sample rate of the store in hertz.
        lengths: (tracks,) int64 number of samples of each track.

    Raises:
        InputError: if there is no store, if the store is incomplete, if a newer version of this library wrote it, or if
            it has another sample rate.

    Examples:
        >>> import tempfile, soundfile
        >>> folder = tempfile.mkdtemp()
        >>> for name in ("a.wav", "b.flac"):
        ...     soundfile.write(f"{folder}/{name}", 0.1 * np.random.randn(44100, 2), 44100)
        >>> from ssc_toolkit.data import load_tracks
        >>> store = AudioStore.prepare(load_tracks(folder), f"{folder}/store", sample_rate=22050, progress=False)
        >>> len(store), store.lengths
        (2, tensor([22050, 22050]))
        >>> store.read(rows=[0, 1, 1], starts=[0, 5000, 20000], length=4410).shape
        torch.Size([3, 4410])
    """

    def __init__(self, path: str | Path, sample_rate: int | None = None, cache: str | Path | None = None) -> None:
        super().__init__(path, sample_rate, cache)
        self._open: dict[int, np.ndarray] = {}

    @classmethod
    def prepare(
        cls,
        tracks: Tracks,
        folder: str | Path,
        sample_rate: int = 22050,
        **options: Any,
    ) -> AudioStore:
        """Create or update a store with `prepare_store`, and open it. `options` are arguments of `prepare_store`."""
        prepare_store(tracks, folder, sample_rate, **options)
        return cls(folder, sample_rate)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._arguments, self._info.index)

    @cached_property
    def _row_of_path(self) -> pd.Series:
        paths = self.tracks["path"]
        return pd.Series(np.arange(len(paths)), index=paths).groupby(level=0).first()

    def rows_of(self, paths: Sequence[str]) -> Tensor:
        """Return the row numbers of tracks, given the paths of their source files.

        Args:
            paths: paths as in the column `path` of the track table.

        Returns:
            (paths,) int64 row numbers.

        Raises:
            InputError: if the store does not contain a path. The message names such paths.
        """
        rows = self._row_of_path.reindex(list(paths))
        lacking = rows.index[rows.isna()]
        if len(lacking):
            raise InputError(
                f"store: {self._files.name} lacks {len(lacking)} of {len(rows)} tracks, such as "
                f"{', '.join(map(str, lacking[:_SHOWN]))}; prepare them with `ssc-toolkit prepare`"
            )
        return torch.tensor(rows.to_numpy(dtype=np.int64))

    def read(
        self,
        rows: Sequence[int] | Tensor | np.ndarray,
        starts: Sequence[int] | Tensor,
        length: int,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Read segments of tracks.

        Args:
            rows: row number of the track of each of n segments, (n,).
            starts: (n,) position of the first sample of each segment, at least 0.
            length: number of samples of each segment. After the end of a track, a segment is padded with zeros.
            dtype: float32 for values from -1 to 1, or int16 for the stored values from -32768 to 32767. int16 takes
                about a third of the time of float32.

        Returns:
            (n, length) segments of the given dtype.

        Raises:
            IndexError: if a row number is out of range.
            ValueError: if a start is negative, if `length` is below 1, if `rows` and `starts` are not integers or have
                different lengths, or if the dtype is neither float32 nor int16.
            InputError: if a shard is damaged or cannot be copied.
        """
        row, start, length = _whole("rows", rows), _whole("starts", starts), check_integer("length", length)
        if row.shape != start.shape or row.ndim != 1:
            raise ValueError(f"rows, starts: expected two vectors of equal length, got {row.shape} and {start.shape}")
        if (start < 0).any():
            raise ValueError(f"starts: expected at least 0, got {start.min()}")
        if ((row < 0) | (row >= len(self))).any():
            raise IndexError(f"rows: expected 0 to {len(self) - 1}, got {row.min()} to {row.max()}")
        counts = np.clip(self._lengths[row] - start, 0, length).tolist()
        begins = (self._offsets[row] + np.minimum(start, self._lengths[row])).tolist()
        segments = _empty((len(row), length), dtype)
        scale = np.float32(1 / FULL_SCALE)
        for segment, shard, begin, count in zip(
            segments.numpy(), self._shards[row].tolist(), begins, counts, strict=True
        ):
            segment[:count] = self._samples(shard)[begin : begin + count]
            segment[count:] = 0
            if dtype == torch.float32:
                segment *= scale  # scaled inside the loop, while the segment is in the CPU cache
        return segments

    def __getitem__(self, row: int) -> Tensor:
        """Return all samples of a track, (samples,) float32."""
        rows = _whole("row", [row])
        return self.read(rows, [0], max(1, int(self._lengths[rows[0]])))[0]

    @property
    def channel(self) -> str:
        """Conversion of the source files to mono: "mean", "left", "right" or "loudest"."""
        return self._info.channel

    def part(self, rank: int, world_size: int) -> Tensor:
        """Return the row numbers that one of several processes should read.

        Each row is assigned to exactly one process. All tracks of a shard (a file of samples) are assigned to the same
        process, so each process copies only some shards from a URL. The numbers of samples of the processes are about
        equal.

        Args:
            rank: rank of this process, from 0 to `world_size` - 1.
            world_size: number of processes.

        Returns:
            (tracks of this process,) int64 row numbers in ascending order.

        Raises:
            ValueError: if `rank` is out of range.
        """
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: expected 0 to world_size - 1 = {world_size - 1}, got {rank}")
        sizes = np.bincount(self._shards, weights=self._lengths, minlength=len(self._info.shards))
        owner = np.zeros(len(sizes), dtype=np.int64)
        load = np.zeros(world_size)
        for shard in np.argsort(-sizes, kind="stable"):
            owner[shard] = load.argmin()
            load[owner[shard]] += sizes[shard]
        return torch.from_numpy(np.flatnonzero(owner[self._shards] == rank))

    def fetch(self, rows: Sequence[int] | Tensor | None = None, progress: bool = True) -> None:
        """Copy the shards (files of samples) that contain some tracks from a URL to the local machine.

        For a store in a local folder, nothing is copied.

        Args:
            rows: row numbers of the tracks. None: all tracks.
            progress: whether to show a progress bar.
        """
        wanted = self._shards if rows is None else self._shards[np.asarray(rows, dtype=np.int64)]
        for shard in progress_bar(np.unique(wanted).tolist(), desc="copying shards", disable=not progress):
            self._shard_file(shard)

    def verify(self, rows: Sequence[int] | Tensor | None = None) -> None:
        """Verify the samples of some tracks against the hashes in the names of their shards.

        A shard that this process has already verified is read again only if its size or modification time has changed.

        Args:
            rows: row numbers of the tracks. None: all tracks.

        Raises:
            DamagedFile: if the content of a shard does not match its hash.
        """
        wanted = self._shards if rows is None else self._shards[np.asarray(rows, dtype=np.int64)]
        for shard in np.unique(wanted).tolist():
            path, name = self._shard_file(shard), self._info.shards[shard]
            description = self._read_description(f"{SHARDS}/{name}.json", int(self._ends[shard]) * SAMPLE.itemsize)
            found = path.stat()
            if not _is_intact(path, name, description, found.st_size, found.st_mtime_ns):
                local = isinstance(self._files, LocalFiles)
                advice = f"run `ssc-toolkit prepare --verify`; then {PREPARE_ADVICE}" if local else "delete this copy"
                raise DamagedFile("store", path, "its content differs from its name", advice)

    def _samples(self, shard: int) -> np.ndarray:
        if shard not in self._open:
            while len(self._open) >= _max_open():
                del self._open[next(iter(self._open))]
            self._open[shard] = np.asarray(np.memmap(self._shard_file(shard), dtype=SAMPLE, mode="r"))
        return self._open[shard]

    def _shard_file(self, shard: int) -> Path:
        """Return the path of the samples of a shard, given its position in the list of shards of the store.

        Raises:
            InputError: if the file is missing or too short.
        """
        name, size = self._info.shards[shard], int(self._ends[shard]) * SAMPLE.itemsize
        file = f"{SHARDS}/{name}.pcm"
        if isinstance(self._files, LocalFiles):
            path = self._files.local(file, accept_any)
        else:
            path = self._transferred(file, name, size)
        if not path.is_file():
            raise InputError(f"store: there is no {path}; was the store moved?")
        found = path.stat().st_size
        if found < size:
            raise InputError(f"store: {path} has {found} bytes instead of {size}; {self._files.advice}")
        return path

    def _transferred(self, file: str, shard: str, size: int) -> Path:
        """Copy the samples of a shard to the local machine, verify the copy, and return its path.

        An existing copy is used.

        Args:
            file: path of the samples, relative to the folder of the store.
            shard: name of the shard.
            size: minimum size of the samples in bytes.
        """
        description: ShardDescription = self._read_description(f"{SHARDS}/{shard}.json", size)

        def check(path: Path) -> None:
            found = path.stat().st_size
            if found != description.bytes:
                raise ValueError(f"it has {found} bytes instead of {description.bytes}")
            if not is_intact(path, shard, description):
                raise ValueError("its content differs from its name")

        return self._files.local(file, check, max_bytes=description.bytes)

    def _read_description(self, file: str, size: int) -> ShardDescription:
        def parse(path: Path) -> ShardDescription:
            found = parse_description(path)
            if found.bytes < size or found.sample_rate != self.sample_rate:
                raise ValueError(f"it describes {found.bytes} bytes at {found.sample_rate} Hz, the index {size}")
            return found

        with reading("store", f"{self._files.name}/{file}", self._files.advice):
            return parse(self._files.local(file, parse, max_bytes=MAX_DESCRIPTION_BYTES))

    @cached_property
    def _ends(self) -> np.ndarray:
        """Number of samples of each shard that the index of the store refers to, (shards,)."""
        ends = np.zeros(len(self._info.shards), dtype=np.int64)
        np.maximum.at(ends, self._shards, self._offsets + self._lengths)
        return ends


def _reopen(arguments: tuple[str, int | None, str | Path | None], index: str) -> AudioStore:
    """Open a store in another process, with the `arguments` of `AudioStore`.

    Raise InputError unless the name of the index file of the store is `index`, because the store has then changed.
    """
    store = AudioStore(*arguments)
    if store._info.index != index:
        raise InputError(f"store: {store._files.name} was prepared again since it was opened; open it again")
    return store


@lru_cache(maxsize=1 << 16)
def _is_intact(path: Path, shard: str, description: ShardDescription, size: int, modified: int) -> bool:
    """Return the result of the function `is_intact`. Results are kept in memory for equal arguments."""
    return is_intact(path, shard, description)


def _max_open() -> int:
    """Return the maximum number of shards that are memory-mapped at once.

    It depends on the maximum number of open files of the process.
    """
    try:
        import resource
    except ImportError:  # not a Unix system
        return _MAX_OPEN // 8
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_OPEN if soft < 0 else max(8, min(_MAX_OPEN, soft // 8))


def _whole(name: str, numbers: Sequence[int] | Tensor | np.ndarray) -> np.ndarray:
    found = np.asarray(numbers)
    if found.size and not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{name}: expected integers, got {found.dtype}")
    if found.size and found.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected at most {np.iinfo(np.int64).max}, got {found.max()}")
    return found.astype(np.int64)


def _empty(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Return an uninitialized tensor. In a DataLoader worker, the tensor is in shared memory."""
    if dtype not in (torch.float32, torch.int16):
        raise ValueError(f"dtype: expected float32 or int16, got {dtype}")
    if torch.utils.data.get_worker_info() is None:
        # Unlike torch, NumPy requests large memory pages, which halves the time for a batch.
        return torch.from_numpy(np.empty(shape, dtype=np.float32 if dtype == torch.float32 else np.int16))
    storage = torch.UntypedStorage._new_shared(shape[0] * shape[1] * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


def open_store_of(tracks: TrackTable, sample_rate: int) -> AudioStore | None:
    """Open the audio store that a track table comes from.

    Args:
        tracks: track table, such as `AudioStore.tracks` or a selection of its rows.
        sample_rate: expected sample rate in hertz.

    Returns:
        The store, or None if the table does not come from a store.

    Raises:
        InputError: if the store has another sample rate.
    """
    return None if tracks.store is None else AudioStore(tracks.store, sample_rate)
