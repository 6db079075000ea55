"""Part of the GPU benchmark: time and memory of the losses for large batches."""

from __future__ import annotations

from functools import partial
from typing import Any

from gpu_targets import Target, list_targets
from loss_peers import TWO_WAYS, contenders_of_large_batches
from losses import CLASSES, DIM, VIEWS, markdown, measure_size
from results import MEASURED, NOT_MEASURED, Results, Rows
from timing import Deadline, free_memory, warm_up

KEYS = ("task", "size", "name")
SIZES, TINY_SIZES = (65536, 4096, 16384, 262144), (64, 16)
"""Numbers of rows, in order of worth."""
MOST_MILLISECONDS, MOST_MEGABYTES, TARGET_SIZE = 250, 4000, 65536
TASKS = ("multi-hot labels", "classes", "no labels", TWO_WAYS)
"""Tasks in order of worth."""


def plan(tiny: bool, device: str) -> Rows:
    """Return the rows of all measurements, in the order of the table."""
    tasks = contenders_of_large_batches(device)
    sizes = sorted(TINY_SIZES if tiny else SIZES)
    return [
        {"task": task, "size": size, "name": name, "state": NOT_MEASURED}
        for task in TASKS
        for size in sizes
        for name in tasks[task]
    ]


def measure(results: Results, until: Deadline, tiny: bool, device: str) -> None:
    """Measure all losses, the most important size first."""
    results.header += (
        f": D = {DIM}, C = {CLASSES}, {VIEWS} views, float32, matrix products without TF32 (PyTorch's default). Time "
        "of a forward and backward pass as a multiple of the first row's (median of paired ratios), its median, peak "
        "of the extra memory. A loss that does not fit ran out of memory."
    )
    warm_up(device)
    tasks = contenders_of_large_batches(device)
    groups = [(task, size) for size in (TINY_SIZES if tiny else SIZES) for task in TASKS]
    for number, (task, size) in enumerate(groups):
        budget = max(0.0, until.left()) / (len(groups) - number) / 2  # the other half is for the first runs
        limit = 0.1 if tiny else 5.0
        free_memory(device)
        results.put(*measure_size(task, tasks[task], size, device, budget=min(budget, limit), until=until))


def tables(rows: Rows, header: str) -> str:
    """Return the tables of `losses.py`, followed by the targets."""
    targets = [
        Target(
            f"{TARGET_SIZE:,} rows, {task}: under {MOST_MILLISECONDS} ms and {MOST_MEGABYTES / 1000:.0f} GB",
            partial(_show, task=task),
            lambda row: row["milliseconds"] < MOST_MILLISECONDS and row["megabytes"] < MOST_MEGABYTES,
        )
        for task in TASKS
    ]
    return markdown(rows, header) + list_targets(targets, rows)


def _show(rows: Rows, task: str) -> tuple[dict[str, Any], str] | None:
    """Return the row of a target and its figures."""
    for row in rows:
        key = (row["task"], row["size"], row["name"], row["state"])
        if key == (task, TARGET_SIZE, "ssc_toolkit, tiled", MEASURED):
            return row, f"{row['milliseconds']:.0f} ms, {row['megabytes'] / 1000:.2f} GB"
    return None
