"""Checks of launcher (such as torchrun or SLURM) and devices, and errors of training in several processes."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from ssc_toolkit.errors import InputError
from ssc_toolkit.options import TrainerOptions
from ssc_toolkit.options.training import AUTO
from ssc_toolkit.processes import restored_variables

_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Environment variables in which launchers store the number of processes. The first one that is set is used."""
_OF_A_PROCESS = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE")
"""Environment variables of launchers that start all processes, not only one per machine."""
_SET_BY_LIGHTNING = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")
"""Environment variables that Lightning sets in this process when it starts the other processes."""
_INTERACTIVE = ("bash", "interactive")
"""Names of interactive SLURM jobs, in which users start the processes themselves. Lightning uses the same names."""
_BROKEN = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|rendezvous|tcpstore|process group", re.IGNORECASE
)
_LAUNCHER = "lightning_fabric.strategies.launchers.subprocess_script"


def check_launcher(options: TrainerOptions) -> None:
    """Raise InputError if a launcher started another number of processes than the options specify."""
    name = next((name for name in _SIZES if name in os.environ and not _is_by_hand(name)), None)
    if name is None:
        return
    text = os.environ[name]
    expected = options.devices * options.num_nodes
    if text.strip() == str(expected):
        return
    if not any(variable in os.environ for variable in _OF_A_PROCESS) and text.strip() == str(options.num_nodes):
        return  # the launcher started one process per machine, which starts the others
    raise InputError(
        f"trainer.devices: expected trainer.devices x trainer.num_nodes to be the number of processes that the "
        f"launcher started, {name}={text}, got {options.devices} x {options.num_nodes} = {expected}; set "
        "--trainer.devices to the number of processes per machine and --trainer.num_nodes to the number of machines, "
        f"or unset {name} to train in one process"
    )


def check_devices(options: TrainerOptions) -> None:
    """Raise InputError if the machine lacks the devices that the options specify."""
    gpus = torch.cuda.device_count()
    on_gpu = options.accelerator == "gpu" or (options.accelerator == "auto" and gpus > 0)
    if options.accelerator == "gpu" and not gpus:
        raise InputError(
            "trainer.accelerator: expected a GPU that PyTorch can use, got none; use --trainer.accelerator=cpu"
        )
    if on_gpu and options.devices > gpus:
        raise InputError(f"trainer.devices: expected at most {gpus}, the number of GPUs, got {options.devices}")
    if options.precision == "fp16" and not on_gpu:
        raise InputError("trainer.precision: expected bf16 or 32 on a CPU, got fp16, which needs a GPU")
    if options.precision == AUTO and options.accelerator != "cpu" and not gpus and torch.backends.mps.is_available():
        raise InputError("trainer.precision: expected 32 or bf16 on an Apple GPU, got auto; or use a CPU")


def find_broken_connection(error: BaseException | None) -> str | None:
    """Return the message of PyTorch if `error` was caused by a lost connection to another process, otherwise None."""
    while error is not None:
        is_torch = isinstance(error, torch.distributed.DistError)
        if is_torch or (isinstance(error, RuntimeError) and _in_group() and _BROKEN.search(str(error))):
            return " ".join(str(error).split())[:200]
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def report_child_death() -> Iterator[None]:
    """Context manager that logs an error if a process that Lightning started dies."""
    launcher = logging.getLogger(_LAUNCHER)
    before = launcher.level
    handler = _InOurWords()
    launcher.addHandler(handler)
    launcher.setLevel(logging.INFO)
    launcher.propagate = False
    try:
        yield
    finally:
        launcher.removeHandler(handler)
        launcher.setLevel(before)
        launcher.propagate = True


def restore_launcher_variables() -> AbstractContextManager[None]:
    """Return a context manager that restores the environment variables that Lightning sets for the other processes.

    Otherwise, later trainings in this process would read them.
    """
    return restored_variables(_SET_BY_LIGHTNING)


class _InOurWords(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"PID (\d+) terminated with code (-?\d+)", record.getMessage())
        if found is not None:
            logging.getLogger("ssc_toolkit").error(
                "trainer: a process of this training died (pid %s, status %s); the other processes are ended. Rerun "
                "the command to resume from the last checkpoint",
                *found.groups(),
            )


def _is_by_hand(name: str) -> bool:
    return name == "SLURM_NTASKS" and os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE


def _in_group() -> bool:
    return torch.distributed.is_available() and (torch.distributed.is_initialized() or "LOCAL_RANK" in os.environ)
