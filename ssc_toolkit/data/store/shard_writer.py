"""Writer of the shards of an audio store."""

from __future__ import annotations

import json
import os
import threading
import uuid
from dataclasses import astuple
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from ssc_toolkit.audio import Channel, UnreadableAudio, report_unreadable, stream_checked_audio
from ssc_toolkit.data.store.layout import FULL_SCALE, SAMPLE, SHARDS, ShardDescription, StoredTrack, shard_path
from ssc_toolkit.decoding.levels import NOT_FINITE, SILENT
from ssc_toolkit.decoding.sources import identify_file
from ssc_toolkit.files import clear_leftovers
from ssc_toolkit.hashing import file_hash, new_digest, stream_digest

_LOWEST, _HIGHEST = np.iinfo(SAMPLE).min, np.iinfo(SAMPLE).max
_COPIED_BYTES = 1 << 20


class Stopped(Exception):
    """Exception that is raised if decoding is stopped in the middle of a file."""


class ShardWriter:
    """Writer of decoded tracks to shards of limited size.

    The writer is a context manager. On exit, it closes the last shard. If a file cannot be decoded to its end, or if
    decoding is stopped, its samples are removed from the shard.

    Args:
        folder: folder of the store.
        sample_rate: sample rate of the stored audio in hertz.
        max_bytes: maximum size of a shard in bytes. A shard with a single track may be larger.
        stop: event that stops decoding at the next block of samples.
        generation: number of the `prepare_store` call.
        channel: conversion of audio files to mono, as for `read_audio`.
    """

    def __init__(
        self,
        folder: Path,
        sample_rate: int,
        max_bytes: int,
        stop: threading.Event,
        generation: int = 0,
        channel: Channel = "mean",
    ) -> None:
        self._folder = folder
        self._sample_rate = sample_rate
        self._generation = generation
        self._channel = channel
        self._max_samples = max_bytes // SAMPLE.itemsize
        self._stop = stop
        self._begin()

    def _begin(self) -> None:
        self._path = self._folder / SHARDS / f".{uuid.uuid4().hex}.tmp"
        self._file = self._path.open("wb")
        self._digest = new_digest()
        self._samples = 0
        self._tracks: list[StoredTrack] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(self._path, self._file, self._digest, self._tracks)

    def add(self, path: str) -> None:
        """Decode an audio file and append its samples to the current shard, the file that is being written.

        A full shard is closed first.

        Raises:
            UnreadableAudio: if the file cannot be decoded to its end, if it is silent, or if its channels cancel each
                other.
            Stopped: if decoding was stopped.
        """
        begin, digest = self._samples, self._digest.copy()
        try:
            size, modified_ns, checksum = _identity(path)
            clipped = self._decode(path)
            self._file.flush()
        except BaseException:
            self._cut(begin, digest)
            raise
        if self._tracks and self._samples > self._max_samples:
            begin = self._move_to_next_shard(begin, digest)
        track = StoredTrack(path, size, modified_ns, checksum, begin, self._samples - begin, clipped)
        self._tracks.append(track)

    def _decode(self, path: str) -> int:
        """Write the samples of an audio file to the current shard, and return the number of clipped samples."""
        clipped, is_silent = 0, True
        for block in stream_checked_audio(path, self._sample_rate, self._channel):
            if self._stop.is_set():
                raise Stopped
            if not len(block):
                continue
            extremes = np.array([block.min(), block.max()])
            if not np.isfinite(extremes).all():  # the minimum of NaN and other values is NaN
                raise UnreadableAudio(f"{path}: {NOT_FINITE}")
            low, high = np.rint(extremes * FULL_SCALE)
            block *= FULL_SCALE
            np.rint(block, out=block)
            if low < _LOWEST or high > _HIGHEST:
                clipped += int(np.count_nonzero((block < _LOWEST) | (block > _HIGHEST)))
                np.clip(block, _LOWEST, _HIGHEST, out=block)
            is_silent = is_silent and low == high == 0
            self._write(block.astype(SAMPLE).data)
        if is_silent:
            raise UnreadableAudio(f"{path}: {SILENT}")
        return clipped

    def _write(self, samples: memoryview) -> None:
        self._file.write(samples)
        self._digest.update(samples)
        self._samples += samples.nbytes // SAMPLE.itemsize

    def _cut(self, end: int, digest: Any) -> None:
        """Remove the samples from position `end` on; `digest` is the digest of the samples before it."""
        self._samples, self._digest = end, digest
        self._file.seek(end * SAMPLE.itemsize)
        self._file.truncate()

    def _move_to_next_shard(self, begin: int, digest: Any) -> int:
        """Close the shard before position `begin`, and write the samples after it to a new shard.

        Args:
            begin: position of the first sample to move.
            digest: digest of the samples before it.

        Returns:
            Position of the samples in the new shard.
        """
        path, file, tracks = self._path, self._file, self._tracks
        self._begin()
        try:
            with path.open("rb") as moved:
                moved.seek(begin * SAMPLE.itemsize)
                while content := moved.read(_COPIED_BYTES):
                    self._write(memoryview(content))
        finally:
            file.truncate(begin * SAMPLE.itemsize)
            self._finish(path, file, digest, tracks)
        return 0

    def _finish(self, path: Path, file: BinaryIO, digest: Any, tracks: list[StoredTrack]) -> None:
        """Rename a file of samples to the name of the shard, and write the description. Remove an empty shard."""
        with file:
            file.flush()
            os.fsync(file.fileno())
        if not tracks:
            path.unlink()
            return
        description = ShardDescription(self._sample_rate, tuple(tracks), self._generation, self._channel)
        shard = _shard_name(digest, description)
        path.replace(shard_path(self._folder, shard))
        description.write(self._folder, shard)


def is_intact(samples: Path, shard: str, description: ShardDescription) -> bool:
    """Return whether the samples and the description of a shard match the hash in its name.

    Args:
        samples: path of the file with the samples.
        shard: name of the shard.
        description: description of the shard.
    """
    with samples.open("rb") as file:
        digest = stream_digest(file)
    return shard in (_shard_name(digest, description), _name_of_format_1(digest, description))


def _shard_name(samples: Any, description: ShardDescription) -> str:
    """Return the name of a shard, which is a hash of its samples and its description.

    The description is included, so that shards with the same samples of different files have different names.
    """
    digest = samples.copy()
    content = [description.sample_rate, description.generation, description.channel]
    content += map(astuple, description.tracks)
    digest.update(json.dumps(content).encode())
    return digest.hexdigest()


def _name_of_format_1(samples: Any, description: ShardDescription) -> str:
    digest = samples.copy()
    for track in description.tracks:
        digest.update(track.path.encode(errors="surrogateescape") + b"\0")
    return digest.hexdigest()


def _identity(path: str) -> tuple[int, int, str]:
    """Return the size in bytes, the modification time in nanoseconds, and the checksum of an audio file."""
    with report_unreadable(path):
        _, size, modified_ns = identify_file(path)
        return size, modified_ns, file_hash(path)


def clear_unfinished(folder: Path) -> None:
    """Remove temporary files and incomplete shards that killed processes left in the folder of a store."""
    clear_leftovers(folder / SHARDS)
    for file in (folder / SHARDS).glob("*.pcm"):
        if not file.with_suffix(".json").exists():
            file.unlink()
