"""Speed of reading segments, preparing a store, and drawing batches.

The script measures:

- the number of random segments of 2.7 s that are read per second, from a store in the page cache, through a DataLoader
  with 0, 1 and 2 workers, and from single files, compared with a memory copy of the same bytes;
- the hours of audio that `prepare` decodes per minute, and its processor time compared with decoder and resampler
  alone;
- the time in milliseconds that the samplers need to draw a batch from ten million tracks, and that a process needs to
  draw the random parameters of the augmentation.

    python benchmarks/data.py --out=docs/benchmarks
"""

from __future__ import annotations

import functools
import itertools
import json
import logging
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile
import soxr
import torch
from results import Rows, options_of, report
from torch import Tensor
from torch.utils.data import DataLoader

from ssc_toolkit.augmentations import Augmentation, semisupcon_chain
from ssc_toolkit.data import AudioStore, ContrastiveDataset, check_audio, load_tracks, prepare_store
from ssc_toolkit.samplers import (
    AdjacentSegments,
    BalancedBatchSampler,
    RandomSegments,
    SameLabelTracks,
    SemiSupervisedBatchSampler,
)
from ssc_toolkit.seeds import make_generator

RATE = 22050
SAMPLES = 59_535  # a view of 2.7 s
ITEMS, VIEWS = 96, 2
TRACKS, TRACK_SECONDS = 240, 30.0
MANY = 10_000_000
SUFFIXES = ("wav", "flac", "ogg", "mp3")
MIXED = [(44100, 2)] * 4 + [(48000, 2), (48000, 2), (32000, 1), (16000, 1)]

Read = Callable[[Tensor, Tensor], Tensor]
"""Function of rows and starts (n,) that returns segments (n, SAMPLES)."""


def music(seconds: float, rate: int, channels: int, seed: int) -> np.ndarray:
    """Return a chord with gliding pitch and noise."""
    generator = np.random.default_rng(seed)
    time_seconds = np.arange(round(seconds * rate)) / rate
    tones = [np.sin(2 * np.pi * hertz * (1 + 0.01 * time_seconds) * time_seconds) for hertz in (220, 330, 440, 660)]
    samples = 0.1 * sum(tones) + 0.02 * generator.standard_normal(len(time_seconds))
    return np.stack([samples * (1 - 0.2 * channel) for channel in range(channels)], axis=1)


def write_corpus(folder: Path, suffix: str, tracks: int, rate: int, channels: int) -> None:
    """Write files of one format; ten different files are repeated."""
    folder.mkdir()
    for number in range(tracks):
        path = folder / f"{number:04d}.{suffix}"
        if number < 10:
            soundfile.write(path, music(TRACK_SECONDS, rate, channels, number), rate)
        else:
            shutil.copyfile(folder / f"{number % 10:04d}.{suffix}", path)


def write_mixed(folder: Path) -> None:
    """Write files of several formats, sample rates and numbers of channels, 30 s each."""
    folder.mkdir()
    for suffix in SUFFIXES:
        for number, (rate, channels) in enumerate(MIXED):
            with soundfile.SoundFile(folder / f"{number}.{suffix}", "w", rate, channels) as file:
                for block in np.array_split(music(TRACK_SECONDS, rate, channels, number), 30):
                    file.write(block)  # libsndfile's Vorbis encoder fails for large blocks


def copy_of_floats(count: int) -> Read:
    """Return a function that copies as many float samples as a batch has into a new array."""
    source = np.random.default_rng(0).random((count, SAMPLES), dtype=np.float32)
    return lambda rows, starts: torch.from_numpy(source.copy())


def copy_of_shards(store: AudioStore) -> Read:
    """Return a function that copies the 16-bit samples of the segments from the mapped shards into a new array."""
    folder = Path(store.tracks.store)
    names = json.loads((folder / "store.json").read_text())["shards"]
    shards = [np.asarray(np.memmap(folder / "shards" / f"{name}.pcm", np.int16, "r")) for name in names]
    index = pd.read_parquet(next(folder.glob("index-*"))).to_records()

    def read(rows: Tensor, starts: Tensor) -> Tensor:
        copied = np.empty((len(rows), SAMPLES), dtype=np.int16)
        own = index[rows.numpy()]
        begins = (own["offset"] + starts.numpy()).tolist()
        for row, shard, begin in zip(copied, own["shard"].tolist(), begins, strict=True):
            row[:] = shards[shard][begin : begin + SAMPLES]
        return torch.from_numpy(copied)

    return read


