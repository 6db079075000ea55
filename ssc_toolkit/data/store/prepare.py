"""Creation and update of an audio store, which contains the decoded audio of the tracks of a table."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.audio import Channel, UnreadableAudio, check_channel
from ssc_toolkit.checks import MAX_SAMPLE_RATE, check_fraction, check_integer, check_number
from ssc_toolkit.data.store.layout import (
    INDEX,
    SHARDS,
    STORE_FILE,
    UNUSABLE,
    StoreInfo,
    read_info,
    shard_path,
)
from ssc_toolkit.data.store.levels import write_levels
from ssc_toolkit.data.store.parquet import to_arrow, write_table
from ssc_toolkit.data.store.shard_writer import ShardWriter, Stopped, clear_unfinished
from ssc_toolkit.data.store.stale import Stale
from ssc_toolkit.data.store.versions import Place, current_version, read_shards, served_places, stored_versions
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.data.validation import report_unusable
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, clear_leftovers, lock_folder, make_writable_folder
from ssc_toolkit.options.prepare import check_local_folder, check_store_folder, check_store_settings
from ssc_toolkit.paths import user_path
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)

_CHANGED = "changed while it was decoded; rerun the command"
_SECONDS_TOLERANCE = 0.5  # durations in file headers may differ this much from the decoded audio


def prepare_store(
    tracks: Tracks,
    folder: str | Path,
    sample_rate: int = 22050,
    *,
    channel: Channel = "mean",
    min_seconds: float = 0.0,
    max_unusable: float = 0.1,
    strict: bool = False,
    threads: int | None = None,
    shard_megabytes: int = 256,
    progress: bool = True,
) -> None:
    """Create an audio store with the tracks of a table, or update an existing store.

    Files are decoded in parallel, converted to mono, resampled, and rounded to 16 bits. The level is not normalized.
    Samples beyond full scale are clipped. The audio is written to large files, called shards. After an interruption,
    repeat the call to resume. Complete shards are kept.

    In an update, only new and changed files are decoded. A file has changed if its size differs, or if its modification
    time and its checksum differ. If a file no longer exists, its track stays in the store. Tracks that are not in the
    table are removed from the track table of the store, but their audio is kept.

    Files that are unreadable, truncated, empty, silent or too short, or whose channels cancel each other in the mono
    mix, are left out. A warning reports them, and `unusable.csv` in the folder lists them. If there are too many of
    them, all other files are decoded before the error is raised, and the next call does not decode them again.

    Args:
        tracks: track table, data frame with a column `path`, or path of a table. The store keeps the other columns.
        folder: folder of the store. It is created if it is missing.
        sample_rate: sample rate of the stored audio in hertz.
        channel: conversion of files with several channels to mono, as for `read_audio`: "mean", "left", "right" or
            "loudest". It cannot be changed in an existing store.
        min_seconds: minimum duration in seconds. Shorter tracks are left out.
        max_unusable: maximum fraction of the files that may be left out.
        strict: whether a single file that cannot be used is an error, after all files are decoded.
        threads: number of decoding threads. By default, one thread for each CPU core.
        shard_megabytes: maximum size of a shard in MiB. A longer track has its own shard.
        progress: whether to show a progress bar.

    Raises:
        InputError: if a setting is invalid, if the folder cannot be written or contains other files, or if too many
            files cannot be used.
    """
    tracks = as_track_table(tracks)
    if not len(tracks):
        raise InputError("tracks: expected at least one track, got none")
    _check_settings(folder, sample_rate, channel, min_seconds, max_unusable, shard_megabytes)
    threads = threads or os.cpu_count() or 1
    place = make_writable_folder(user_path(folder, "out"), "out")
    with lock_folder(place, "out"):
        earlier = _open_folder(place, sample_rate, channel)
        shards = read_shards(place, {})
        served_before = served_places(place, earlier)
        stored = stored_versions(shards, earlier, served_before)
        generation = 1 + max([earlier.generation, *(shard.generation for shard in shards.values() if shard)])
        stale = Stale.read(place)
        paths = list(dict.fromkeys(map(str, tracks["path"])))
        known = stored.keys() | {path for path, _, _ in served_before}
        if earlier.index and known and known.isdisjoint(paths):
            raise InputError(
                f"out: {folder} is a store of other tracks: it contains {min(known)} and so on, but none of the given "
                f"tracks, such as {paths[0]}. Tracks are compared by their paths; if the files were moved or copied, "
                "choose another folder, or delete the store"
            )
        found = {path: current_version(path, stored.get(path, []), stale) for path in paths}
        missing = [path for path in paths if found[path] is None]
        new_shards = partial(
            ShardWriter, place, sample_rate, shard_megabytes * 2**20, generation=generation, channel=channel
        )
        problems = _decode(missing, place, new_shards, threads, progress)
        shards = read_shards(place, shards)
        stored = stored_versions(shards, earlier, served_before)
        found = {
            path: found[path] or current_version(path, stored.get(path, []), stale)
            for path in paths
            if path not in problems
        }
        problems |= _too_short(found, min_seconds, sample_rate)
        problems |= {path: _CHANGED for path, where in found.items() if where is None}
        report_unusable(problems, len(paths), max_unusable, strict, place / UNUSABLE)
        usable = {path: where for path, where in found.items() if where is not None and path not in problems}
        state = StoreInfo(sample_rate, channel=channel, generation=generation)
        served = _commit(
            place, tracks, usable, state, partial(write_levels, threads=threads, progress=progress), earlier
        )
        damaged = {shard for shard, description in shards.items() if description is None}
        lost = _lost_tracks(stale.shards | damaged, served_before, stale, usable, problems)
        _remove_damaged(place, (stale.shards if problems else stale.shards | damaged) - lost.keys(), served)
        changed = (stale.paths - set(paths)) | (stale.paths & problems.keys())
        Stale(changed, (stale.shards & served) | lost.keys(), lost).write(place)
    logger.info("%s", _summary(usable, len(set(missing) & usable.keys()), sample_rate))


def _check_settings(
    folder: str | Path,
    sample_rate: int,
    channel: Channel,
    min_seconds: float,
    max_unusable: float,
    shard_megabytes: int,
) -> None:
    check_integer("sample_rate", sample_rate, 1, MAX_SAMPLE_RATE)
    check_integer("shard_megabytes", shard_megabytes)
    check_number("min_seconds", min_seconds, 0)
    check_local_folder(folder)
    check_fraction("max_unusable", max_unusable)
    check_channel(channel)


def _open_folder(folder: Path, sample_rate: int, channel: str) -> StoreInfo:
    """Return the state of the store in a folder, or of an empty store with the given sample rate and channel.

    Temporary files in the folder are removed.
    """
    info = StoreInfo(sample_rate, channel=channel)
    if (folder / STORE_FILE).exists():
        try:
            info = read_info(folder / STORE_FILE, str(folder))
        except DamagedFile as error:
            logger.warning("%s", error)
        check_store_settings(folder, vars(info), sample_rate, channel)
    else:
        check_store_folder(folder, sample_rate, channel)
    if not info.index:
        info.write(folder)
    (folder / SHARDS).mkdir(exist_ok=True)
    clear_leftovers(folder)
    clear_unfinished(folder)
    return info


def _remove_damaged(folder: Path, shards: set[str], served: set[str]) -> None:
    """Delete those of the damaged `shards` that are not in `served`, the names of shards that the index refers to."""
    for shard in shards - served:
        for suffix in (".json", ".pcm"):
            shard_path(folder, shard, suffix).unlink(missing_ok=True)


def _lost_tracks(
    damaged: set[str],
    served: set[tuple[str, str, int]],
    stale: Stale,
    usable: Mapping[str, Place],
    problems: Mapping[str, str],
) -> dict[str, list[str]]:
    """Return the tracks that are only in damaged shards and can no longer be decoded, by shard, and warn about them.

    Args:
        damaged: names of the damaged shards.
        served: tracks in the index before this call, as from `served_places`.
        stale: damaged shards and lost tracks of earlier calls.
        usable: place of the samples of each usable track, by path.
        problems: reason for each file that could not be decoded, by path.
    """
    lost: dict[str, list[str]] = {}
    for shard in sorted(damaged):
        paths = {path for path, own, _ in served if own == shard}.union(stale.lost.get(shard, ()))
        gone = sorted(path for path in paths - usable.keys() if path in problems or not Path(path).exists())
        if gone:
            lost[shard] = gone
            logger.warning(
                "the damaged shard %s is kept, because it has the only copy of %d tracks, such as %s; restore the "
                "audio files and rerun the command to decode them again",
                shard,
                len(gone),
                gone[0],
            )
    return lost


def _decode(
    paths: list[str],
    folder: Path,
    new_shards: Callable[..., ShardWriter],
    threads: int,
    progress: bool,
) -> dict[str, str]:
    """Decode audio files and write their samples to new shards.

    Args:
        paths: paths of the audio files.
        folder: folder of the store.
        new_shards: function that returns a `ShardWriter` for each thread.
        threads: number of threads.
        progress: whether to show a progress bar.

    Returns:
        A dictionary from the path of each file that failed to the reason.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for path in paths:
        waiting.put(path)
    problems: dict[str, str] = {}
    stop, bar_lock = threading.Event(), threading.Lock()

    def work() -> None:
        with new_shards(stop=stop) as shard:
            while not stop.is_set():
                try:
                    path = waiting.get_nowait()
                    shard.add(path)
                except (queue.Empty, Stopped):
                    return
                except UnreadableAudio as error:
                    problems[path] = str(error).removeprefix(f"{path}: ")
                with bar_lock:
                    bar.update()

    try:
        with (
            progress_bar(total=len(paths), desc="decoding", unit="track", disable=not progress or not paths) as bar,
            ThreadPoolExecutor(threads) as pool,
        ):
            try:
                for done in as_completed([pool.submit(work) for _ in range(min(threads, len(paths)))]):
                    done.result()
            finally:
                stop.set()  # makes each worker close its shard, also after an error
    except OSError as error:
        raise InputError(
            f"out: cannot write to {folder} ({error.strerror}); rerun the same command to resume"
        ) from error
    return problems


