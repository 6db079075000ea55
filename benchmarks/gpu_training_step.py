"""Part of the GPU benchmark: a whole training step with its parts, the loader's fraction, and host synchronization."""

from __future__ import annotations

import os
import statistics
import tempfile
import traceback
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from data import write_corpus
from gpu_targets import Target, list_targets
from results import MEASURED, NOT_MEASURED, Results, Rows
from timing import Deadline, Failure, attempt, extra_bytes, free_memory, seconds_of
from torch import Tensor
from torch.utils.data import DataLoader
from training_step import PARTS, TrainingStep, time_steps

from ssc_toolkit.data import AudioStore, ContrastiveDataset, Labels, load_tracks
from ssc_toolkit.samplers import SemiSupervisedBatchSampler

KEYS = ("encoder", "chain", "precision")
CHAINS: dict[str, tuple[str, ...]] = {"whole chain": (), "without pitch shift": ("pitch_shift",)}
CASES = (
    ("SampleCNN", "whole chain", "float32"),
    ("MelCNN", "whole chain", "float32"),
    ("SampleCNN", "whole chain", "bfloat16"),
    ("MelCNN", "without pitch shift", "float32"),
)
"""Encoder, chain and precision of the measured steps, in order of worth."""
ITEMS, TINY_ITEMS = 96, 2
TRACKS, TINY_TRACKS = 120, 4
REPEATS, TINY_REPEATS = 15, 1
STEPS, TINY_STEPS = 10, 2
"""Number of steps in a loop."""
BATCHES, TINY_BATCHES = 40, 4
"""Number of batches of a loader alone, many more than its workers prepare in advance."""


def plan(tiny: bool, device: str) -> Rows:
    """Return the rows of all measurements."""
    cases = CASES[1:2] if tiny else CASES
    return [dict(zip(KEYS, case, strict=True)) | {"state": NOT_MEASURED} for case in cases]


def measure(results: Results, until: Deadline, tiny: bool, device: str) -> None:
    """Measure the steps one after the other, each first without and then with a loader."""
    items, tracks, workers = (TINY_ITEMS, TINY_TRACKS, 1) if tiny else (ITEMS, TRACKS, count_workers())
    results.header += (
        f": {items} items of two views; float32: convolutions in TF32, matrix products in float32 (PyTorch's default); "
        "bfloat16: autocast of the model. Parts: medians, on a GPU from event to event in one stream, each step from "
        f"an idle device. In a row: a step of a loop on one batch. With a loader: the same loop with {workers} workers "
        "that read 16-bit segments from a store into pinned memory; its fraction is the time by which the loader makes "
        "the step longer. Memory: peak of the extra memory. Waits: parts in which the host waits for the device, found "
        'by torch.cuda.set_sync_debug_mode("error").'
    )
    with tempfile.TemporaryDirectory() as folder:
        stores: dict[int, AudioStore] = {}
        for row in list(results.rows):
            if until.left() < 0:
                return
            free_memory(device)
            case = (row["encoder"], row["chain"], row["precision"])
            step = attempt(partial(make_case, *case, device), device)
            if isinstance(step, Failure):
                results.put(row | {"state": step.reason})
                continue
            steps = (
                partial(measure_parts, step, items, TINY_REPEATS if tiny else REPEATS),
                partial(measure_waits, step, items),
                partial(measure_loop, step, items, TINY_STEPS if tiny else STEPS),
                partial(measure_loader, step, Path(folder), stores, tracks, items, workers, tiny),
            )
            for measurement in steps:
                if until.left() < 0:
                    return
                found = attempt(measurement, device)
                if not isinstance(found, Failure):
                    row = row | found | {"state": MEASURED}
                elif row["state"] == MEASURED:  # keeps what was measured before
                    row = row | {"error": found.reason}
                else:
                    row = row | {"state": found.reason}
                results.put(row)
                if row["state"] != MEASURED:
                    break