def by_soundfile(paths: list[str]) -> Read:
    """Return a function that opens, seeks and reads each file with soundfile."""

    def read(rows: Tensor, starts: Tensor) -> Tensor:
        segments = []
        for row, start in zip(rows.tolist(), starts.tolist(), strict=True):
            samples, _ = soundfile.read(paths[row], SAMPLES, start, dtype="float32", always_2d=True)
            segments.append(samples.mean(axis=1))
        return torch.from_numpy(np.stack(segments))

    return read


def by_librosa(paths: list[str]) -> Read:
    """Return a function that loads each segment with librosa at the sample rate of the file."""
    import librosa

    def read(rows: Tensor, starts: Tensor) -> Tensor:
        segments = [
            librosa.load(paths[row], sr=None, offset=(start + 0.5) / RATE, duration=SAMPLES / RATE)[0][:SAMPLES]
            for row, start in zip(rows.tolist(), starts.tolist(), strict=True)
        ]
        return torch.from_numpy(np.stack(segments))

    return read


def by_ours(paths: list[str]) -> Read:
    """Return a function that reads the files with this library, without a store."""
    from ssc_toolkit.data import read_audio

    def read(rows: Tensor, starts: Tensor) -> Tensor:
        pairs = zip(rows.tolist(), starts.tolist(), strict=True)
        return torch.from_numpy(np.stack([read_audio(paths[row], RATE, start, SAMPLES) for row, start in pairs]))

    return read


