"""Time and memory of whole pretraining steps, from files to updated weights, for two pipelines with the same encoder.

- The published pipeline of SemiSupCon, from its description: DataLoader workers decode a window of one MP3 file at a
  time, resample it, cut it into two views, and augment them with torch-audiomentations; the loss broadcasts all pairs.
- Ours: random segments from a store of decoded audio, one augmentation chain for the whole batch, and the tiled loss.

Both train the same model with the same optimizer on batches of tracks of which half are labeled with tags. Before the
timing, the script checks that both read the same audio and that both losses are equal.

Each pipeline runs in its own process, so that the memory of one does not slow down the other. They run in turns, one
waits while the other runs, and the ratio is the median over pairs of turns. A turn reads and trains a few batches, and
ends when all of them are used, so no work is done outside the measured time. Memory is the highest sum of the
proportional set sizes of a pipeline and its workers in a first turn, which is not timed.

    python benchmarks/end_to_end.py --out=docs/benchmarks     # writes end_to_end-cpu.md, .json and .svg there

torch-audiomentations is required; `pip install -e '.[peers]'` installs it.
"""

from __future__ import annotations

import argparse
import functools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from data import ITEMS, RATE, SAMPLES, TRACK_SECONDS, VIEWS, write_corpus
from losses import published
from memory import highest_memory
from published_pipeline import PublishedDataset
from results import Rows, options_of, report
from torch import Tensor
from torch.utils.data import DataLoader

from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import AudioStore, ContrastiveDataset, Labels, as_float, load_tracks
from ssc_toolkit.encoders import ENCODERS, ContrastiveModel
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.samplers import SemiSupervisedBatchSampler
from ssc_toolkit.seeds import make_generator
from ssc_toolkit.targets import SharedLabels

FILE_RATE, FILE_CHANNELS, TAGS = 44100, 2, 50
CASES = (f"MelCNN:{ITEMS}", "MelCNN:512")
NAMES = ("ssc_toolkit", "published pipeline")

Batches = Iterator[tuple[Tensor, Tensor]]
"""Augmented views (items, views, 1, samples) and tags (items, TAGS), which are 0 for unlabeled items."""


def tags_of(tracks: int) -> tuple[Tensor, Tensor]:
    """Return tags (tracks, TAGS) and the labeled flag (tracks,), True for the first half."""
    tags = torch.rand(tracks, TAGS, generator=torch.Generator().manual_seed(0)) < 0.05
    return tags.long(), torch.arange(tracks) < tracks // 2