def count_workers() -> int:
    """Return the number of workers of the loader: half of the processors, at most 8."""
    return min(8, max(1, (os.cpu_count() or 2) // 2))


def make_case(encoder: str, chain: str, precision: str, device: str) -> TrainingStep:
    """Return the training step of a case."""
    torch.manual_seed(0)
    return TrainingStep(encoder, device, CHAINS[chain], bfloat16=precision == "bfloat16")


def measure_parts(step: TrainingStep, items: int, repeats: int) -> dict[str, Any]:
    """Return milliseconds of the parts, and memory."""
    times = time_steps(step, items, repeats)
    batch = step.make_batch(items)
    return {
        "parts": {part: 1e3 * seconds for part, seconds in times.items()},
        "milliseconds": 1e3 * sum(times.values()),
        "megabytes": extra_bytes(partial(step.run, batch, 0), step.device) / 1e6,
    }


def measure_waits(step: TrainingStep, items: int) -> dict[str, Any]:
    """Return the parts in which the host waits for the device, None on a CPU."""
    return {"waits": find_waits(step, step.make_batch(items)) if step.device == "cuda" else None}


def measure_loop(step: TrainingStep, items: int, steps: int) -> dict[str, Any]:
    """Return milliseconds of a step in a loop on one batch."""
    batch = step.make_batch(items)

    def loop() -> None:
        for seed in range(steps):
            step.run(batch, seed)

    loop()  # the first loop fills the caches
    times = [seconds_of(loop, step.device) / steps for _ in range(3)]
    return {"loop_milliseconds": 1e3 * statistics.median(times)}


def measure_loader(
    step: TrainingStep,
    folder: Path,
    stores: dict[int, AudioStore],
    tracks: int,
    items: int,
    workers: int,
    tiny: bool,
) -> dict[str, Any]:
    """Return milliseconds of a batch of a loader alone, and of a step of a loop that reads from it."""
    if step.rate not in stores:
        stores[step.rate] = make_store(folder / str(step.rate), step.rate, tracks)
    steps, count = (TINY_STEPS, TINY_BATCHES) if tiny else (STEPS, BATCHES)
    batches = make_batches(stores[step.rate], step, items, workers)

    def alone() -> None:
        for _ in range(count):
            next(batches)

    def loop() -> None:
        for seed in range(steps):
            step.run(next(batches), seed)

    alone()  # the workers start
    alone_times = [seconds_of(alone, step.device) / count for _ in range(3)]
    loop()
    times = [seconds_of(loop, step.device) / steps for _ in range(3)]
    return {
        "loader_milliseconds": 1e3 * statistics.median(alone_times),
        "loaded_milliseconds": 1e3 * statistics.median(times),
    }


def make_store(folder: Path, rate: int, tracks: int) -> AudioStore:
    """Return a store of chords."""
    folder.mkdir(parents=True)
    write_corpus(folder / "wav", "wav", tracks, rate, 1)
    return AudioStore.prepare(load_tracks(folder / "wav"), folder / "store", rate, progress=False)


def make_batches(store: AudioStore, step: TrainingStep, items: int, workers: int) -> Iterator[dict[str, Tensor]]:
    """Return batches of 16-bit segments without end, half of whose items are labeled."""
    count = len(store.tracks)
    labels = Labels(torch.arange(count) % 24, torch.arange(count) < count // 2, tuple(map(str, range(24))))
    dataset = ContrastiveDataset(store.tracks, step.rate, step.samples / step.rate, 2, labels=labels, dtype=torch.int16)
    sampler = SemiSupervisedBatchSampler(range(count // 2), range(count // 2, count), items, steps=10**6)
    loader = DataLoader(
        dataset, batch_size=None, sampler=sampler, num_workers=workers, pin_memory=step.device == "cuda"
    )
    return iter(loader)


def find_waits(step: TrainingStep, batch: dict[str, Tensor]) -> dict[str, str]:
    """Return the parts of a step in which the host waits for the GPU, each with the line that waits.

    Each part is tried in its own step, after the earlier parts ran as usual.
    """
    found = {}
    for number, name in enumerate(PARTS):
        parts = list(step.parts(batch, 0).values())
        for part in parts[:number]:
            part()
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            parts[number]()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            found[name] = _place_of(error)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return found


def _place_of(error: Exception) -> str:
    """Return file and line of the innermost frame of this library, or of any frame."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "ssc_toolkit" in frame.filename] or list(frames)
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def tables(rows: Rows, header: str) -> str:
    """Return a table of the steps, followed by the target."""
    titles = ["encoder", "chain", "precision", *PARTS, "step", "memory", "in a row", "with a loader", "its fraction"]
    titles += ["loader alone", "waits"]
    lines = [header, "", f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    lines += [f"| {' | '.join(str(row[key]) for key in KEYS)} | {' | '.join(_cells(row))} |" for row in rows]
    targets = [
        Target(
            f"no host synchronization in a step: {', '.join(case)}",
            partial(_find_waits_of, case=case),
            lambda row: not row["waits"],
        )
        for case in CASES
    ]
    return "\n".join(lines) + "\n" + list_targets(targets, rows)


def _cells(row: dict[str, Any]) -> list[str]:
    if row["state"] != MEASURED:
        return [row["state"], *[""] * (len(PARTS) + 6)]
    parts = [f"{row['parts'][part]:.3g} ms, {row['parts'][part] / row['milliseconds']:.0%}" for part in PARTS]
    fraction = NOT_MEASURED
    if "loaded_milliseconds" in row:
        fraction = f"{max(0.0, 1 - row['loop_milliseconds'] / row['loaded_milliseconds']):.0%}"
    times = [_milliseconds(row, f"{name}_milliseconds") for name in ("loop", "loaded")]
    return [
        *parts,
        f"{row['milliseconds']:.3g} ms",
        f"{row['megabytes'] / 1000:.3g} GB",
        *times,
        fraction,
        _milliseconds(row, "loader_milliseconds"),
        " ".join(filter(None, (_describe_waits(row), row.get("error")))),
    ]


def _milliseconds(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.3g} ms" if name in row else NOT_MEASURED


def _describe_waits(row: dict[str, Any]) -> str:
    if row.get("waits") is None:
        return NOT_MEASURED
    return "; ".join(f"{part} ({place})" for part, place in row["waits"].items()) or "none"


def _find_waits_of(rows: Rows, case: tuple[str, str, str]) -> tuple[dict[str, Any], str] | None:
    for row in rows:
        if tuple(row[key] for key in KEYS) == case and row.get("waits") is not None:
            return row, _describe_waits(row)
    return None
