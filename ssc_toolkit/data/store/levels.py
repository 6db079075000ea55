"""Levels of the stored tracks, by which silent stretches are found."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from ssc_toolkit.data.store.layout import (
    FULL_SCALE,
    PREPARE_ADVICE,
    SAMPLE,
    StoreInfo,
    check_bytes,
    read_index,
    shard_path,
)
from ssc_toolkit.data.store.parquet import read_table, to_arrow, write_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)

LEVEL_SECONDS = 0.5
"""Length in seconds of the blocks whose level is stored."""
_LOWEST_DB = -120.0
_BLOCKS_AT_ONCE = 512
_COLUMN = "level_db"

SampleRange = tuple[str, int, int]
"""Type of the place of the samples of a track: name of the shard, offset and length in samples."""


def measure_levels(samples: np.ndarray, block: int) -> np.ndarray:
    """Return the level of each block of a track in dB of full scale, (blocks,) float32, at least -120.

    The level is the root mean square of the samples. A level of 0 dB is that of a square wave of full scale.

    Args:
        samples: (samples,) int16.
        block: length of a block in samples. The last block may be shorter.

    Examples:
        >>> measure_levels(np.repeat(np.array([0, 16384, 32767], dtype=np.int16), 100), 100).round(1).tolist()
        [-120.0, -6.0, -0.0]
    """
    powers = np.zeros(-(-len(samples) // block))
    for first in range(0, len(powers), _BLOCKS_AT_ONCE):
        part = samples[first * block : (first + _BLOCKS_AT_ONCE) * block].astype(np.float32)
        sums = np.add.reduceat(np.square(part), np.arange(0, len(part), block), dtype=np.float64)
        sizes = np.full(len(sums), block)
        sizes[-1] = len(part) - (len(sums) - 1) * block
        powers[first : first + len(sums)] = sums / sizes / FULL_SCALE**2
    with np.errstate(divide="ignore"):
        return np.maximum(10 * np.log10(powers), _LOWEST_DB).astype(np.float32)


def write_levels(
    folder: Path, spans: Sequence[SampleRange], earlier: StoreInfo, sample_rate: int, threads: int, progress: bool
) -> tuple[str, str, int]:
    """Write the levels of all tracks of a store, and measure those that the earlier state of the store lacks.

    The levels are measured from the stored samples, so no audio file is decoded.

    Args:
        folder: folder of the store.
        spans: place of the samples of each track, in the order of the index.
        earlier: earlier state of the store.
        sample_rate: sample rate of the store in hertz.
        threads: number of threads.
        progress: whether to show a progress bar.

    Returns:
        The name and the checksum of the file, and the length of a block in samples.

    Raises:
        InputError: if the stored samples cannot be read.
    """
    block = max(1, round(LEVEL_SECONDS * sample_rate))
    known = _known_levels(folder, earlier, block)
    missing = [span for span in dict.fromkeys(spans) if span not in known]

    def measure(span: SampleRange) -> np.ndarray:
        shard, offset, length = span
        path = shard_path(folder, shard)
        with reading("store", path, PREPARE_ADVICE):
            stored = np.memmap(path, dtype=SAMPLE, mode="r")
            return measure_levels(np.asarray(stored[offset : offset + length]), block)

    with (
        ThreadPoolExecutor(threads) as pool,
        progress_bar(
            total=len(missing), desc="measuring levels", unit="track", disable=not progress or not missing
        ) as bar,
    ):
        for span, levels in zip(missing, pool.map(measure, missing), strict=True):
            known[span] = levels
            bar.update()
    levels = np.concatenate([known[span] for span in spans]) if spans else np.zeros(0, dtype=np.float32)
    name, checksum = write_table(folder, "levels", to_arrow(pd.DataFrame({_COLUMN: levels})))
    return name, checksum, block


def read_levels(path: Path, info: StoreInfo, lengths: np.ndarray) -> np.ndarray:
    """Read and verify the levels of the tracks of a store, (blocks of all tracks,) float32 in dB of full scale.

    Args:
        path: path of the file.
        info: content of `store.json`.
        lengths: (tracks,) length of each track in samples.

    Raises:
        Exception: of any type, if the content of the file has changed or is invalid.
    """
    check_bytes(path, info.levels, info.levels_checksum)
    levels = read_table(path, info.levels)[_COLUMN].to_numpy()
    blocks = int(count_blocks(lengths, info.level_block).sum())
    if levels.dtype != np.float32 or levels.shape != (blocks,):
        raise ValueError(f"{_COLUMN}: expected {blocks} levels, got {levels.dtype} {levels.shape}")
    if not ((levels >= _LOWEST_DB) & (levels < 1)).all():
        raise ValueError(f"{_COLUMN}: expected levels from {_LOWEST_DB:g} to 0 dB")
    return levels


def count_blocks(lengths: np.ndarray, block: int) -> np.ndarray:
    """Return the number of blocks of each track. The last block of a track may be shorter than the others."""
    if block < 1:
        raise ValueError(f"level_block: expected at least 1, got {block}")
    return -(-lengths // block)


def _known_levels(folder: Path, info: StoreInfo, block: int) -> dict[SampleRange, np.ndarray]:
    """Return the levels of the tracks of a store by the place of their samples. They are empty if there are none."""
    if not info.index or not info.levels or info.level_block != block:
        return {}
    try:
        with reading("store", folder / info.index, PREPARE_ADVICE):
            index: Mapping[str, np.ndarray] = read_index(folder / info.index, info)
        with reading("store", folder / info.levels, PREPARE_ADVICE):
            levels = read_levels(folder / info.levels, info, index["length"])
    except InputError as error:
        logger.warning("%s", error)
        return {}
    parts = np.split(levels, np.cumsum(count_blocks(index["length"], block))[:-1])
    names = [info.shards[shard] for shard in index["shard"].tolist()]
    spans = zip(names, index["offset"].tolist(), index["length"].tolist(), strict=True)
    return dict(zip(spans, parts, strict=False))
