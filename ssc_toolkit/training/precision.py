"""Choice of the precision of a training by a measurement of a few steps."""

from __future__ import annotations

import copy
import logging
import statistics
import time
from pathlib import Path
from typing import Literal, NamedTuple

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
_PAIRS, _MIN_PAIRS, _MAX_SECONDS = 7, 3, 20.0  # after which no further pair is timed, if there are three
MIN_COSINE = 0.9
"""Minimum cosine similarity of the gradients of the first batch, for which bfloat16 is chosen."""
MAX_STEPS = 2 * (1 + _PAIRS)
"""Maximum number of steps of a measurement. The first step of each precision is not counted."""


class Measurement(NamedTuple):
    """Measured steps in each precision.

    Attributes:
        seconds: durations of the timed steps by precision.
        cosine: cosine similarity of the gradients of the first batch in both precisions.
    """

    seconds: dict[Measured, list[float]]
    cosine: float


def choose_precision(
    module: SemiSupConModule, data: SemiSupConDataModule, folder: Path, options: PretrainOptions
) -> Measured:
    """Choose float32 or bfloat16 for a run by a measurement, and record the choice in the folder of the run.

    The measurement times whole steps of copies of the module on the first batches of the run, without the reading of
    the audio: three to seven steps in each precision, in alternating order. bfloat16 is chosen if the median of its
    times is lower by a factor of at least 1.1, and the cosine similarity of its gradient of the first batch to that in
    float32 is at least .9. The module, the batches of the run and the states of the random
    generators of PyTorch, NumPy and Python do not change.

    Args:
        module: module before its first step.
        data: data module of the training batches.
        folder: folder of the run, locked by the caller.
        options: options of the run, which uses one process.

    Returns:
        The name of the precision, as for the option `trainer.precision`.
    """
    seconds, cosine = measure_precisions(module, data, options)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
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
    begin = time.monotonic()
    with (
        random_states_kept(device),
        unreadable_kept(data.dataset),
        progress_bar(total=MAX_STEPS, desc="precision", unit="step") as bar,
    ):
        trials = {name: Trial(copy.deepcopy(module).to(device).train(), data, options, device, name) for name in _NAMES}
        for pair in range(1 + _PAIRS):
            if pair > _MIN_PAIRS and time.monotonic() - begin > _MAX_SECONDS:
                break
            batch = trials["32"].read_batch(pair)
            for name in _NAMES if pair % 2 else _NAMES[::-1]:
                if pair:
                    seconds[name].append(trials[name].compute_step(batch))
                else:  # not timed, because memory is allocated in the first step
                    gradients.append(trials[name].compute_gradient(batch))
                bar.update()
    return Measurement(seconds, float(torch.cosine_similarity(gradients[0], gradients[1], dim=0)))