def sampler_of(tracks: int, items: int) -> SemiSupervisedBatchSampler:
    """Return the sampler of batches of which half are labeled."""
    return SemiSupervisedBatchSampler(range(tracks // 2), range(tracks // 2, tracks), items)


class Ours:
    """Batches from a store, augmented at once, and the tiled loss."""

    def __init__(self, folder: Path, items: int, options: argparse.Namespace) -> None:
        tracks = AudioStore(folder / "store").tracks
        tags, labeled = tags_of(len(tracks))
        labels = Labels(tags.float(), labeled, tuple(map(str, range(TAGS))), "multi-hot")
        self.dataset = ContrastiveDataset(tracks, RATE, SAMPLES / RATE, VIEWS, labels=labels, dtype=torch.int16)
        self.sampler = sampler_of(len(tracks), items)
        self.chain = semisupcon_chain(RATE)
        self.loss = SemiSupConLoss(target=SharedLabels())

    def batches(self, first: int, count: int) -> Batches:
        """Yield some of the batches."""
        for number in range(first, first + count):
            batch = self.dataset.batch(self.sampler.batch(number), make_generator(number))
            views = self.chain(as_float(batch["waveforms"]), generator=make_generator(number, 1), inplace=True)
            yield views, batch["labels"] * batch["labeled"][:, None]

    def compute_loss(self, embeddings: Tensor, tags: Tensor) -> Tensor:
        """Compute the loss; an item without a tag has no positives but its own views."""
        return self.loss(embeddings, tags)


class Published:
    """Files that workers decode and augment one at a time, and the loss of all pairs at once."""

    def __init__(self, folder: Path, items: int, options: argparse.Namespace) -> None:
        paths = load_tracks(folder / "mp3")["path"].tolist()
        tags, labeled = tags_of(len(paths))
        dataset = PublishedDataset(paths, tags * labeled[:, None], RATE, SAMPLES, VIEWS)
        self.sampler = sampler_of(len(paths), items)
        self.rows: list[list[int]] = []
        self.loader = DataLoader(
            dataset,
            batch_sampler=self.rows,
            num_workers=options.workers,
            persistent_workers=options.workers > 0,
            multiprocessing_context="fork" if options.workers else None,  # as it is by default outside this script
        )

    def batches(self, first: int, count: int) -> Batches:
        """Yield some of the batches."""
        self.rows[:] = [list(map(int, self.sampler.batch(number))) for number in range(first, first + count)]
        yield from map(tuple, self.loader)

    def compute_loss(self, embeddings: Tensor, tags: Tensor) -> Tensor:
        """Compute the published loss."""
        return published(embeddings, tags)


PIPELINES: dict[str, Callable[..., Ours | Published]] = dict(zip(NAMES, (Ours, Published), strict=True))


def serve(pipe: Any, name: str, folder: Path, encoder: str, items: int, options: argparse.Namespace) -> None:
    """Run turns of one pipeline in this process: receive the number of batches, and send the seconds of the turn."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    pipeline = PIPELINES[name](folder, items, options)
    settings = {"sample_rate": RATE} if encoder == "MelCNN" else {}
    model = ContrastiveModel(ENCODERS[encoder](**settings))
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    done = 0
    pipe.send(0.0)
    while count := pipe.recv():
        begin = time.perf_counter()
        for views, tags in pipeline.batches(done, count):
            loss = pipeline.compute_loss(model(views).projection, tags)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        pipe.send(time.perf_counter() - begin)
        done += count


def measure_case(folder: Path, encoder: str, items: int, options: argparse.Namespace) -> Rows:
    """Run both pipelines in turns, and return a row for each."""
    context = get_context("spawn")
    pipes, processes = {}, {}
    for name in NAMES:
        pipes[name], other = context.Pipe()
        processes[name] = context.Process(target=serve, args=(other, name, folder, encoder, items, options))
        processes[name].start()
        other.close()  # so that the death of the process ends the wait for its answer
        pipes[name].recv()
    memory: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in NAMES}
    for turn in range(options.turns + 1):
        for name in NAMES if turn % 2 else NAMES[::-1]:
            pipes[name].send(options.steps)
            if turn:
                seconds[name].append(pipes[name].recv() / options.steps)
            else:
                memory[name] = highest_memory(processes[name].pid, functools.partial(pipes[name].poll, 0.05))
                pipes[name].recv()
    for name in NAMES:
        pipes[name].send(0)
        processes[name].join()
    ours = seconds[NAMES[0]]
    rows = []
    for name, own in seconds.items():
        row = {
            "encoder": encoder,
            "items": items,
            "name": name,
            "seconds_per_step": statistics.median(own),
            "segments_per_second": items * VIEWS / statistics.median(own),
            "ratio": statistics.median(one / other for one, other in zip(own, ours, strict=True)),
            "megabytes": memory[name] / 1e6,
            "steps": options.steps,
            "turns": options.turns,
        }
        print(row, flush=True)
        rows.append(row)
    return rows


def check(folder: Path, options: argparse.Namespace) -> None:
    """Exit with an error unless both pipelines read the same audio and compute the same loss."""
    ours, theirs = (make(folder, 8, options) for make in (Ours, Published))
    stored = ours.dataset.store.read(torch.arange(4), torch.zeros(4, dtype=torch.int64), SAMPLES)
    decoded = torch.stack([theirs.loader.dataset.read(row, 0)[0, 0] for row in range(4)])
    for one, other in zip(stored, decoded, strict=True):
        alike = torch.corrcoef(torch.stack([one, other]))[0, 1].item()
        if alike < 0.99:
            raise SystemExit(f"the audio of the two pipelines has a correlation of {alike:.3g}: not the same work")
    embeddings = torch.randn(ITEMS, VIEWS, 128, generator=torch.Generator().manual_seed(0))
    tags, labeled = tags_of(ITEMS)
    one, other = (pipeline.compute_loss(embeddings, tags * labeled[:, None]) for pipeline in (ours, theirs))
    if (one - other).abs() > 2e-3 * one:
        raise SystemExit(f"the losses are {one.item():.5g} and {other.item():.5g}: not the same work")


def measure(options: argparse.Namespace) -> Rows:
    """Write the files, prepare the store, and measure all cases."""
    cases = [(encoder, int(items)) for encoder, items in (case.split(":") for case in options.cases)]
    tracks = max(items for _, items in cases)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_corpus(folder / "mp3", "mp3", tracks, FILE_RATE, FILE_CHANNELS)
        begin = time.perf_counter()
        AudioStore.prepare(load_tracks(folder / "mp3"), folder / "store", RATE, progress=False)
        prepared = time.perf_counter() - begin
        check(folder, options)
        rows = [row for encoder, items in cases for row in measure_case(folder, encoder, items, options)]
    hours = tracks * TRACK_SECONDS / 3600
    return [{**row, "prepare_seconds_per_hour": prepared / hours} for row in rows]


def markdown(rows: Rows, header: str) -> str:
    """Return a table with a line for each case and pipeline."""
    lines = [
        header,
        "",
        "| encoder, batch | pipeline | segments per second | step | time over ours | memory |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['encoder']}, {row['items']} x {VIEWS} | {row['name']} | {row['segments_per_second']:.0f} "
        f"| {row['seconds_per_step']:.2f} s | {row['ratio']:.2f} x | {row['megabytes'] / 1000:.1f} GB |"
        for row in rows
    ]
    once = rows[0]["prepare_seconds_per_hour"]
    return "\n".join(lines) + f"\n\nPreparing the store took {once:.1f} s per hour of audio, once, before the steps.\n"


def plot(rows: Rows, path: Path) -> None:
    """Plot segments per second of both pipelines."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(8, 0.4 * len(rows) + 1))
    names = [f"{row['encoder']}, {row['items']} x {VIEWS}, {row['name']}" for row in rows[::-1]]
    colors = ["C0" if row["name"] == NAMES[0] else "C1" for row in rows[::-1]]
    axis.barh(names, [row["segments_per_second"] for row in rows[::-1]], color=colors)
    axis.set_xlabel("segments of 2.7 s per second, from files to updated weights")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    figure.savefig(path, bbox_inches="tight")


def main() -> None:
    """Measure all cases and report the results."""
    parser = options_of(__doc__)
    parser.add_argument(
        "--cases", type=lambda text: text.split(","), default=CASES, help="ENCODER:ITEMS, separated by commas"
    )
    parser.add_argument("--turns", type=int, default=2, help="timed turns of each pipeline")
    parser.add_argument("--steps", type=int, default=2, help="steps in a turn; at least the number of workers")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode files for the published pipeline")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    about = (
        f"MP3 files of {TRACK_SECONDS:.0f} s, {FILE_RATE} Hz, stereo, in the page cache; {VIEWS} views of 2.7 s at "
        f"{RATE} Hz, float32, Adam; the published pipeline decodes in {options.workers} workers. Medians of "
        f"{options.turns} turns of {options.steps} steps."
    )
    report("end_to_end", measure(options), about, markdown, plot, options)


if __name__ == "__main__":
    main()
