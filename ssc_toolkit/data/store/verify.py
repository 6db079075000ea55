"""Verification of the files of an audio store and of their source files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssc_toolkit.data.store.layout import (
    INDEX,
    PREPARE_ADVICE,
    STORE_FILE,
    StoredTrack,
    read_description,
    read_index,
    read_info,
    read_tracks,
    shard_path,
)
from ssc_toolkit.data.store.levels import read_levels
from ssc_toolkit.data.store.shard_writer import is_intact
from ssc_toolkit.data.store.stale import Stale
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, lock_folder, path_inside, reading
from ssc_toolkit.hashing import file_hash
from ssc_toolkit.paths import user_path
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verification:
    """Result of the verification of an audio store.

    Attributes:
        tracks: number of tracks that were verified.
        shards: number of shards that were verified.
        damaged: paths of files of the store that do not match their checksum or hash.
        changed: paths of source files that have changed.
        gone: number of source files that no longer exist. This is not an error.
        lost: number of tracks that are in a damaged shard and whose source file no longer exists.
    """

    tracks: int
    shards: int
    damaged: list[str]
    changed: list[str]
    gone: int
    lost: int


def verify_store(folder: str | Path, progress: bool = True) -> Verification:
    """Verify the checksums of all files of an audio store, and of the source files that still exist.

    Damaged shards and changed source files are recorded in the store. The next `prepare_store` decodes them again.

    Args:
        folder: local folder of the store.
        progress: whether to show a progress bar.

    Returns:
        The damaged files, the changed source files, and the numbers of verified tracks and shards.

    Raises:
        InputError: if there is no store, or if the store is incomplete.
    """
    place = user_path(folder, "store")
    info = read_info(place / STORE_FILE, str(folder))
    if not info.index:
        raise InputError(f"store: {folder} is not finished; run the same `ssc-toolkit prepare` without --verify")
    damaged: list[str] = []
    index: Any = {name: np.zeros(0, dtype=np.int64) for name in INDEX}
    paths: list[str] = []
    lengths: list[np.ndarray] = []
    for name, read in (
        (info.index, lambda path: read_index(path, info)),
        (info.table, lambda path: read_tracks(path, info)),
        (info.levels, lambda path: read_levels(path, info, lengths[0])),
    ):
        try:
            if name and (name != info.levels or not damaged):  # the levels are read by the index
                with reading("store", place / name, PREPARE_ADVICE):
                    found = read(path_inside(place, name, "store"))
                if name == info.index:
                    index = found
                    lengths.append(index["length"])
                elif name == info.table:
                    paths = list(map(str, found["path"]))
        except InputError:
            damaged.append(str(place / name))
    if damaged:
        return Verification(0, 0, damaged, [], 0, 0)
    changed: list[str] = []
    tracks = gone = lost = 0
    spans = _spans(index, paths, len(info.shards))
    for number, shard in enumerate(progress_bar(info.shards, desc="verifying", unit="shard", disable=not progress)):
        stored, damaged_file = _tracks_of(place, shard)
        served = [track for track in stored if (track.offset, track.length) in spans[number]]
        missing = {path for path in spans[number].values() if not Path(path).exists()}
        if damaged_file is None and len(served) < len(spans[number]):
            damaged_file = shard_path(place, shard, ".json")
        if damaged_file is not None:
            lost += len(missing)
            damaged.append(str(damaged_file))
        tracks += len(spans[number])
        gone += len(missing)
        changed += [track.path for track in served if track.path not in missing and not _is_unchanged(track)]
    _mark(place, changed, [Path(file).stem for file in damaged])
    return Verification(tracks, len(info.shards), damaged, changed, gone, lost)


def _tracks_of(folder: Path, shard: str) -> tuple[tuple[StoredTrack, ...], Path | None]:
    """Return the tracks of a shard, and the path of its damaged file, or None if no file is damaged."""
    try:
        description = read_description(folder, shard)
    except DamagedFile as error:
        return (), Path(error.path)
    except InputError:
        file = shard_path(folder, shard, ".json")
        return (), shard_path(folder, shard) if file.exists() else file
    intact = is_intact(shard_path(folder, shard), shard, description)
    return description.tracks, None if intact else shard_path(folder, shard)


def _mark(folder: Path, changed: list[str], damaged: list[str]) -> None:
    """Record damaged shards and changed audio files in the folder of a store, for the next call of `prepare_store`."""
    known = Stale.read(folder)
    more = known.union(changed, damaged)
    if more == known:
        return
    try:
        with lock_folder(folder, "store"):
            more.write(folder)
    except (InputError, OSError) as error:
        logger.warning("the result could not be recorded in the store (%s); verify it again later", error)


def _spans(index: Mapping[str, np.ndarray], paths: list[str], shards: int) -> list[dict[tuple[int, int], str]]:
    """Return a dictionary for each shard, from offset and length of each track in it to the path of the audio file."""
    spans: list[dict[tuple[int, int], str]] = [{} for _ in range(shards)]
    for path, shard, offset, length in zip(paths, *(index[name].tolist() for name in INDEX), strict=True):
        spans[shard][offset, length] = path
    return spans


def _is_unchanged(track: StoredTrack) -> bool:
    try:
        return Path(track.path).stat().st_size == track.size and file_hash(track.path) == track.checksum
    except OSError:  # the file cannot be read, which prepare_store reports
        return False
