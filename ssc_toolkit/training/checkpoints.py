"""Lightning plugin that writes checkpoints atomically, and checks of checkpoints and disk space."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import append_checksum, atomic_path, reading, verify_checksum
from ssc_toolkit.losses import CrossBatchMemory
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.run_settings import BEST_CHECKPOINT, CHECKPOINT, trained_steps

_ADVICE = "restore it from a copy, or delete it to start the run again from its first step"
_PARTS = {"epoch": int, "global_step": int, "loops": dict, "callbacks": dict, "state_dict": dict}
_LISTS = ("optimizer_states", "lr_schedulers")
_MOMENTS = 2
"""Number of values (moments) that the optimizer Adam stores for each parameter."""
_BESIDE = 16 * 2**20
"""Number of bytes of disk space that a run needs for its history, event files and plots."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning plugin that writes checkpoints atomically with a checksum, and loads them without running code.

    Checkpoints of earlier versions have no checksum and are loaded without verification.

    Raises:
        InputError: if a checkpoint cannot be written, or if a checkpoint to load is damaged. If writing fails, the
            previous checkpoint is not changed.
        KeyboardInterrupt: after Ctrl-C during writing. The previous checkpoint is not changed.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_path(path) as temporary:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
                append_checksum(temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError if the disk is full
            if isinstance(error.__context__, KeyboardInterrupt):  # torch.save also raises RuntimeError after Ctrl-C
                raise error.__context__ from None
            reason = str(error).splitlines()[0]
            raise InputError(
                f"out: the checkpoint {path} could not be written ({reason}); the previous one is unchanged. Free disk "
                "space and rerun the command to resume from it"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return load_checkpoint(Path(path), "cpu" if map_location is None else map_location)


def check_checkpoint(path: Path, module: nn.Module) -> int:
    """Check a checkpoint of the LightningModule `module`, and return the number of completed optimizer steps.

    Raises:
        InputError: if the checkpoint is damaged, or contains the weights of another model.
    """
    content = load_checkpoint(path, "cpu")
    with reading("out", path, _ADVICE):
        parts = _PARTS | dict.fromkeys(_LISTS, list)
        if not isinstance(content, dict) or not all(isinstance(content.get(name), parts[name]) for name in parts):
            raise ValueError("it is not a checkpoint of a training")
    if _shapes(content["state_dict"]) != _shapes(module.state_dict()):
        raise InputError(f"out: {path} is a checkpoint of another model; choose another folder, or delete the file")
    return content["global_step"]


def check_steps(folder: Path, steps: int) -> None:
    """Raise InputError if a run has completed more steps than it shall have.

    The steps are those of its checkpoint, or of its encoder if the checkpoint was deleted. Weights are not read, and
    the checksum is not verified.

    Args:
        folder: folder of the run. It need not exist.
        steps: number of steps that the run shall have.

    Raises:
        InputError: if the run has completed more steps, or if the checkpoint cannot be read.
    """
    path = folder / CHECKPOINT
    if path.exists():
        with reading("out", path, _ADVICE):
            done = torch.load(path, map_location="meta", weights_only=True, mmap=True)["global_step"]
            if not isinstance(done, int):
                raise ValueError("it is not a checkpoint of a training")
    else:
        done = trained_steps(folder) or 0
    if steps < done:
        raise InputError(
            f"steps: expected at least {done}, the number of steps that the run in {folder} has completed, got "
            f"{steps}; the run is unchanged"
        )


def load_checkpoint(path: Path, device: Any, argument: str = "out", advice: str = _ADVICE) -> dict[str, Any]:
    """Return the content of a checkpoint after a check of its checksum. No code in it is run.

    Args:
        path: path of the checkpoint.
        device: device of the tensors.
        argument: name of the argument that gave the path, for the error message.
        advice: what the user can do if the file is damaged.

    Raises:
        InputError: if the file is damaged, or reading it could run code.
    """
    verify_checksum(path, argument, advice, required=False)
    with reading(argument, path, advice):
        return torch.load(path, map_location=device, weights_only=True)


def check_best_checkpoint(path: Path) -> None:
    """Raise InputError if the best checkpoint of a run exists and is damaged."""
    if path.exists():
        verify_checksum(path, "out", "restore it, or delete it to select it from the following steps")


def needed_space(folder: Path, module: nn.Module, options: PretrainOptions, done: int = 0) -> dict[str, int]:
    """Return the disk space in bytes that a run needs in addition to its existing files, by the use of the space.

    The previous checkpoint is kept until the next one is complete.

    Args:
        folder: folder of the run. It need not exist.
        module: the LightningModule.
        options: options of the run.
        done: number of completed steps.
    """
    names = (CHECKPOINT,) if options.validation.monitor is None else (CHECKPOINT, BEST_CHECKPOINT)
    keep_every = options.keep_checkpoints_every or options.steps + 1
    kept = max(0, options.steps // keep_every - done // keep_every)
    count = kept + 1 + sum(not (folder / name).exists() for name in names)
    name = "1 checkpoint" if count == 1 else f"{count} checkpoints"
    return {name: count * estimate_checkpoint_bytes(module), "encoder": model_bytes(module), "logs": _BESIDE}


def check_space(folder: Path, module: nn.Module, options: PretrainOptions, done: int = 0) -> None:
    """Raise InputError unless the disk has the space of `needed_space`."""
    needed = sum(needed_space(folder, module, options, done).values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"out: expected {needed / 2**20:.0f} MB of free space in {folder} for checkpoints and encoder, got "
            f"{free / 2**20:.0f} MB; free disk space or choose another folder"
        )


def estimate_checkpoint_bytes(module: nn.Module) -> int:
    """Estimate the size in bytes of a checkpoint of a module that is trained with Adam."""
    queues = [part for part in module.modules() if isinstance(part, CrossBatchMemory)]
    width = max((part.out_features for part in module.modules() if isinstance(part, nn.Linear)), default=0)
    moments = _MOMENTS * _bytes(module.parameters())
    average = model_bytes(module) if getattr(module, "average", None) is not None else 0
    return model_bytes(module) + moments + average + sum(4 * queue.size * width for queue in queues)


def model_bytes(module: nn.Module) -> int:
    """Return the size in bytes of the parameters and buffers of a module."""
    return _bytes(value for value in module.state_dict().values() if isinstance(value, torch.Tensor))


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in state.items() if isinstance(weight, torch.Tensor)}
