"""Estimate of the time, memory and disk space of a training, from a few timed steps."""

from __future__ import annotations

import copy
from pathlib import Path

import torch

from ssc_toolkit.data import JoinedDataset
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.training import AUTO
from ssc_toolkit.preflight import (
    Estimate,
    check_memory,
    current_memory,
    format_audio,
    format_seconds,
    peak_memory,
)
from ssc_toolkit.training.checkpoints import estimate_checkpoint_bytes, needed_space
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.learning_rate import STEPS as SEARCH_STEPS
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.precision import MAX_STEPS as PRECISION_STEPS
from ssc_toolkit.training.trial import Trial, find_device, random_states_kept, unreadable_kept
from ssc_toolkit.training.validation import ValidationSet

_WORKER_BYTES = 150 * 2**20
_BYTES_PER_SECOND = 300 * 2**20  # at which checkpoints are written
_CHECKPOINT_SECONDS = 0.03
_START_SECONDS = 2.0  # of the trainer and the loggers
_ADVICE = "set trainer.chunk_size, or choose a smaller batch_size"


def estimate_training(
    module: SemiSupConModule,
    data: SemiSupConDataModule,
    options: PretrainOptions,
    folder: Path,
    done: int = 0,
    validation_set: ValidationSet | None = None,
) -> Estimate:
    """Estimate the time, memory and disk space of a training from a few timed steps.

    The steps train a copy of the module on the first batches. The module, the data and the states of the random
    generators of PyTorch, NumPy and Python do not change, and nothing is written.

    Args:
        module: module to train.
        data: data module of the training batches.
        options: options of the training.
        folder: folder of the run. It need not exist.
        done: number of steps that are done.
        validation_set: validation set, or None without validation. Its audio is read and kept.

    Raises:
        InputError: if a step needs more memory than the machine or the GPU has. The steps are not timed then.
    """
    device = find_device(options)
    with random_states_kept(device), unreadable_kept(data.dataset):
        trial = Trial(copy.deepcopy(module).to(device).train(), data, options, device)
        at_once = options.trainer.chunk_size or options.batch_size
        needed = trial.measure_bytes(min(at_once, options.batch_size))
        check_memory(current_memory() + (0 if device.type == "cuda" else needed), _ADVICE)
        if device.type == "cuda":
            check_memory(needed, _ADVICE, torch.cuda.get_device_properties(device).total_memory)
        step = trial.time_step()
        validation = 0.0 if validation_set is None else trial.time_validation(validation_set)
    return _summarize(module, data, options, folder, done, step, validation, device)


def _summarize(
    module: SemiSupConModule,
    data: SemiSupConDataModule,
    options: PretrainOptions,
    folder: Path,
    done: int,
    step: float,
    validation: float,
    device: torch.device,
) -> Estimate:
    """Return the estimate, given the seconds of a step and of a measurement on the validation set."""
    steps = max(0, options.steps - done)
    saving = (steps // options.checkpoint_every + 1) * (
        estimate_checkpoint_bytes(module) / _BYTES_PER_SECOND + _CHECKPOINT_SECONDS
    )
    trial_steps = 0 if done else 2 * SEARCH_STEPS * (options.learning_rate == AUTO)
    if options.trainer.precision == AUTO and not done:
        trial_steps += PRECISION_STEPS
    measuring = (steps // options.validation.every + 1) * validation if steps and validation else 0.0
    datasets = data.dataset.datasets if isinstance(data.dataset, JoinedDataset) else [data.dataset]
    audio = sum(int(part.lengths.sum()) / part.sample_rate for part in datasets)
    batch = 4 * options.batch_size * options.views * datasets[0].view_length
    work = f"{format_audio(len(data.dataset), audio)}, {steps} steps of {options.batch_size} tracks"
    if options.trainer.devices * options.trainer.num_nodes > 1:
        work += " per process"
    if validation:
        work += f", {format_seconds(measuring)} of it for validation" if measuring > 1 else ""
    disk = needed_space(folder, module, options, done)
    return Estimate(
        work,
        _START_SECONDS + (trial_steps + steps) * step + saving + measuring,
        max(peak_memory(), current_memory()) + options.workers * (_WORKER_BYTES + 2 * batch),
        {folder: sum(disk.values())},
        disk,
        gpu_bytes=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )
