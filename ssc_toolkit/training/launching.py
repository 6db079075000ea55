"""Several processes: whether their number agrees with the launcher, and what is said when one dies."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ssc_toolkit.errors import InputError
from ssc_toolkit.training.options import TrainerOptions

_SIZES = ("WORLD_SIZE", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
"""Variables by which launchers tell how many processes they started; the first one that is set counts."""
_OF_A_PROCESS = ("LOCAL_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "JSM_NAMESPACE_SIZE", "OMPI_COMM_WORLD_SIZE")
"""Variables of launchers that start every process, and not one for each machine."""
_INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs within which one starts processes by hand, for Lightning too."""
_BROKEN = re.compile(
    r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket|rendezvous|tcpstore|process group", re.IGNORECASE
)
_LAUNCHER = "lightning_fabric.strategies.launchers.subprocess_script"


def check_launcher(options: TrainerOptions) -> None:
    """Raise InputError unless the launcher, if there is one, started as many processes as the options tell of."""
    name = next((name for name in _SIZES if name in os.environ and not _is_by_hand(name)), None)
    if name is None:
        return
    text = os.environ[name]
    expected = options.devices * options.num_nodes
    if text.strip() == str(expected):
        return
    if not any(variable in os.environ for variable in _OF_A_PROCESS) and text.strip() == str(options.num_nodes):
        return  # one process for each machine was started, which starts the others
    raise InputError(
        f"trainer.devices: {name}={text} in the environment tells of a launcher's processes, but trainer.devices x "
        f"trainer.num_nodes is {options.devices} x {options.num_nodes} = {expected}; set --trainer.devices to the "
        f"processes of each machine and --trainer.num_nodes to the machines, or unset {name} to train in one process"
    )


def broken_connection(error: BaseException | None) -> str | None:
    """Return what torch says if an error came of the connection to another process, else None."""
    while error is not None:
        is_torch = isinstance(error, torch.distributed.DistError)
        if is_torch or (isinstance(error, RuntimeError) and _in_group() and _BROKEN.search(str(error))):
            return " ".join(str(error).split())[:200]
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def death_of_child_said() -> Iterator[None]:
    """Let Lightning's launcher say that a process it started died, before it ends all of them."""
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


class _InOurWords(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"PID (\d+) terminated with code (-?\d+)", record.getMessage())
        if found is not None:
            logging.getLogger("ssc_toolkit").error(
                "trainer: a process of this training died (pid %s, status %s); ending the others. The same command "
                "goes on from the last checkpoint",
                *found.groups(),
            )


def _is_by_hand(name: str) -> bool:
    return name == "SLURM_NTASKS" and os.environ.get("SLURM_JOB_NAME") in _INTERACTIVE


def _in_group() -> bool:
    return torch.distributed.is_available() and (torch.distributed.is_initialized() or "LOCAL_RANK" in os.environ)
