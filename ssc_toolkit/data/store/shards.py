"""Writing shards."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import uuid
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from ssc_toolkit.audio import SILENT, Channel, UnreadableAudio, check_decodes, stream_audio
from ssc_toolkit.data.store.layout import FULL_SCALE, SAMPLE, SHARDS, StoredTrack, shard_path, write_shard_index

_LOWEST, _HIGHEST = np.iinfo(SAMPLE).min, np.iinfo(SAMPLE).max
_LEFTOVER = ".tmp"
_blake2b = partial(hashlib.blake2b, digest_size=16)


class Stopped(Exception):
    """The work was stopped in the middle of a file."""


class ShardWriter:
    """Writes tracks into shards of bounded size, one after the other; leaving the context closes the last.

    A file that cannot be decoded, or is cut off by `stop`, leaves no trace in its shard.

    Args:
        folder: of the store.
        sample_rate: hertz of what is stored.
        most_bytes: size of a shard, unless it holds a single track.
        stop: ends the work at the next block.
        channel: as for `read_audio`.
    """

    def __init__(
        self, folder: Path, sample_rate: int, most_bytes: int, stop: threading.Event, channel: Channel = "mean"
    ) -> None:
        self._folder = folder
        self._sample_rate = sample_rate
        self._most_samples = most_bytes // SAMPLE.itemsize
        self._stop = stop
        self._channel = channel
        self._begin()

    def _begin(self) -> None:
        self._path = self._folder / SHARDS / f".{uuid.uuid4().hex}{_LEFTOVER}"
        self._file = self._path.open("wb")
        self._digest = _blake2b()
        self._samples = 0
        self._tracks: list[StoredTrack] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def add(self, path: str) -> None:
        """Decode a file to the end of the shard.

        Raises:
            UnreadableAudio: if it cannot be decoded to its end, is silent, or its channels cancel each other.
            Stopped: if the work was stopped.
        """
        info = check_decodes(path, self._channel)
        if self._tracks and self._samples + math.ceil(info.seconds * self._sample_rate) > self._most_samples:
            self._close()
            self._begin()
        begin, digest = self._samples, self._digest.copy()
        try:
            size, modified_ns, checksum = _identity(path)
            clipped = self._decode(path)
            track = StoredTrack(path, size, modified_ns, checksum, begin, self._samples - begin, clipped)
            self._file.flush()
        except BaseException:
            self._samples, self._digest = begin, digest
            self._file.seek(begin * SAMPLE.itemsize)
            self._file.truncate()
            raise
        self._tracks.append(track)

    def _decode(self, path: str) -> int:
        """Write the samples of a file; how many of them were clipped."""
        clipped, is_silent = 0, True
        for block in stream_audio(path, self._sample_rate, channel=self._channel):
            if self._stop.is_set():
                raise Stopped
            rounded = np.rint(block * FULL_SCALE)
            fitting = np.clip(rounded, _LOWEST, _HIGHEST)
            clipped += int(np.count_nonzero(fitting != rounded))
            is_silent = is_silent and not fitting.any()
            samples = fitting.astype(SAMPLE).tobytes()
            self._file.write(samples)
            self._digest.update(samples)
            self._samples += len(block)
        if is_silent:
            raise UnreadableAudio(f"{path}: {SILENT}")
        return clipped

    def _close(self) -> None:
        """Give the shard its name; with its index it is complete."""
        with self._file:
            self._file.flush()
            os.fsync(self._file.fileno())
        if not self._tracks:
            self._path.unlink()
            return
        shard = _shard_name(self._digest, self._tracks)
        self._path.replace(shard_path(self._folder, shard))
        write_shard_index(self._folder, shard, self._sample_rate, self._channel, self._tracks)


def is_intact(folder: Path, shard: str, tracks: list[StoredTrack]) -> bool:
    """Whether a shard still holds what was written."""
    with shard_path(folder, shard).open("rb") as file:
        return _shard_name(hashlib.file_digest(file, _blake2b), tracks) == shard


def _shard_name(samples: Any, tracks: list[StoredTrack]) -> str:
    """Content and sources together: two shards of copied files are two."""
    digest = samples.copy()
    for track in tracks:
        digest.update(track.path.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def file_checksum(path: str | Path) -> str:
    """BLAKE2b of a file's content, 16 bytes in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, _blake2b).hexdigest()


def _identity(path: str) -> tuple[int, int, str]:
    """Size in bytes, time of the last change in nanoseconds, and checksum of a source."""
    try:
        status = Path(path).stat()
        return status.st_size, status.st_mtime_ns, file_checksum(path)
    except OSError as error:
        raise UnreadableAudio(f"{path}: {error.strerror}") from error


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process was writing."""
    for file in (folder / SHARDS).iterdir():
        if file.suffix == _LEFTOVER or (file.suffix == ".pcm" and not file.with_suffix(".json").exists()):
            file.unlink()
