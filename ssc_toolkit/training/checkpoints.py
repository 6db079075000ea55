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
from ssc_toolkit.options.run_settings import BEST_CHECKPOINT, CHECKPOINT

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
        return _load(Path(path), "cpu" if map_location is None else map_location)


def check_checkpoint(path: Path, module: nn.Module) -> int:
    """Check a checkpoint of the LightningModule `module`, and return the number of completed optimizer steps.

    Raises:
        InputError: if the checkpoint is damaged, or contains the weights of another model.
    """
    content = _load(path, "cpu")
    with reading("out", path, _ADVICE):
        parts = _PARTS | dict.fromkeys(_LISTS, list)
        if not isinstance(content, dict) or not all(isinstance(content.get(name), parts[name]) for name in parts):
            raise ValueError("it is not a checkpoint of a training")
    if _shapes(content["state_dict"]) != _shapes(module.state_dict()):
        raise InputError(f"out: {path} is a checkpoint of another model; choose another folder, or delete the file")
    return content["global_step"]


def _load(path: Path, device: Any) -> dict[str, Any]:
    verify_checksum(path, "out", _ADVICE, required=False)
    with reading("out", path, _ADVICE):
        return torch.load(path, map_location=device, weights_only=True)


def check_best_checkpoint(path: Path) -> None:
    """Raise InputError if the best checkpoint of a run exists and is damaged."""
    if path.exists():
        verify_checksum(path, "out", "restore it, or delete it to select it from the following steps")


def check_space(folder: Path, module: nn.Module, *, is_monitored: bool = False) -> None:
    """Raise InputError unless the disk has space for the encoder and the next checkpoints of a run.

    The previous checkpoint is kept until the next one is complete.

    Args:
        folder: folder of the run.
        module: the LightningModule.
        is_monitored: whether the best checkpoint is saved as well.
    """
    names = (CHECKPOINT, BEST_CHECKPOINT) if is_monitored else (CHECKPOINT,)
    checkpoints = 1 + sum(not (folder / name).exists() for name in names)
    needed = estimate_checkpoint_bytes(module) * checkpoints + _model_bytes(module) + _BESIDE
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
    return _model_bytes(module) + moments + sum(4 * queue.size * width for queue in queues)


def _model_bytes(module: nn.Module) -> int:
    return _bytes(value for value in module.state_dict().values() if isinstance(value, torch.Tensor))


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in state.items() if isinstance(weight, torch.Tensor)}
