"""Timing and memory of functions on a CPU or a GPU: turns, ratios, time budgets and failures."""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from results import DOES_NOT_FIT

T = TypeVar("T")


class Deadline:
    """Time until which measurements may run.

    Args:
        at: time in seconds since the epoch, as of `time.time`; by default never.
    """

    def __init__(self, at: float = math.inf) -> None:
        self.at = at

    def left(self) -> float:
        """Return the remaining time in seconds, negative after the deadline."""
        return self.at - time.time()


@dataclass(frozen=True)
class Failure:
    """Reason why a function returned no result."""

    reason: str


def wait(device: str) -> None:
    """Wait until the device has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


class Marks:
    """Points in time between the parts of a function.

    On a GPU, the points are events in its stream, so marking does not wait for the device.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.points: list[Any] = []
        wait(device)
        self.mark()

    def mark(self) -> None:
        """Add a point in time."""
        if self.device == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.points.append(event)
        else:
            self.points.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Return the seconds between neighboring points, after the device has finished."""
        wait(self.device)
        pairs = zip(self.points[:-1], self.points[1:], strict=True)
        if self.device == "cuda":
            return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]
        return [end - begin for begin, end in pairs]


def seconds_of(run: Callable[[], Any], device: str) -> float:
    """Return the seconds of one call, from an idle device to the end of its work."""
    marks = Marks(device)
    run()
    marks.mark()
    return marks.seconds()[0]


def count_repeats(budget: float, first: Iterable[float], least: int, most: int) -> int:
    """Return the number of turns that fit into a time budget in seconds, given the seconds of one turn's calls."""
    return int(min(most, max(least, budget / max(sum(first), 1e-3))))


def take_turns(
    timed: Mapping[str, Callable[[], float]], repeats: int, until: Deadline | None = None, least: int = 3
) -> dict[str, list[float]]:
    """Call functions in turns and return the seconds that they return.

    The order is random in each turn, because the memory that a large contender leaves allocated slows down the next
    one.

    Args:
        timed: functions that return their time in seconds, by name.
        repeats: number of turns.
        until: deadline after which no turn begins, except the first `least`.
        least: minimum number of turns.
    """
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    order = list(timed)
    for repeat in range(repeats):
        if until is not None and repeat >= least and until.left() < 0:
            break
        random.Random(repeat).shuffle(order)
        for name in order:
            seconds[name].append(timed[name]())
    return seconds


def paired_ratio(theirs: list[float], ours: list[float]) -> float:
    """Return the median of the ratios of the same turns."""
    return statistics.median(their / our for their, our in zip(theirs, ours, strict=False))


def extra_bytes(run: Callable[[], Any], device: str) -> int:
    """Return the peak of the additional memory that a call allocates, in bytes."""
    if device == "cuda":
        wait(device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        wait(device)
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    allocations = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    allocations.sort(key=lambda event: event.start_ns())
    now = highest = 0
    for event in allocations:
        now += event.nbytes()
        highest = max(highest, now)
    return highest


def warm_up(device: str) -> None:
    """Run a matrix product forward and backward, so that later memory figures do not contain its workspaces."""
    left = torch.randn(256, 256, device=device, requires_grad=True)
    (left @ left).sum().backward()
    wait(device)


def free_memory(device: str) -> None:
    """Return the cached memory of a GPU, so that the next measurement can allocate all of it."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def attempt(run: Callable[[], T], device: str) -> T | Failure:
    """Return the result of a function, or a `Failure` that says why there is none: "does not fit", or its error."""
    try:
        return run()
    except torch.OutOfMemoryError:
        reason = DOES_NOT_FIT
    except Exception as error:
        traceback.print_exc()
        text = str(error).strip().partition("\n")[0][:200]
        # cuBLAS, cuDNN and cuFFT report lack of memory as errors of their own.
        no_memory = "out of memory" in text or "ALLOC_FAILED" in text
        reason = DOES_NOT_FIT if no_memory else f"failed: {type(error).__name__}: {text}"
    # After the except block, which ends the life of the frames that keep the tensors of the failed call.
    free_memory(device)
    return Failure(reason)


@contextmanager
def precision(convolutions_tf32: bool, products_tf32: bool, benchmark: bool = False) -> Iterator[None]:
    """Set whether convolutions and matrix products of a GPU round float32 to TF32, and whether cuDNN tries algorithms.

    PyTorch's defaults are True, False and False.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = convolutions_tf32, products_tf32, benchmark
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark = before
