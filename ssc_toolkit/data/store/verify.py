"""Checking a store against what was written, and against the files that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ssc_toolkit.data.store.layout import SHARDS, STORE_FILE, StoredTrack, content_hash, read_info, read_shard_index
from ssc_toolkit.data.store.shards import file_checksum, is_intact
from ssc_toolkit.progress import progress_bar


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        tracks, shards: how many were looked at.
        damaged: files of the store that do not hold what was written.
        changed: sources that are not what they were.
        gone: how many sources are not there any more, which is no fault.
        lost: how many tracks of damaged shards have no source any more.
    """

    tracks: int
    shards: int
    damaged: list[str]
    changed: list[str]
    gone: int
    lost: int


def verify_store(folder: str | Path, progress: bool = True) -> Verification:
    """Read a whole store, and the sources that are still there, and compare their checksums.

    Args:
        folder: of the store, on this machine.
        progress: show a progress bar.

    Raises:
        InputError: if there is no store.
    """
    place = Path(folder)
    info = read_info(place / STORE_FILE, str(folder))
    damaged = [str(place / name) for name in (info.index, info.table) if name and not _is_named_rightly(place / name)]
    if damaged:
        return Verification(0, 0, damaged, [], 0, 0)
    changed: list[str] = []
    tracks = gone = lost = 0
    spans = _spans(place / info.index) if info.index else {}
    for number, shard in enumerate(progress_bar(info.shards, desc="verifying", unit="shard", disable=not progress)):
        held = read_shard_index(place, shard, info.sample_rate, info.channel)
        served = [track for track in held if (track.offset, track.length) in spans[number]]
        missing = [not Path(track.path).exists() for track in served]
        if len(served) < len(spans[number]) or not is_intact(place, shard, held):
            lost += len(spans[number]) - missing.count(False)
            damaged.append(str(place / SHARDS / f"{shard}.pcm"))
        tracks += len(spans[number])
        gone += sum(missing)
        changed += [
            track.path
            for track, is_missing in zip(served, missing, strict=True)
            if not is_missing and not _is_unchanged(track)
        ]
    return Verification(tracks, len(info.shards), damaged, changed, gone, lost)


def _is_named_rightly(file: Path) -> bool:
    """Whether the index or the table is there and holds what was written."""
    return file.is_file() and content_hash(file.read_bytes()) in file.name


def _spans(index_file: Path) -> dict[int, set[tuple[int, int]]]:
    """Shard -> offset and length of the tracks that the index has there."""
    spans: dict[int, set[tuple[int, int]]] = {}
    for shard, offset, length in np.load(index_file).tolist():
        spans.setdefault(shard, set()).add((offset, length))
    return spans


def _is_unchanged(track: StoredTrack) -> bool:
    return Path(track.path).stat().st_size == track.size and file_checksum(track.path) == track.checksum
