"""Choice of the precision of a training by a measurement of a few steps."""

from __future__ import annotations

import copy
import gc
import logging
import statistics
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json, write_checked_json
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.progress import progress_bar
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.run_folder import PRECISION_FILE
from ssc_toolkit.training.trial import Trial, find_device, random_states_kept, unreadable_kept

logger = logging.getLogger(__name__)

Measured = Literal["32", "bf16"]
"""Type of the names of the precisions that are compared."""
_NAMES: tuple[Measured, Measured] = ("32", "bf16")
_WORDS: dict[Measured, str] = {"32": "float32", "bf16": "bfloat16"}
MIN_SPEEDUP = 1.1
"""Minimum ratio of the time of a step in float32 to that in bfloat16, for which bfloat16 is chosen."""
_STEPS, _MIN_STEPS, _MAX_SECONDS = 7, 3, 10.0  # after which no further step is timed, if there are three
MIN_COSINE = 0.9
"""Minimum cosine similarity of the gradients of the first batch, for which bfloat16 is chosen."""
MAX_STEPS = 2 * (1 + _STEPS)
"""Maximum number of steps of a measurement. The first step of each precision is not counted."""


class Measurement(NamedTuple):
    """Measured steps in each precision.

    Attributes:
        seconds: durations of the timed steps by precision. The list is empty if the memory is too small for a step.
        cosine: cosine similarity of the gradients of the first batch in both precisions; None if one is not possible.
    """

    seconds: dict[Measured, list[float]]
    cosine: float | None


def choose_precision(
    module: SemiSupConModule, data: SemiSupConDataModule, folder: Path, options: PretrainOptions
) -> Measured:
    """Choose float32 or bfloat16 for a run by a measurement, and record the choice in the folder of the run.

    The measurement times whole steps of copies of the module on the first batches of the run, without the reading of
    the audio: three to seven steps in each precision, on the same batches. bfloat16 is chosen if the median of its
    times is lower by a factor of at least 1.1, and the cosine similarity of its gradient of the first batch to that in
    float32 is at least .9. If the memory is too small for one of the precisions, the other one is chosen. The module,
    the batches of the run and the states of the random generators of PyTorch, NumPy and Python do not change.

    Args:
        module: module before its first step.
        data: data module of the training batches.
        folder: folder of the run, locked by the caller.
        options: options of the run, which uses one process.

    Returns:
        The name of the precision, as for the option `trainer.precision`.

    Raises:
        InputError: if the memory is too small for a step in either precision.
    """
    seconds, cosine = measure_precisions(module, data, options)
    medians = {name: statistics.median(times) for name, times in seconds.items() if times}
    if not medians:
        raise InputError(
            "trainer.precision: expected enough memory for a step, got too little for float32 and bfloat16; pass a "
            "lower trainer.chunk_size or a lower batch_size"
        )
    if cosine is None:
        (only,) = medians
        write_checked_json(folder / PRECISION_FILE, {"precision": only, "seconds": seconds})
        logger.info("precision %s (%s), because the memory is too small for the other one", only, _WORDS[only])
        return only
    speedup = medians["32"] / medians["bf16"]
    chosen: Measured = "bf16" if speedup >= MIN_SPEEDUP and cosine >= MIN_COSINE else "32"
    record = {"precision": chosen, "speedup": speedup, "gradient_cosine": cosine, "seconds": seconds}
    limits = {"min_speedup": MIN_SPEEDUP, "min_gradient_cosine": MIN_COSINE}
    write_checked_json(folder / PRECISION_FILE, record | limits)
    logger.info(
        "precision %s (%s), chosen by a measurement: a step takes %.3g s in float32 and %.3g s in bfloat16; "
        "the cosine of the gradients is %.3f",
        chosen,
        _WORDS[chosen],
        medians["32"],
        medians["bf16"],
        cosine,
    )
    return chosen


def read_precision(folder: Path) -> Measured:
    """Return the precision that was chosen at the start of the run in a folder.

    Raises:
        InputError: if its record is missing or damaged.
    """
    path, advice = folder / PRECISION_FILE, "restore it, or train again in another folder"
    if not path.exists():
        raise InputError(
            f"out: expected {PRECISION_FILE} of a run with trainer.precision=auto in {folder}, got none; {advice}"
        )
    chosen = read_checked_json(path, "out", advice).get("precision")
    if chosen not in _NAMES:
        raise InputError(f"out: expected the precision 32 or bf16 in {path}, got {chosen!r}; {advice}")
    return chosen


def measure_precisions(module: SemiSupConModule, data: SemiSupConDataModule, options: PretrainOptions) -> Measurement:
    """Time steps in each precision, and compare the gradients. The module and the random states do not change.

    The arguments are as for `choose_precision`.
    """
    device = find_device(options)
    seconds: dict[Measured, list[float]] = {name: [] for name in _NAMES}
    gradients = []
    count = _STEPS
    with (
        random_states_kept(device),
        unreadable_kept(data.dataset),
        progress_bar(total=MAX_STEPS, desc="precision", unit="step") as bar,
    ):
        for name in _NAMES:  # one after the other, because both copies may not fit in the memory together
            try:
                gradient, seconds[name] = _measure(module, data, options, name, count, bar)
                gradients.append(gradient)
                count = len(seconds[name])
            except torch.OutOfMemoryError as error:
                logger.info("%s is not possible: %s", _WORDS[name], " ".join(str(error).split())[:200])
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
    cosine = float(torch.cosine_similarity(gradients[0], gradients[1], dim=0)) if len(gradients) == 2 else None
    return Measurement(seconds, cosine)


def _measure(
    module: SemiSupConModule,
    data: SemiSupConDataModule,
    options: PretrainOptions,
    name: Measured,
    count: int,
    bar: Any,
) -> tuple[torch.Tensor, list[float]]:
    """Return the gradient of the first batch in a precision, and the durations of up to `count` further steps."""
    device = find_device(options)
    trial = Trial(copy.deepcopy(module).to(device).train(), data, options, device, name)
    gradient = trial.compute_gradient(trial.read_batch(0))  # not timed, because memory is allocated in the first step
    bar.update()
    seconds: list[float] = []
    begin = time.monotonic()
    while len(seconds) < count:
        if len(seconds) >= _MIN_STEPS and time.monotonic() - begin > _MAX_SECONDS:
            break
        seconds.append(trial.compute_step(trial.read_batch(1 + len(seconds))))
        bar.update()
    return gradient, seconds
