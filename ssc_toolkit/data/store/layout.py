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

from ssc_toolkit.data.store.parquet import SUFFIX, from_arrow, read_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import file_checksum, path_inside, read_checked_json, reading, write_checked_json, write_json

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
        shards: hashes of the shards, in the order in which the index numbers them.
        text_columns: columns of the table that hold text; for format 1 only.
        dataset: metadata of a recipe, or empty.
        format: version of all this.
    """

    sample_rate: int
    index: str = ""
    table: str = ""
    index_checksum: str = ""
    table_checksum: str = ""
    shards: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    dataset: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if isinstance(self.sample_rate, bool) or not isinstance(self.sample_rate, int) or self.sample_rate < 1:
            raise ValueError(f"sample_rate: expected hertz, got {self.sample_rate!r}")
        if not isinstance(self.dataset, dict):
            raise ValueError(f"dataset: expected an object, got {self.dataset!r}")
        for name in ("index", "table"):
            file = getattr(self, name)
            try:
                path_inside(Path(), name if file == "" else file, name)
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
    content = read_checked_json(path, "store", advice, required=version > 1)
    with reading("store", file, advice):
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
    """

    sample_rate: int
    tracks: tuple[StoredTrack, ...]
    generation: int = 0

    @property
    def bytes(self) -> int:
        """Size of the samples."""
        return max(track.offset + track.length for track in self.tracks) * SAMPLE.itemsize

    def write(self, folder: Path, shard: str) -> None:
        """Write it beside the samples; with this the shard is complete."""
        write_json(shard_path(folder, shard, ".json"), asdict(self))


def parse_description(path: Path) -> ShardDescription:
    """Read the description of a shard; raises anything if it is damaged."""
    if path.stat().st_size > MAX_DESCRIPTION_BYTES:
        raise ValueError(f"expected at most {MAX_DESCRIPTION_BYTES} bytes")
    content = json.loads(path.read_bytes())
    tracks = tuple(StoredTrack(**track) for track in content["tracks"])
    end = 0
    for track in tracks:
        if track.offset != end:
            raise ValueError(f"offset: expected {end}, got {track.offset}")
        end += track.length
    generation = content.get("generation", 0)
    if not end or not isinstance(content["sample_rate"], int) or not isinstance(generation, int):
        raise ValueError("expected tracks, a rate and a generation")
    return ShardDescription(content["sample_rate"], tracks, generation)


def read_description(folder: Path, shard: str, sample_rate: int) -> ShardDescription | None:
    """Read what a shard holds; None if it is damaged, its samples are not all there, or they are at another rate."""
    try:
        found = parse_description(shard_path(folder, shard, ".json"))
        size = shard_path(folder, shard).stat().st_size
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if size == found.bytes and found.sample_rate == sample_rate else None


def shard_path(folder: Path, shard: str, suffix: str = ".pcm") -> Path:
    """Return where a shard's samples are, or with ".json" its description."""
    return folder / SHARDS / f"{shard}{suffix}"


def is_store(path: str | Path) -> bool:
    """Return whether a path or URL names a store."""
    return "://" in str(path) or (Path(path) / STORE_FILE).is_file()