def places(tracks: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw random rows, and random starts at which the segment is within the track."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(tracks, (count,), generator=generator)
    return rows, torch.randint(round(TRACK_SECONDS * RATE) - SAMPLES - 2000, (count,), generator=generator)


def check(name: str, read: Read, store: AudioStore, exact: bool) -> None:
    """Raise AssertionError unless a function reads the same samples as the store."""
    rows, starts = places(len(store), 8, seed=123)
    difference = (read(rows, starts).float() - store.read(rows, starts, SAMPLES)).abs().max()
    if exact and difference > 1e-4:
        raise AssertionError(f"{name} reads something else: {difference}")


def measure_reading(folder: Path, repeats: int) -> Rows:
    """Return segments per second of every way to read, and the ratio to the store in the same turn."""
    store = AudioStore.prepare(load_tracks(folder / "wav"), folder / "store", RATE, progress=False)
    for shard in (folder / "store" / "shards").iterdir():
        shard.read_bytes()  # loads the shard into the page cache
    count = ITEMS * VIEWS
    contenders: dict[str, tuple[Read, int]] = {
        "store": (lambda rows, starts: store.read(rows, starts, SAMPLES), count),
        "floor: a copy of these floats": (copy_of_floats(count), count),
        "store, as 16 bits": (lambda rows, starts: store.read(rows, starts, SAMPLES, torch.int16), count),
        "floor: a copy of these 16 bits": (copy_of_shards(store), count),
    }
    for suffix in SUFFIXES:
        paths = load_tracks(folder / suffix)["path"].tolist()
        contenders[f"soundfile, {suffix}"] = (by_soundfile(paths), 24)
        contenders[f"librosa, {suffix}"] = (by_librosa(paths), 24)
        contenders[f"without a store, {suffix}"] = (by_ours(paths), 24)
    for name, (read, _) in contenders.items():
        if name.startswith(("floor", "store")):
            continue
        # After a seek in OGG and MP3 files, peers often return other samples than a decoder of the whole file.
        check(name, read, store, exact=name.endswith("wav") or name.endswith("flac"))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        order = list(contenders.items())
        random.shuffle(order)
        for name, (read, size) in order:
            where = places(len(store), size, seed=repeat)
            begin = time.perf_counter()
            read(*where)
            seconds[name].append((time.perf_counter() - begin) / size)
    rows = [row("reading", name, taken, seconds["store"]) for name, taken in seconds.items()]
    return rows + measure_loaders(store, folder, seconds)


def measure_loaders(store: AudioStore, folder: Path, alone: dict[str, list[float]]) -> Rows:
    """Return segments per second of DataLoaders. They run one after another, because workers take time to start."""
    batches = 60
    rows = []
    files = check_audio(load_tracks(folder / "wav"), progress=False)
    kinds = {
        "store": (store.tracks, torch.float32),
        "store, as 16 bits": (store.tracks, torch.int16),
        "store, default collation": (store.tracks, torch.float32),
        "without a store, wav": (files, torch.float32),
    }
    for (kind, (tracks, dtype)), workers in itertools.product(kinds.items(), (0, 1, 2)):
        dataset = ContrastiveDataset(tracks, RATE, SAMPLES / RATE, VIEWS, view_sampler=RandomSegments(), dtype=dtype)
        sampler = SemiSupervisedBatchSampler(range(len(dataset)), [], ITEMS, steps=batches + 10)
        how: dict[str, Any] = {"sampler": sampler, "batch_size": None}
        if "collation" in kind:
            how = {"batch_sampler": sampler}
        loader = iter(DataLoader(dataset, num_workers=workers, **how))
        for _ in range(10):
            next(loader)
        begin = time.perf_counter()
        for _ in range(batches):
            next(loader)
        seconds = (time.perf_counter() - begin) / (batches * ITEMS * VIEWS)
        name = f"{kind}, DataLoader with {workers} worker{'s' * (workers != 1)}"
        rows.append(row("reading", name, [seconds], [statistics.median(alone["store"])]))
    return rows


def row(part: str, name: str, seconds: list[float], ours: list[float]) -> dict[str, Any]:
    """Return a row of the results. The ratio is the median of the ratios to our time in the same turn."""
    ratio = statistics.median(one / other for one, other in zip(seconds, ours, strict=True))
    return {
        "part": part,
        "name": name,
        "per_second": 1 / statistics.median(seconds),
        "ratio": ratio,
        "repeats": len(seconds),
    }


def measure_prepare(folder: Path, repeats: int) -> Rows:
    """Return the hours of audio that one thread decodes per minute."""
    rows = []
    hours = 60 * TRACK_SECONDS / 3600
    taken: dict[tuple[str, int], list[float]] = {}
    tables = {suffix: load_tracks(folder / f"stereo-{suffix}") for suffix in ("wav", "mp3")}
    for repeat, (suffix, workers) in itertools.product(range(repeats), itertools.product(tables, (1, 2))):
        place = folder / f"prepared-{repeat}-{suffix}-{workers}"
        begin = time.perf_counter()
        prepare_store(tables[suffix], place, RATE, threads=workers, progress=False)
        taken.setdefault((suffix, workers), []).append(time.perf_counter() - begin)
    for (suffix, workers), seconds in taken.items():
        per_core = hours / (statistics.median(seconds) / 60) / workers
        rows.append(
            {
                "part": "prepare",
                "name": suffix,
                "workers": workers,
                "hours_per_minute_per_core": per_core,
                "repeats": repeats,
            }
        )
    return rows


def measure_mixed(folder: Path, repeats: int) -> Rows:
    """Return the processor time of `prepare_store` over that of the decoder and resampler, for mixed formats."""
    ratios = []
    for repeat in range(repeats):
        begin = time.process_time()
        for path in sorted(folder.iterdir()):
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            soxr.resample(np.ascontiguousarray(samples[:, 0]), rate, RATE, "VHQ")
        between = time.process_time()
        tracks = load_tracks(folder)
        prepare_store(tracks, folder.parent / f"prepared-mixed-{repeat}", RATE, threads=1, progress=False)
        ratios.append((time.process_time() - between) / (between - begin))
    return [{"part": "mixed", "name": "prepare_store", "ratio": statistics.median(ratios), "repeats": repeats}]


def measure_sampling(repeats: int) -> Rows:
    """Return milliseconds for successive batches from ten million tracks, and for the views of their items."""
    classes = torch.randint(1000, (MANY,), generator=torch.Generator().manual_seed(0))
    many = dict.fromkeys((1, 8), ())
    contenders: dict[str, Callable[[int], Any]] = {}
    for processes in many:
        rank = processes - 1
        mixed = SemiSupervisedBatchSampler(
            range(MANY // 10), range(MANY // 10, MANY), ITEMS, rank=rank, world_size=processes
        )
        contenders[f"SemiSupervisedBatchSampler, process {processes} of {processes}"] = mixed.batch
        balanced = BalancedBatchSampler(classes, ITEMS // 4, 4, rank=rank, world_size=processes)
        contenders[f"BalancedBatchSampler, process {processes} of {processes}"] = balanced.batch
    lengths = torch.full((MANY,), round(TRACK_SECONDS * RATE))
    items = torch.randint(MANY, (ITEMS,))
    for sampler in (AdjacentSegments(), RandomSegments(), SameLabelTracks(classes)):
        name = f"{type(sampler).__name__}, {ITEMS} items"
        contenders[name] = functools.partial(views, sampler, items, lengths)
    chain = semisupcon_chain(RATE)
    for processes in (1, 64):
        places = torch.arange(processes - 1, ITEMS * processes, processes)
        name = f"semisupcon_chain, draw of process {processes} of {processes}"
        contenders[name] = functools.partial(draw_part, chain, places)
    rows = []
    for name, draw in contenders.items():
        draw(0)  # the first batch shuffles a whole epoch
        taken = []
        for number in range(repeats):
            begin = time.perf_counter()
            draw(number)
            taken.append(time.perf_counter() - begin)
        rows.append(
            {
                "part": "sampling",
                "name": name,
                "milliseconds": 1000 * statistics.median(taken),
                "mean_milliseconds": 1000 * statistics.fmean(taken),
                "repeats": repeats,
            }
        )
    return rows


def views(sampler: Any, items: Tensor, lengths: Tensor, _: int) -> Any:
    """Draw the positions of the views of some items."""
    return sampler.views_of(items, lengths, SAMPLES, VIEWS)


def draw_part(chain: Augmentation, places: Tensor, number: int) -> Any:
    """Draw the parameters of the views of items at some places of a batch of several processes."""
    return chain.draw(len(places) * VIEWS, make_generator(number), views=VIEWS, places=places)


def markdown(rows: Rows, header: str) -> str:
    """Return four tables."""
    by_part = {
        part: [row for row in rows if row["part"] == part] for part in ("reading", "prepare", "mixed", "sampling")
    }
    lines = [header, "", "| random segments of 2.7 s | per second | time over the store's |", "|---|---|---|"]
    lines += [f"| {row['name']} | {row['per_second']:,.0f} | {row['ratio']:.3g} |" for row in by_part["reading"]]
    lines += ["", "| prepare, 44.1 kHz stereo to 22.05 kHz | hours of audio per minute per core |", "|---|---|"]
    lines += [
        f"| {row['name']}, threads: {row['workers']} | {row['hours_per_minute_per_core']:.1f} |"
        for row in by_part["prepare"]
    ]
    lines += ["", "| processor time for 16 minutes of mixed formats | over decoder and resampler |", "|---|---|"]
    lines += [f"| {row['name']} | {row['ratio']:.2f} |" for row in by_part["mixed"]]
    lines += ["", "| a batch at 10 million tracks | median | mean |", "|---|---|---|"]
    lines += [
        f"| {row['name']} | {row['milliseconds']:.2g} ms | {row['mean_milliseconds']:.2g} ms |"
        for row in by_part["sampling"]
    ]
    return "\n".join(lines) + "\n"


def plot(rows: Rows, path: Path) -> None:
    """Plot segments per second of every way to read."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    reading = [row for row in rows if row["part"] == "reading"][::-1]
    colors = ["0.6" if "floor" in row["name"] else "C0" if "store" in row["name"] else "C1" for row in reading]
    figure, axis = plt.subplots(figsize=(8, 0.26 * len(reading) + 1))
    axis.barh([row["name"] for row in reading], [row["per_second"] for row in reading], color=colors)
    axis.set_xscale("log")
    axis.set_xlim(left=100)
    axis.set_xlabel("segments of 2.7 s per second")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.savefig(path, bbox_inches="tight")


def all_rows(repeats: int) -> Iterator[dict[str, Any]]:
    """Run all measurements in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for suffix in SUFFIXES:
            write_corpus(folder / suffix, suffix, TRACKS, RATE, 1)
        for suffix in ("wav", "mp3"):
            write_corpus(folder / f"stereo-{suffix}", suffix, 60, 44100, 2)
        yield from measure_reading(folder, repeats)
        yield from measure_prepare(folder, 5)
        write_mixed(folder / "mixed")
        yield from measure_mixed(folder / "mixed", 5)
        yield from measure_sampling(1000)


def main() -> None:
    """Run the measurements and report the results."""
    parser = options_of(__doc__)
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(options.threads)
    random.seed(0)
    torch.manual_seed(0)
    about = (
        f"{TRACKS} tracks of {TRACK_SECONDS:.0f} s at {RATE} Hz; ratios are medians over the same turns. "
        f"A loader gives batches of {ITEMS} tracks with {VIEWS} views."
    )
    report("data", list(all_rows(options.repeats)), about, markdown, plot, options)


if __name__ == "__main__":
    main()
