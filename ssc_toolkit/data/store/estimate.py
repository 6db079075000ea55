"""Estimate of the time, memory and disk space to create or update an audio store."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ssc_toolkit.audio import Channel, UnreadableAudio, read_audio_info, stream_checked_audio
from ssc_toolkit.data.store.layout import SAMPLE, STORE_FILE, StoreInfo, read_info
from ssc_toolkit.data.store.versions import read_shards, stored_versions
from ssc_toolkit.data.track_table import Tracks
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile
from ssc_toolkit.paths import user_path
from ssc_toolkit.preflight import Estimate, current_memory, format_audio, peak_memory

_TIMED_FILES = 32
_TIMED_AUDIO_SECONDS = 60.0  # of each file
_TIMED_SECONDS = 2.0
_MEASURED_FILES = 200
_ROW_BYTES = 400  # of a track in the index, the table and the description of its shard
_LEVEL_BYTES = 2 * 4  # of a second of audio
_SAFETY = 1.02  # durations are estimated


def estimate_store(
    tracks: Tracks,
    folder: str | Path,
    sample_rate: int = 22050,
    *,
    channel: Channel = "mean",
    threads: int | None = None,
) -> Estimate:
    """Estimate the time, memory and disk space that `prepare_store` needs. Nothing is written.

    A few files are decoded for about two seconds. The durations of up to 200 files are read, and those of the other
    files are estimated from their sizes. Files whose audio is stored already, with the same size, count as decoded.

    Args:
        tracks: as for `prepare_store`.
        folder: as for `prepare_store`. It need not exist.
        sample_rate: as for `prepare_store`.
        channel: as for `prepare_store`.
        threads: as for `prepare_store`.
    """
    place = user_path(folder, "out")
    paths = list(dict.fromkeys(map(str, as_track_table(tracks)["path"])))
    stored = _stored_sizes(place, StoreInfo(sample_rate, channel=channel))
    sizes = {path: size for path in paths if (size := _size(path)) and size not in stored.get(path, ())}
    missing = list(sizes)
    seconds = _estimate_durations(sizes)
    speed = _time_decoding(_spread(missing, _TIMED_FILES), sample_rate, channel, threads or os.cpu_count() or 1)
    audio = sum(seconds.values())
    samples = round(audio * sample_rate * SAMPLE.itemsize * _SAFETY)
    other = round(audio * _LEVEL_BYTES) + len(paths) * _ROW_BYTES
    work = f"{format_audio(len(missing), audio)} to decode"
    if len(missing) < len(paths):
        work += f", {len(paths) - len(missing)} tracks are stored or missing"
    return Estimate(
        work,
        audio / speed if speed else 0.0,
        max(peak_memory(), current_memory()),
        {place: samples + other},
        {"audio": samples, "index and table": other},
    )


def _stored_sizes(folder: Path, expected: StoreInfo) -> Mapping[str, set[int]]:
    """Return the sizes in bytes of the stored versions of each audio file, by path. Empty if there is no store."""
    found: dict[str, set[int]] = defaultdict(set)
    if (folder / STORE_FILE).is_file():
        try:
            info = read_info(folder / STORE_FILE, str(folder))
        except DamagedFile:
            info = expected
        for path, places in stored_versions(read_shards(folder, {}), info, set()).items():
            found[path] = {track.size for _, track in places}
    return found


def _estimate_durations(sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the duration of each audio file in seconds, measured or estimated from its size, by path."""
    measured: dict[str, float] = {}
    kinds = {path: Path(path).suffix.lower() for path in sizes}
    for kind in set(kinds.values()):
        own = [path for path in sizes if kinds[path] == kind]
        for path in _spread(own, max(8, _MEASURED_FILES // len(set(kinds.values())))):
            try:
                measured[path] = read_audio_info(path).seconds
            except UnreadableAudio:
                measured[path] = 0.0
    per_byte: dict[str, float] = {}
    for kind in set(kinds.values()):
        known = [path for path in measured if kinds[path] == kind]
        per_byte[kind] = sum(measured[path] for path in known) / max(1, sum(sizes[path] for path in known))
    return {path: measured.get(path, size * per_byte[kinds[path]]) for path, size in sizes.items()}


def _time_decoding(paths: Sequence[str], sample_rate: int, channel: Channel, threads: int) -> float:
    """Return how many seconds of audio are decoded per second with some threads, or 0 if no file can be decoded."""
    begin = time.monotonic()

    def decode(path: str) -> float:
        samples = 0
        if time.monotonic() - begin > _TIMED_SECONDS:
            return 0.0
        try:
            for block in stream_checked_audio(path, sample_rate, channel):
                np.rint(block, out=block)
                samples += len(block)
                if samples > _TIMED_AUDIO_SECONDS * sample_rate or time.monotonic() - begin > 2 * _TIMED_SECONDS:
                    break
        except (InputError, UnreadableAudio):
            return 0.0
        return samples / sample_rate

    with ThreadPoolExecutor(threads) as pool:
        decoded = sum(pool.map(decode, paths))
    return decoded / max(time.monotonic() - begin, 1e-6)


def _spread(paths: Sequence[str], count: int) -> list[str]:
    """Return up to `count` paths, evenly spaced over the list."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int))
    return [paths[place] for place in places.tolist()]


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # `prepare_store` reports the file
        return 0
