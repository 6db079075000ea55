"""Reading a store: random segments at memory speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ssc_toolkit.data.store.layout import (
    FULL_SCALE,
    MAX_DESCRIPTION_BYTES,
    MAX_TABLE_BYTES,
    SAMPLE,
    SHARDS,
    STORE_FILE,
    ShardDescription,
    parse_description,
    read_index,
    read_info,
    read_tracks,
)
from ssc_toolkit.data.store.mirror import Files, LocalFiles, MirroredFiles, no_check
from ssc_toolkit.data.store.shards import is_intact
from ssc_toolkit.data.store.writer import prepare_store
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, reading
from ssc_toolkit.paths import user_path
from ssc_toolkit.progress import progress_bar

_MAX_OPEN = 4096
_SHOWN = 5


class AudioStore:
    """Decoded music in memory-mapped shards, and the table of its tracks.

    Every track is mono at one rate, 16 bits, not normalised. `AudioStore.prepare` makes a store; this class reads it,
    from any number of processes at once. Workers of a DataLoader take no more than the path with them.

    Args:
        path: folder of the store, or a URL that fsspec opens (`s3://…`, `gs://…`, `https://…`): then each shard is
            copied to this machine before its first use.
        sample_rate: hertz that the caller needs; None takes the store's.
        cache: folder for what is copied from a URL; one in the user's cache by default.

    Attributes:
        sample_rate: hertz.
        lengths: (tracks,) int64, samples of every track.

    Raises:
        InputError: if there is no store, another version wrote it, or its rate is another.

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
        is_url = "://" in str(path)
        self._files: Files = MirroredFiles(str(path), cache) if is_url else LocalFiles(user_path(path, "store"))
        self._arguments = (str(path if is_url else user_path(path, "store").absolute()), sample_rate, cache)
        info_file = self._files.local(STORE_FILE, no_check, fresh=True, max_bytes=MAX_DESCRIPTION_BYTES)
        self._info = read_info(info_file, self._files.name, self._files.advice)
        if not self._info.index:
            raise InputError(f"store: {self._files.name} is not finished; run the same `ssc-toolkit prepare` again")
        self.sample_rate = self._info.sample_rate
        if sample_rate is not None:
            self.check_rate(sample_rate)
        index = self._read(self._info.index, self._info.index_bytes, lambda path: read_index(path, self._info))
        self._shards, self._offsets, self._lengths = index["shard"], index["offset"], index["length"]
        self._open: dict[int, np.ndarray] = {}

    @classmethod
    def prepare(
        cls,
        tracks: pd.DataFrame,
        folder: str | Path,
        sample_rate: int = 22050,
        **options: Any,
    ) -> AudioStore:
        """Decode what is not yet in a store, and open it; see `prepare_store`, which takes the options."""
        prepare_store(tracks, folder, sample_rate, **options)
        return cls(folder, sample_rate)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self._arguments, self._info.index)

    def __repr__(self) -> str:
        return f"AudioStore({self._files.name!r}, {len(self)} tracks at {self.sample_rate} Hz)"

    def __len__(self) -> int:
        return len(self._lengths)

    def check_rate(self, sample_rate: int) -> None:
        """Raise InputError unless the store is at a rate in hertz."""
        if sample_rate != self.sample_rate:
            raise InputError(
                f"store: {self._files.name} is at {self.sample_rate} Hz, {sample_rate} Hz are needed; prepare "
                f"another one with --sample_rate={sample_rate}"
            )

    @property
    def lengths(self) -> Tensor:
        return torch.from_numpy(np.array(self._lengths))

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """The track table that the store was prepared from, with `seconds`, `clipped` (samples) and `checksum`.

        `path` and `checksum` are those of the sources. What the table is given to reads from the store.
        """
        tracks: pd.DataFrame = self._read(self._info.table, self._info.table_bytes, self._table)
        tracks.attrs["store"] = self._arguments[0]
        return tracks

    def _table(self, path: Path) -> pd.DataFrame:
        tracks = read_tracks(path, self._info)
        if len(tracks) != len(self):
            raise ValueError(f"it has {len(tracks)} rows, the index {len(self)}")
        return tracks

    def _read(self, file: str, size: int, parse: Callable[[Path], Any]) -> Any:
        """Read and check a file; a copy of one elsewhere that has been damaged since is made anew."""
        bound = min(size or MAX_TABLE_BYTES, MAX_TABLE_BYTES)
        path = self._files.local(file, parse, max_bytes=bound)
        try:
            with reading("store", f"{self._files.name}/{file}", self._files.advice):
                return parse(path)
        except DamagedFile:
            again = self._files.local(file, parse, fresh=True, max_bytes=bound)
            with reading("store", f"{self._files.name}/{file}", self._files.advice):
                return parse(again)

    @cached_property
    def _row_of_path(self) -> pd.Series:
        paths = self.tracks["path"]
        return pd.Series(np.arange(len(paths)), index=paths).groupby(level=0).first()

    def rows_of(self, paths: Sequence[str]) -> Tensor:
        """Rows of some tracks, found by the paths of their sources.

        Raises:
            InputError: naming those that the store does not hold.
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
        rows: Sequence[int] | Tensor,
        starts: Sequence[int] | Tensor,
        length: int,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Segments of some tracks.

        Args:
            rows: (n,) of the table.
            starts: (n,) first samples, at least 0.
            length: samples of a segment; zeros follow where a track has ended.
            dtype: float32, -1 to 1, or int16, as they are stored, -32768 to 32767: half the bytes to move, and a
                third of the time.

        Returns:
            (n, length) segments.

        Raises:
            IndexError: for a row that there is not.
            ValueError: for negative starts, a length below 1, numbers that are not whole or not as many, or another
                dtype.
            InputError: if a shard is damaged or cannot be copied.
        """
        row, start = _whole("rows", rows), _whole("starts", starts)
        if row.shape != start.shape or row.ndim != 1:
            raise ValueError(f"rows, starts: expected as many of each, got {row.shape} and {start.shape}")
        if length < 1 or (start < 0).any():
            raise ValueError(f"starts, length: expected at least 0 and 1, got {start.min(initial=0)} and {length}")
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
                segment *= scale  # now, while it is in the cache
        return segments

    def __getitem__(self, row: int) -> Tensor:
        """A whole track, (samples,) float32."""
        return self.read([row], [0], max(1, int(self._lengths[row])))[0]

    def part(self, rank: int, world_size: int) -> Tensor:
        """Rows for one of several processes: whole shards, so that each process needs only its own.

        Shards are dealt out so that the processes have about as many samples each.

        Args:
            rank: number of this process.
            world_size: number of processes.

        Returns:
            (tracks of this process,) int64 rows in ascending order; those of all processes together are all rows,
            without overlap.

        Raises:
            ValueError: for a rank outside the world.
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
        """Copy the shards of some tracks (of all by default) to this machine now; a local store has them already."""
        wanted = self._shards if rows is None else self._shards[np.asarray(rows, dtype=np.int64)]
        for shard in progress_bar(np.unique(wanted).tolist(), desc="copying shards", disable=not progress):
            self._shard_file(shard)

    def _samples(self, shard: int) -> np.ndarray:
        if shard not in self._open:
            while len(self._open) >= _max_open():
                del self._open[next(iter(self._open))]
            self._open[shard] = np.asarray(np.memmap(self._shard_file(shard), dtype=SAMPLE, mode="r"))
        return self._open[shard]

    def _shard_file(self, shard: int) -> Path:
        """Return where the samples of a shard are; they reach as far as the index says."""
        name, size = self._info.shards[shard], int(self._ends[shard]) * SAMPLE.itemsize
        file = f"{SHARDS}/{name}.pcm"
        if isinstance(self._files, LocalFiles):
            path = self._files.local(file, no_check)
        else:
            path = self._transferred(file, name, size)
        if not path.is_file():
            raise InputError(f"store: there is no {path}; was the store moved?")
        found = path.stat().st_size
        if found < size:
            raise InputError(f"store: {path} has {found} bytes instead of {size}; {self._files.advice}")
        return path

    def _transferred(self, file: str, shard: str, size: int) -> Path:
        """Copy a shard here, unless it is here, and check it against the hash in its name."""
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
        """Samples of every shard."""
        ends = np.zeros(len(self._info.shards), dtype=np.int64)
        np.maximum.at(ends, self._shards, self._offsets + self._lengths)
        return ends


def _reopened(arguments: tuple[str, int | None, str | Path | None], index: str) -> AudioStore:
    """The same store in another process; rows mean the same tracks there, or it is an error."""
    store = AudioStore(*arguments)
    if store._info.index != index:
        raise InputError(f"store: {store._files.name} was prepared again since it was opened; open it anew")
    return store


def _max_open() -> int:
    """Return how many shards a store maps at once: each map holds a file descriptor, of which a process has few."""
    try:
        import resource
    except ImportError:  # not a Unix
        return _MAX_OPEN // 8
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MAX_OPEN if soft < 0 else max(8, min(_MAX_OPEN, soft // 8))


def _whole(name: str, numbers: Sequence[int] | Tensor) -> np.ndarray:
    found = np.asarray(numbers)
    if found.size and not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{name}: expected whole numbers, got {found.dtype}")
    return found.astype(np.int64)


def _empty(shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Room for segments: in large pages, or, in a worker of a DataLoader, where the main process sees it."""
    if dtype not in (torch.float32, torch.int16):
        raise ValueError(f"dtype: expected float32 or int16, got {dtype}")
    if torch.utils.data.get_worker_info() is None:
        # NumPy asks for large pages where torch does not: half the time for a batch.
        return torch.from_numpy(np.empty(shape, dtype=np.float32 if dtype == torch.float32 else np.int16))
    storage = torch.UntypedStorage._new_shared(shape[0] * shape[1] * dtype.itemsize)
    return torch.empty(0, dtype=dtype).set_(storage).view(shape)


def store_of(tracks: pd.DataFrame, sample_rate: int) -> AudioStore | None:
    """The store that a track table comes from, if it comes from one.

    Args:
        tracks: track table, perhaps part of `AudioStore.tracks`.
        sample_rate: hertz that the store must have.

    Raises:
        InputError: if it has another.
    """
    path = tracks.attrs.get("store")
    return None if path is None else AudioStore(path, sample_rate)
