"""How a store lies on disk.

    store.json             what is in force: rate, names of the files below
    index-<hash>.npy       shard, offset and length of every track
    tracks-<hash>.csv      the track table, in the order of the index
    unusable.csv           the tracks that were left out, and why, if there are any
    shards/<hash>.pcm      16-bit little-endian mono samples, one track after the other
    shards/<hash>.json     which tracks they are

Shards and tables are named by their content and never changed, so `store.json`, replaced atomically, is all that has
to agree with itself.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_json

FORMAT = 1
STORE_FILE = "store.json"
SHARDS = "shards"
UNUSABLE = "unusable.csv"
SAMPLE = np.dtype("<i2")
FULL_SCALE = 32768  # as in files of 16 bits: what they hold comes back unchanged
INDEX = np.dtype([("shard", "<i4"), ("offset", "<i8"), ("length", "<i8")])


@dataclass(frozen=True)
class StoreInfo:
    """What `store.json` says.

    Attributes:
        sample_rate: hertz.
        index, table: names of these files.
        shards: hashes of the shards, in the order in which the index numbers them.
        text_columns: columns of the table that hold text, whatever it looks like.
        dataset: what a recipe says of the table, or empty.
        channel: how files with several channels became mono.
        format: version of all this.
    """

    sample_rate: int
    index: str = ""
    table: str = ""
    shards: tuple[str, ...] = ()
    text_columns: tuple[str, ...] = ()
    dataset: dict[str, Any] = field(default_factory=dict)
    channel: str = "mean"
    format: int = FORMAT

    def write(self, folder: Path) -> None:
        write_json(folder / STORE_FILE, asdict(self))


class DamagedStore(InputError):
    """A file of a store does not hold what was written.

    Args:
        name: of the store.
        file: its file.
    """

    def __init__(self, name: str, file: str) -> None:
        super().__init__(f"store: {name}/{file} is damaged; `ssc-toolkit prepare` mends it")


def read_info(path: Path, name: str) -> StoreInfo:
    """Read `store.json`.

    Args:
        path: of the file.
        name: of the store, for messages.

    Raises:
        InputError: if there is none, it is damaged, or another version wrote it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
    except FileNotFoundError:
        raise InputError(
            f"store: there is no store in {name} (no {STORE_FILE}); `ssc-toolkit prepare` makes one"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise DamagedStore(name, STORE_FILE) from None
    if version != FORMAT:
        raise InputError(
            f"store: {name} has format {version}, this version reads {FORMAT}; prepare it anew in another folder"
        )
    lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
    return StoreInfo(**{**content, **lists})


def read_table(path: Path, info: StoreInfo) -> pd.DataFrame:
    """Read a track table as it was written; only an empty cell is unknown."""
    text = dict.fromkeys(info.text_columns, str)
    tracks = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    if info.dataset:
        tracks.attrs["dataset"] = info.dataset
    return tracks


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


def content_hash(content: bytes) -> str:
    """What the index and the table are named by."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def shard_path(folder: Path, shard: str, suffix: str = ".pcm") -> Path:
    """Where a shard's samples lie, or with ".json" what they are."""
    return folder / SHARDS / f"{shard}{suffix}"


def write_shard_index(folder: Path, shard: str, sample_rate: int, channel: str, tracks: list[StoredTrack]) -> None:
    """Say what a shard holds; with this it is complete."""
    content = {"sample_rate": sample_rate, "channel": channel, "tracks": [asdict(track) for track in tracks]}
    write_json(shard_path(folder, shard, ".json"), content)


def read_shard_index(folder: Path, shard: str, sample_rate: int, channel: str) -> list[StoredTrack]:
    """What a shard holds; nothing if it is damaged, lacks samples, or has them at another rate or channel."""
    try:
        content = json.loads(shard_path(folder, shard, ".json").read_text(encoding="utf-8"))
        tracks = [StoredTrack(**track) for track in content["tracks"]]
        size = shard_path(folder, shard).stat().st_size
    except (OSError, ValueError, KeyError, TypeError):
        return []
    is_alike = (content.get("sample_rate"), content.get("channel", "mean")) == (sample_rate, channel)
    return tracks if size == shard_bytes(tracks) and is_alike else []


def shard_bytes(tracks: list[StoredTrack]) -> int:
    """Bytes of the samples of a shard."""
    return max(track.offset + track.length for track in tracks) * SAMPLE.itemsize


def is_store(path: str | Path) -> bool:
    """Whether a path or URL names a store."""
    return "://" in str(path) or (Path(path) / STORE_FILE).is_file()