def _too_short(found: dict[str, Place | None], min_seconds: float, sample_rate: int) -> dict[str, str]:
    lengths = {path: where[1].length / sample_rate for path, where in found.items() if where is not None}
    return {
        path: f"expected at least {min_seconds:.2f} s, got {seconds:.2f} s"
        for path, seconds in lengths.items()
        if seconds < min_seconds
    }


def _commit(
    folder: Path,
    tracks: TrackTable,
    usable: dict[str, Place],
    info: StoreInfo,
    levels: Callable[..., tuple[str, str, int]],
    earlier: StoreInfo,
) -> set[str]:
    """Write the index, the track table, the levels and `store.json` of a store.

    Args:
        folder: folder of the store.
        tracks: track table.
        usable: place of the samples of each usable track, by path. Other tracks are left out.
        info: new state of the store, without its files.
        levels: the function `write_levels` with the arguments that are not here.
        earlier: earlier state of the store.

    Returns:
        The names of the shards that the index refers to.
    """
    table = tracks.select([str(path) in usable for path in tracks["path"]]).frame
    places = [usable[str(path)] for path in table["path"]]
    shards = list(dict.fromkeys(shard for shard, _ in places))
    number = {shard: place for place, shard in enumerate(shards)}
    columns = {
        "shard": [number[shard] for shard, _ in places],
        "offset": [track.offset for _, track in places],
        "length": [track.length for _, track in places],
    }
    index = pd.DataFrame({name: np.array(columns[name], dtype=kind) for name, kind in INDEX.items()})
    measured: dict[str, Any] = {
        "seconds": index["length"] / info.sample_rate,
        "clipped": [track.clipped for _, track in places],
        "checksum": [track.checksum for _, track in places],
    }
    if tracks.store is None:
        _warn_of_replaced(table, measured)
    table = table.assign(**measured)
    index_name, index_checksum = write_table(folder, "index", to_arrow(index))
    table_name, table_checksum = write_table(folder, "tracks", to_arrow(table))
    spans = [(shard, track.offset, track.length) for shard, track in places]
    levels_name, levels_checksum, level_block = levels(folder, spans, earlier, info.sample_rate)
    replace(
        info,
        index=index_name,
        table=table_name,
        index_checksum=index_checksum,
        table_checksum=table_checksum,
        index_bytes=(folder / index_name).stat().st_size,
        table_bytes=(folder / table_name).stat().st_size,
        levels=levels_name,
        levels_checksum=levels_checksum,
        levels_bytes=(folder / levels_name).stat().st_size,
        level_block=level_block,
        shards=tuple(shards),
        dataset=dict(tracks.dataset),
    ).write(folder)
    for file in (path for stem in ("index", "tracks", "levels") for path in folder.glob(f"{stem}-*")):
        if file.name not in (index_name, table_name, levels_name):
            file.unlink()
    return set(shards)


def _warn_of_replaced(table: pd.DataFrame, measured: Mapping[str, Any]) -> None:
    """Warn about columns of a track table that are replaced by different values, measured while decoding."""
    for name in measured.keys() & set(table.columns):
        own, new = table[name], pd.Series(measured[name], index=table.index)
        if name == "seconds" and pd.api.types.is_numeric_dtype(own):
            is_other = (own - new).abs().gt(_SECONDS_TOLERANCE)
        else:
            is_other = own.astype(str) != new.astype(str)
        if is_other.any():
            logger.warning(
                "column %r of the table is replaced by measured values (%d rows differ)", name, is_other.sum()
            )


def _summary(usable: dict[str, Place], decoded: int, sample_rate: int) -> str:
    tracks = [track for _, track in usable.values()]
    hours = sum(track.length for track in tracks) / sample_rate / 3600
    clipped = [track.clipped for track in tracks if track.clipped]
    text = f"{len(tracks)} tracks, {hours:.1f} hours at {sample_rate} Hz; {decoded} of them were decoded now"
    return text + (f"; {sum(clipped)} samples of {len(clipped)} tracks were clipped" if clipped else "")
