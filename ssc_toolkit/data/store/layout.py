"""The files of a store.

    store.json               what is in force: rate, names of the files below, checksum
    index-<hash>.parquet     shard, offset and length of every track
    tracks-<hash>.parquet    the track table, in the order of the index
    unusable.csv             the tracks that were left out, and why, if there are any
    marks.json               what `--verify` found changed or damaged, until `prepare` has decoded it anew
    shards/<hash>.pcm        16-bit little-endian mono samples, one track after the other
    shards/<hash>.json       which tracks they are

Shards and tables are named by their content and never changed, so `store.json`, replaced atomically, is all that has
to agree with itself. Format 1 had the index as `.npy` and the table as `.csv`; it is still read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.checks import check_whole
from ssc_toolkit.data.store.parquet import SUFFIX, from_arrow, read_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import file_checksum, parse_checked_json, path_inside, reading, write_checked_json
from ssc_toolkit.paths import user_path

FORMAT = 2
OLDEST_FORMAT = 1
STORE_FILE = "store.json"
SHARDS = "shards"
UNUSABLE = "unusable.csv"
MARKS = "marks.json"
SAMPLE = np.dtype("<i2")
FULL_SCALE = 32768  # as in files of 16 bits: what they hold comes back unchanged
INDEX = {"shard": "int32", "offset": "int64", "length": "int64"}
MAX_DESCRIPTION_BYTES = 2**28
MAX_TABLE_BYTES = 2**32
MAX_RATE = 768_000
PREPARE_ADVICE = "`ssc-toolkit prepare` restores it"

_MAX_SAMPLES = 2**52
_SHARD_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class StoreInfo:
    """The content of `store.json`.

    Attributes:
        sample_rate: hertz.
        index, table: names of these files; empty until the first `prepare` is complete.
        index_checksum, table_checksum: of the bytes of these files; none in format 1.
        index_bytes, table_bytes: sizes of these files; 0 if they are not known.
        shards: hashes of the shards, in the order in which the index numbers them.
        text_columns: columns of the table that hold text; for format 1 only.
        dataset: metadata of a recipe, or empty.
        channel: how files with several channels became mono, as for `read_audio`.
        generation: number of the `prepare` that put this in force; 0 if it is not known.
        format: version of all this.
    """

    sample_rate: int
    index: str = ""
    table: str = ""
    index_checksum: str = ""
    table_checksum: str = ""
    index_bytes: int = 0
    table_bytes: int = 0
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
            check_whole("sample_rate", self.sample_rate, 1, MAX_RATE)
            for name in ("generation", "index_bytes", "table_bytes"):
                check_whole(name, getattr(self, name), 0)
            for name in ("index", "table"):
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
    """Read `store.json`.

    Args:
        path: of the file.
        name: of the store, for messages.
        advice: what the user can do if it is damaged.

    Raises:
        InputError: if there is none, it is damaged, names files outside of the store, or a newer version wrote it.
    """
    if not path.is_file():
        raise InputError(f"store: there is no store in {name} (no {STORE_FILE}); `ssc-toolkit prepare` makes one")
    file = f"{name}/{STORE_FILE}"
    with reading("store", file, advice):
        version = json.loads(path.read_bytes())["format"]
        if isinstance(version, bool) or not isinstance(version, int) or version < OLDEST_FORMAT:
            raise ValueError(f"format: expected a version, got {version!r}")
    if version > FORMAT:
        raise InputError(
            f"store: {file} has format {version}, this version reads up to {FORMAT}; update ssc-toolkit, or prepare it "
            "anew in another folder"
        )
    with reading("store", file, advice):
        content = parse_checked_json(path, required=version > 1)
        known = {key: content[key] for key in (option.name for option in fields(StoreInfo)) if key in content}
        for key in ("shards", "text_columns"):
            if not isinstance(known.get(key, []), list):
                raise ValueError(f"{key}: expected a list, got {known[key]!r}")
            known[key] = tuple(known.get(key, []))
        return StoreInfo(**known)


def read_index(path: Path, info: StoreInfo) -> dict[str, np.ndarray]:
    """Read and check an index.

    Args:
        path: where the file is now.
        info: of the store.

    Returns:
        (tracks,) arrays: `shard` int32, `offset` and `length` int64.

    Raises:
        Exception: of any kind, if the file does not hold what was written, or what it says cannot be.
    """
    _check_bytes(path, info.index, info.index_checksum)
    if info.index.endswith(SUFFIX):
        table = read_table(path, info.index)
        columns = {key: table[key].to_numpy() for key in INDEX}
    else:
        array = np.load(path, allow_pickle=False)
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
    """Read and check the track table; raises as `read_index`."""
    _check_bytes(path, info.table, info.table_checksum)
    if info.table.endswith(SUFFIX):
        tracks = from_arrow(read_table(path, info.table))
    else:
        text = dict.fromkeys(info.text_columns, str)
        tracks = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    missing = {"path", "seconds", "clipped", "checksum"} - set(tracks.columns)
    if missing:
        raise ValueError(f"it has no column {sorted(missing)[0]!r}")
    if info.dataset:
        tracks.attrs["dataset"] = info.dataset
    return tracks


def _check_bytes(path: Path, name: str, checksum: str) -> None:
    """Raise ValueError unless a file has its checksum; in format 1 that is half of one, in its name."""
    if name.endswith(SUFFIX):
        if file_checksum(path) != checksum:
            raise ValueError("its checksum differs")
    elif hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() not in name:
        raise ValueError("its content differs from its name")


@dataclass(frozen=True)
class StoredTrack:
    """A track in a shard.

    Attributes:
        path: of the file that it was decoded from.
        size, modified_ns, checksum: of that file.
        offset, length: samples.
        clipped: samples that did not fit into 16 bits.
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
            raise ValueError("size, offset, length: expected whole numbers")
        if not (0 <= self.offset <= _MAX_SAMPLES and 0 <= self.length <= _MAX_SAMPLES):
            raise ValueError(f"offset, length: expected 0 to 2**52, got {self.offset}, {self.length}")


