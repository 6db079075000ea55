"""Checkpoints that are whole or not there, and room for them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import append_checksum, atomic_path, reading, verify_checksum
from ssc_toolkit.losses import CrossBatchMemory

CHECKPOINT = "last.ckpt"
_ADVICE = "restore it from a copy, or delete it to begin this run again from its first step"
_PARTS = {"epoch": int, "global_step": int, "loops": dict, "callbacks": dict, "state_dict": dict}
_LISTS = ("optimizer_states", "lr_schedulers")
_MOMENTS = 2
"""Of each parameter, that Adam keeps."""
_BESIDE = 16 * 2**20
"""Bytes for all that is not weights: history, event files, pictures."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written whole or not at all, with a checksum, and loaded without running what they hold.

    Checkpoints of earlier versions, which have no checksum, are loaded without that check.

    Raises:
        InputError: if one cannot be written, and the one before it is as it was; if one is damaged.
        KeyboardInterrupt: as much, after Ctrl-C.
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
        except (OSError, RuntimeError) as error:  # torch's writer makes a RuntimeError of a full disk
            if isinstance(error.__context__, KeyboardInterrupt):  # and of Ctrl-C
                raise error.__context__ from None
            reason = str(error).splitlines()[0]
            raise InputError(
                f"out: the checkpoint {path} could not be written ({reason}); the one before is as it was: make room, "
                "and the same command goes on from it"
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return _load(Path(path), "cpu" if map_location is None else map_location)


class FiniteWeights(pl.Callback):
    """Stops the training, instead of saving, when the weights are no finite numbers.

    Looked at are the parameters and the statistics of batch normalisation, whenever a checkpoint is about to be
    written and at no other time; other buffers, such as a mask, may hold infinity on purpose.

    Raises:
        InputError: before anything is written; the checkpoint before is as it was.
    """

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if not _is_finite(pl_module):
            raise InputError(
                f"the weights are no finite numbers after step {trainer.global_step}: lower learning_rate or raise "
                "temperature, and choose another folder; the last checkpoint is as it was"
            )


def check_checkpoint(path: Path, module: nn.Module) -> int:
    """Return the step that a checkpoint was written at.

    Raises:
        InputError: unless it is whole and holds the weights of this model.
    """
    content = _load(path, "cpu")
    with reading("out", path, _ADVICE):
        parts = _PARTS | dict.fromkeys(_LISTS, list)
        if not isinstance(content, dict) or not all(isinstance(content.get(name), parts[name]) for name in parts):
            raise ValueError("it is no checkpoint of a training")
    if _shapes(content["state_dict"]) != _shapes(module.state_dict()):
        raise InputError(f"out: {path} is a checkpoint of another model; choose another folder or delete it")
    return content["global_step"]


def _load(path: Path, device: Any) -> dict[str, Any]:
    verify_checksum(path, "out", _ADVICE, required=False)
    with reading("out", path, _ADVICE):
        return torch.load(path, map_location=device, weights_only=True)


def check_space(folder: Path, module: nn.Module) -> None:
    """Raise InputError unless there is room for a checkpoint beside the one before, and for the encoder."""
    needed = checkpoint_bytes(module) * (1 if (folder / CHECKPOINT).exists() else 2) + _model_bytes(module) + _BESIDE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(
            f"out: {folder} has {free / 2**20:.0f} MB free, checkpoints and encoder need {needed / 2**20:.0f} MB; make "
            "room or choose another folder"
        )


def checkpoint_bytes(module: nn.Module) -> int:
    """Size of a checkpoint under Adam, estimated before the first one is written."""
    queues = [part for part in module.modules() if isinstance(part, CrossBatchMemory)]
    width = max((part.out_features for part in module.modules() if isinstance(part, nn.Linear)), default=0)
    moments = _MOMENTS * _bytes(module.parameters())
    return _model_bytes(module) + moments + sum(4 * queue.size * width for queue in queues)


def _is_finite(module: nn.Module) -> bool:
    norms = (part for part in module.modules() if isinstance(part, _BatchNorm))
    learned = [*module.parameters(), *(value for norm in norms for value in norm.buffers())]
    return bool(torch.stack([value.isfinite().all() for value in learned]).all())  # one look at the device


def _model_bytes(module: nn.Module) -> int:
    return _bytes(value for value in module.state_dict().values() if isinstance(value, torch.Tensor))


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _shapes(state: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in state.items() if isinstance(weight, torch.Tensor)}
