"""Files of an audio store.

    store.json               current state: sample rate, names of the index, table and shards, checksum
    index-<hash>.parquet     shard, offset and length of every track
    tracks-<hash>.parquet    track table, in the order of the index
    levels-<hash>.parquet    level of each half second of every track, in the order of the index
    unusable.csv             tracks that were left out, with the reason (only if there are any)
    marks.json               changed and damaged files that `prepare --verify` found, until they are decoded again
    shards/<hash>.pcm        shard: 16-bit little-endian mono samples of several tracks, without gaps
    shards/<hash>.json       description of the tracks in the shard

Shards and tables are named by a hash of their content and never change. An update writes new files and then replaces
`store.json` atomically, so a reader always sees a consistent store. Stores of format 1, whose index is an `.npy` file
and whose table is a `.csv` file, can still be read.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.checks import check_integer
from ssc_toolkit.data.store.parquet import SUFFIX, from_arrow, read_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import parse_checked_json, path_inside, reading, write_checked_json
from ssc_toolkit.hashing import file_hash
from ssc_toolkit.options.names import SHARDS, STORE_FILE
from ssc_toolkit.options.prepare import check_store_exists
from ssc_toolkit.paths import user_path

FORMAT = 2
OLDEST_FORMAT = 1
UNUSABLE = "unusable.csv"
MARKS = "marks.json"
SAMPLE = np.dtype("<i2")
FULL_SCALE = 32768  # as in 16-bit audio files, so their samples are stored without a change
INDEX = {"shard": "int32", "offset": "int64", "length": "int64"}
MAX_DESCRIPTION_BYTES = 2**28
MAX_TABLE_BYTES = 2**32
MAX_RATE = 768_000
PREPARE_ADVICE = "`ssc-toolkit prepare` restores it"

_MAX_SAMPLES = 2**52
_SHARD_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoreInfo:
    """Content of `store.json`.

    Attributes:
        sample_rate: sample rate in hertz.
        index: name of the index file. Empty until the first `prepare_store` is complete.
        table: name of the file with the track table. Empty until the first `prepare_store` is complete.
        index_checksum: checksum of the index file. Empty in format 1.
        table_checksum: checksum of the table file. Empty in format 1.
        index_bytes: size of the index file in bytes. 0 if it is unknown.
        table_bytes: size of the table file in bytes. 0 if it is unknown.
        levels: name of the file with the levels of the tracks. Empty in stores of earlier versions.
        levels_checksum: checksum of the levels file.
        levels_bytes: size of the levels file in bytes.
        level_block: number of samples for which the file has a level.
        shards: names (hashes) of the shards. The index refers to a shard by its position in this list.
        text_columns: names of the text columns of the table, in format 1 only.
        dataset: metadata of the published dataset that the tracks come from. Empty if there is none.
        channel: conversion of the audio files to mono, as for `read_audio`.
        generation: number of the `prepare_store` call that wrote this state, counted from 1. 0 if it is unknown.
        format: version of the store format.
    """

    sample_rate: int
    index: str = ""
    table: str = ""
    index_checksum: str = ""
    table_checksum: str = ""
    index_bytes: int = 0
    table_bytes: int = 0
    levels: str = ""
    levels_checksum: str = ""
    levels_bytes: int = 0
    level_block: int = 0
    shards: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    dataset: dict[str, Any] = field(default_factory=dict)
    channel: str = "mean"
    generation: int = 0
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not isinstance(self.channel, str):
            raise ValueError(f"channel: expected a name, got {self.channel!r}")
        if not isinstance(self.dataset, dict):
            raise ValueError(f"dataset: expected an object, got {self.dataset!r}")
        try:
            check_integer("sample_rate", self.sample_rate, 1, MAX_RATE)
            for name in ("generation", "index_bytes", "table_bytes", "levels_bytes", "level_block"):
                check_integer(name, getattr(self, name), 0)
            for name in ("index", "table", "levels"):
                path_inside(Path(), name if getattr(self, name) == "" else getattr(self, name), name)
        except InputError as error:
            raise ValueError(str(error)) from None
        if not all(isinstance(shard, str) and _SHARD_NAME.fullmatch(shard) for shard in self.shards):
            raise ValueError("shards: expected names of 32 hexadecimal digits")
        if len(set(self.shards)) < len(self.shards):
            raise ValueError("shards: expected each name once")
        if not all(isinstance(column, str) for column in self.text_columns):
            raise ValueError("text_columns: expected names")

    def write(self, folder: Path) -> None:
        write_checked_json(folder / STORE_FILE, asdict(self))


def read_info(path: Path, name: str, advice: str = PREPARE_ADVICE) -> StoreInfo:
    """Read `store.json`, the file with the state of an audio store.

    Args:
        path: path of the file.
        name: path or URL of the store, for error messages.
        advice: what the user can do if the file is damaged.

    Raises:
        InputError: if the file is missing, damaged, written by a newer version, or refers to files outside the store.
    """
    check_store_exists(path, name)
    file = f"{name}/{STORE_FILE}"
    with reading("store", file, advice):
        version = json.loads(path.read_bytes())["format"]
        if isinstance(version, bool) or not isinstance(version, int) or version < OLDEST_FORMAT:
            raise ValueError(f"format: expected a version, got {version!r}")
    if version > FORMAT:
        raise InputError(
            f"store: {file}: expected a format up to {FORMAT}, got {version}; update ssc-toolkit, or prepare the "
            "store again in another folder"
        )
    with reading("store", file, advice):
        content = parse_checked_json(path, required=version > 1)
        known = {key: content[key] for key in (option.name for option in fields(StoreInfo)) if key in content}
        if version == 1:  # the levels belong to a file of a later version
            known = {key: value for key, value in known.items() if not key.startswith("level")}
        for key in ("shards", "text_columns"):
            if not isinstance(known.get(key, []), list):
                raise ValueError(f"{key}: expected a list, got {known[key]!r}")
            known[key] = tuple(known.get(key, []))
        return StoreInfo(**known)


def read_index(path: Path, info: StoreInfo) -> dict[str, np.ndarray]:
    """Read and verify the index of an audio store, which gives the place of the samples of each track.

    Args:
        path: path of the index file.
        info: content of `store.json`.

    Returns:
        A dictionary of arrays (tracks,): `shard` int32, position in the list of shards; `offset` and `length` int64, in
        samples.

    Raises:
        Exception: of any type, if the content of the file has changed or is invalid.
    """
    check_bytes(path, info.index, info.index_checksum)
    if info.index.endswith(SUFFIX):
        table = read_table(path, info.index)
        columns = {key: table[key].to_numpy() for key in INDEX}
    else:
        with path.open("rb") as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
        columns = {key: np.ascontiguousarray(array[key]) for key in INDEX}
    shards = len(info.shards)
    for key, kind in INDEX.items():
        if columns[key].ndim != 1 or columns[key].dtype != kind:
            raise ValueError(f"{key}: expected {kind}, got {columns[key].dtype}")
    shard, offset, length = columns.values()
    if len(shard) and not (shard.min() >= 0 and shard.max() < shards):
        raise ValueError(f"shard: expected 0 to {shards - 1}, got {shard.min()} to {shard.max()}")
    for key, values in (("offset", offset), ("length", length)):
        if len(values) and not (values.min() >= 0 and values.max() <= _MAX_SAMPLES):
            raise ValueError(f"{key}: expected 0 to 2**52, got {values.min()} to {values.max()}")
    return columns


def read_tracks(path: Path, info: StoreInfo) -> pd.DataFrame:
    """Read and verify the track table of an audio store. The arguments and errors are the same as for `read_index`."""
    check_bytes(path, info.table, info.table_checksum)
    if info.table.endswith(SUFFIX):
        tracks = from_arrow(read_table(path, info.table))
    else:
        text = dict.fromkeys(info.text_columns, str)
        tracks = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    missing = {"path", "seconds", "clipped", "checksum"} - set(tracks.columns)
    if missing:
        raise ValueError(f"it has no column {sorted(missing)[0]!r}")
    return tracks


def check_bytes(path: Path, name: str, checksum: str) -> None:
    """Raise ValueError if a file does not match its checksum.

    In format 1 of stores, `checksum` is empty, and the checksum is a part of the file name `name`.
    """
    if name.endswith(SUFFIX):
        if file_hash(path) != checksum:
            raise ValueError("its checksum differs")
    elif file_hash(path, size=8) not in name:
        raise ValueError("its content differs from its name")


@dataclass(frozen=True)
class StoredTrack:
    """A track whose samples are stored in a shard, a file with the samples of several tracks.

    Attributes:
        path: path of the source file.
        size: size of the source file in bytes.
        modified_ns: modification time of the source file in nanoseconds.
        checksum: checksum of the source file.
        offset: position of the first sample of the track in the shard.
        length: number of samples of the track.
        clipped: number of samples that were clipped because they exceeded the range of 16 bits.
    """

    path: str
    size: int
    modified_ns: int
    checksum: str
    offset: int
    length: int
    clipped: int

    def __post_init__(self) -> None:
        numbers = (self.size, self.modified_ns, self.offset, self.length, self.clipped)
        if not all(isinstance(text, str) for text in (self.path, self.checksum)):
            raise ValueError("path, checksum: expected text")
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("size, offset, length: expected integers")
        if not (0 <= self.offset <= _MAX_SAMPLES and 0 <= self.length <= _MAX_SAMPLES):
            raise ValueError(f"offset, length: expected 0 to 2**52, got {self.offset}, {self.length}")


@dataclass(frozen=True)
class ShardDescription:
    """Description of the tracks in a shard, a file with the samples of several tracks.

    Attributes:
        sample_rate: sample rate in hertz.
        tracks: tracks in the order of their samples. There are no gaps between the tracks.
        generation: number of the `prepare_store` call that wrote the shard. If two shards contain versions of the same
            source file, the version with the higher number is newer.
        channel: conversion of the audio files to mono, as for `read_audio`.
    """

    sample_rate: int
    tracks: tuple[StoredTrack, ...]
    generation: int = 0
    channel: str = "mean"

    @property
    def bytes(self) -> int:
        """Size of the samples of the shard in bytes."""
        return max(track.offset + track.length for track in self.tracks) * SAMPLE.itemsize

    def write(self, folder: Path, shard: str) -> None:
        """Write the description to a JSON file next to the samples of the shard, in the folder of the store.

        A shard without a description is incomplete.
        """
        write_checked_json(shard_path(folder, shard, ".json"), asdict(self))


def parse_description(path: Path) -> ShardDescription:
    """Read the description of a shard from a JSON file. If it is damaged, an exception of any type is raised."""
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ValueError(f"expected at most {MAX_DESCRIPTION_BYTES} bytes")
    content = parse_checked_json(path, required=False)  # earlier versions wrote no checksum
    unknown = content.keys() - {option.name for option in fields(ShardDescription)}
    if unknown:
        raise ValueError(f"expected no key {min(unknown)!r}")
    tracks = tuple(StoredTrack(**track) for track in content["tracks"])
    end = 0
    for track in tracks:
        if track.offset != end:
            raise ValueError(f"offset: expected {end}, got {track.offset}")
        end += track.length
    generation = content.get("generation", 0)
    channel = content.get("channel", "mean")
    if (
        not end
        or not isinstance(channel, str)
        or not isinstance(content["sample_rate"], int)
        or not isinstance(generation, int)
    ):
        raise ValueError("expected tracks, a sample rate, a generation and a channel")
    return ShardDescription(content["sample_rate"], tracks, generation, channel)


def read_description(folder: Path, shard: str) -> ShardDescription:
    """Read the description of a shard in the folder of a store, and check the size of its samples.

    Raises:
        DamagedFile: if the description is damaged, or if the size of the samples does not match it. The error names the
            damaged file.
        InputError: if a file is missing or cannot be read.
    """
    file, samples = shard_path(folder, shard, ".json"), shard_path(folder, shard)
    with reading("store", file, PREPARE_ADVICE):
        description = parse_description(file)
    with reading("store", samples, PREPARE_ADVICE):
        size = samples.stat().st_size
        if size != description.bytes:
            raise ValueError(f"it has {size} bytes instead of {description.bytes}")
    return description


def shard_path(folder: Path, shard: str, suffix: str = ".pcm") -> Path:
    """Return the path of the samples of a shard or, for the suffix ".json", of its description.

    `folder` is the folder of the store.
    """
    return folder / SHARDS / f"{shard}{suffix}"


def is_store(path: str | Path) -> bool:
    """Return whether a path is the folder of an audio store. The result is True for any URL."""
    return "://" in str(path) or (user_path(path) / STORE_FILE).is_file()