@dataclass(frozen=True)
class ShardDescription:
    """What a shard holds.

    Attributes:
        sample_rate: hertz.
        tracks: in the order of their samples, which fill the shard without a gap.
        generation: number of the `prepare` that wrote it; of two versions of a source the higher one is newer.
        channel: how files with several channels became mono.
    """

    sample_rate: int
    tracks: tuple[StoredTrack, ...]
    generation: int = 0
    channel: str = "mean"

    @property
    def bytes(self) -> int:
        """Size of the samples."""
        return max(track.offset + track.length for track in self.tracks) * SAMPLE.itemsize

    def write(self, folder: Path, shard: str) -> None:
        """Write it beside the samples; with this the shard is complete."""
        write_checked_json(shard_path(folder, shard, ".json"), asdict(self))


def parse_description(path: Path) -> ShardDescription:
    """Read the description of a shard; raises anything if it is damaged."""
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ValueError(f"expected at most {MAX_DESCRIPTION_BYTES} bytes")
    content = parse_checked_json(path, required=False)  # earlier versions wrote none
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
        raise ValueError("expected tracks, a rate, a generation and a channel")
    return ShardDescription(content["sample_rate"], tracks, generation, channel)


def read_description(folder: Path, shard: str) -> ShardDescription:
    """Read what a shard of a store on this machine holds.

    Raises:
        DamagedFile: naming the description if it is damaged, or the samples if they are not all there.
        InputError: if a file is not there, or may not be read.
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
    """Return where a shard's samples are, or with ".json" its description."""
    return folder / SHARDS / f"{shard}{suffix}"


def is_store(path: str | Path) -> bool:
    """Return whether a path or URL names a store."""
    return "://" in str(path) or (user_path(path) / STORE_FILE).is_file()
