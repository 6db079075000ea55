"""Track table and index of an audio store."""

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
    MAX_DESCRIPTION_BYTES,
    MAX_TABLE_BYTES,
    STORE_FILE,
    read_index,
    read_info,
    read_tracks,
)
from ssc_toolkit.data.store.levels import read_levels
from ssc_toolkit.data.store.remote import Files, LocalFiles, MirroredFiles, accept_any
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, reading
from ssc_toolkit.paths import user_path
from ssc_toolkit.samplers import AudibleBlocks


class StoredTracks:
    """Tracks of an audio store, whose audio is not read. Arguments, attributes and errors are those of `AudioStore`."""

    def __init__(self, path: str | Path, sample_rate: int | None = None, cache: str | Path | None = None) -> None:
        is_url = "://" in str(path)
        self._files: Files = MirroredFiles(str(path), cache) if is_url else LocalFiles(user_path(path, "store"))
        self._arguments = (str(path if is_url else user_path(path, "store").absolute()), sample_rate, cache)
        info_file = self._files.local(STORE_FILE, accept_any, fresh=True, max_bytes=MAX_DESCRIPTION_BYTES)
        self._info = read_info(info_file, self._files.name, self._files.advice)
        if not self._info.index:
            is_local = isinstance(self._files, LocalFiles)
            advice = "run the same `ssc-toolkit prepare` again" if is_local else self._files.advice
            raise InputError(f"store: {self._files.name} is not finished; {advice}")
        self.sample_rate = self._info.sample_rate
        if sample_rate is not None:
            self.check_rate(sample_rate)
        index = self._read(self._info.index, self._info.index_bytes, lambda path: read_index(path, self._info))
        self._shards, self._offsets, self._lengths = index["shard"], index["offset"], index["length"]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._files.name!r}, {len(self)} tracks at {self.sample_rate} Hz)"

    def __len__(self) -> int:
        return len(self._lengths)

    def check_rate(self, sample_rate: int) -> None:
        """Raise InputError if the store does not have the given sample rate in hertz."""
        if sample_rate != self.sample_rate:
            raise InputError(
                f"store: expected {sample_rate} Hz, got {self._files.name} at {self.sample_rate} Hz; prepare "
                f"another store with --sample_rate={sample_rate}"
            )

    @property
    def lengths(self) -> Tensor:
        return torch.from_numpy(np.array(self._lengths))

    @cached_property
    def tracks(self) -> TrackTable:
        """Track table of the store.

        It has the columns of the table that the store was created from, and the columns `seconds` (duration), `clipped`
        (number of clipped samples) and `checksum` (of the source file). `path` is the path of the source file.
        Functions that receive this table read the audio from the store and not from the source files.
        """
        frame: pd.DataFrame = self._read(self._info.table, self._info.table_bytes, self._table)
        return TrackTable(frame, self._arguments[0], self._info.dataset)

    def audible_blocks(self, threshold_db: float = -40.0, rows: Sequence[int] | Tensor | None = None) -> AudibleBlocks:
        """Return the audible parts of the tracks, by which view samplers avoid silent stretches.

        Args:
            threshold_db: level below which half a second is silent, in dB relative to the loudest half second of its
                track, -200 to -1.
            rows: row numbers of the tracks, (n,). None: all tracks.

        Raises:
            InputError: if an earlier version wrote the store, which has no levels then, or if the file of the levels is
                damaged.
        """
        if not self._info.levels:
            raise InputError(
                f"store: {self._files.name} has no levels, because an earlier version wrote it; rerun the same "
                "`ssc-toolkit prepare`, which measures them from the stored audio"
            )
        lengths = self._lengths
        levels = self._read(
            self._info.levels, self._info.levels_bytes, lambda path: read_levels(path, self._info, lengths)
        )
        blocks = AudibleBlocks(
            torch.from_numpy(levels.copy()), self.lengths, self._info.level_block, threshold_db=threshold_db
        )
        return blocks if rows is None else blocks.select(torch.as_tensor(rows, dtype=torch.int64))

    def _table(self, path: Path) -> pd.DataFrame:
        tracks = read_tracks(path, self._info)
        if len(tracks) != len(self):
            raise ValueError(f"it has {len(tracks)} rows, the index {len(self)}")
        return tracks

    def _read(self, file: str, size: int, parse: Callable[[Path], Any]) -> Any:
        """Read a file of the store with the function `parse`, which verifies the file.

        `size` is the expected size in bytes, or 0 if it is not known.

        If the store is at a URL and the local copy is damaged, the file is copied again.
        """
        bound = min(size or MAX_TABLE_BYTES, MAX_TABLE_BYTES)
        path = self._files.local(file, parse, max_bytes=bound)
        try:
            with reading("store", f"{self._files.name}/{file}", self._files.advice):
                return parse(path)
        except DamagedFile:
            again = self._files.local(file, parse, fresh=True, max_bytes=bound)
            with reading("store", f"{self._files.name}/{file}", self._files.advice):
                return parse(again)
