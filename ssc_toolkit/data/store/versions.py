"""Selection of the stored version of each source file that matches its current content."""

from __future__ import annotations

import logging
from pathlib import Path

from ssc_toolkit.data.store.layout import (
    PREPARE_ADVICE,
    SHARDS,
    ShardDescription,
    StoredTrack,
    StoreInfo,
    read_description,
    read_index,
    read_tracks,
)
from ssc_toolkit.data.store.stale import Stale
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading
from ssc_toolkit.hashing import file_hash

logger = logging.getLogger(__name__)

Place = tuple[str, StoredTrack]
"""Type of the location of a stored track: the name of its shard, and its description."""


def read_shards(folder: Path, known: dict[str, ShardDescription | None]) -> dict[str, ShardDescription | None]:
    """Return the description of each shard in the folder of a store by name, or None if the shard is damaged.

    Descriptions in `known` are not read again.
    """
    found = {}
    for file in sorted((folder / SHARDS).glob("*.json")):
        try:
            found[file.stem] = known[file.stem] if file.stem in known else read_description(folder, file.stem)
        except InputError as error:
            logger.warning("%s", error)
            found[file.stem] = None
    return found


def served_places(folder: Path, info: StoreInfo) -> set[tuple[str, str, int]]:
    """Return audio path, shard and offset of each track in the index of a store with state `info`, as a set of tuples.

    The set is empty if the index cannot be read.
    """
    if not info.index:
        return set()
    try:
        with reading("store", folder / info.index, PREPARE_ADVICE):
            index = read_index(folder / info.index, info)
        with reading("store", folder / info.table, PREPARE_ADVICE):
            paths = read_tracks(folder / info.table, info)["path"]
    except InputError as error:
        logger.warning("%s", error)
        return set()
    names = (info.shards[shard] for shard in index["shard"].tolist())
    return set(zip(map(str, paths), names, index["offset"].tolist(), strict=False))


def stored_versions(
    shards: dict[str, ShardDescription | None], info: StoreInfo, served: set[tuple[str, str, int]]
) -> dict[str, list[Place]]:
    """Return the stored versions of each audio file by path, sorted from the oldest to the newest.

    Versions are sorted by the generation of their shard, the number of the `prepare_store` call that wrote it. If the
    current index refers to a version, the generation of the index is used, if it is higher. Shards of format 1 have no
    generation, so their versions are sorted by the modification time of the source file.

    Args:
        shards: descriptions of the shards by name, as from `read_shards`.
        info: state of the store.
        served: tracks in the index, as from `served_places`.
    """
    places = []
    for shard, description in shards.items():
        if description is None or (description.sample_rate, description.channel) != (info.sample_rate, info.channel):
            continue
        for track in description.tracks:
            is_served = (track.path, shard, track.offset) in served
            generation = max(description.generation, info.generation if is_served else 0)
            modified = 0 if description.generation else track.modified_ns
            places.append((generation, is_served, modified, shard, track))
    found: dict[str, list[Place]] = {}
    for *_, shard, track in sorted(places, key=lambda place: place[:4]):
        found.setdefault(track.path, []).append((shard, track))
    return found


def current_version(path: str, places: list[Place], stale: Stale) -> Place | None:
    """Return the newest stored version that matches the current content of an audio file, or None if none matches.

    If the file no longer exists or cannot be read, return the newest stored version.

    Args:
        path: path of the audio file.
        places: stored versions of the file, from the oldest to the newest.
        stale: damaged shards, and audio files that are known to have changed.
    """
    if not places:
        return None
    try:
        status = Path(path).stat()
        alike = [w for w in reversed(places) if w[1].size == status.st_size and w[0] not in stale.shards]
        if path not in stale.paths:
            for where in alike:
                if where[1].modified_ns == status.st_mtime_ns:
                    return where
        checksum = file_hash(path) if alike else None
    except OSError:  # the file is missing or cannot be read
        return places[-1]
    return next((where for where in alike if where[1].checksum == checksum), None)
