"""Writing of the encoder and projector of a training, in a folder that is replaced atomically."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ssc_toolkit.encoders import ContrastiveModel, save_model
from ssc_toolkit.files import write_checked_json
from ssc_toolkit.options.run_settings import TRAINING

_HERE = -100  # AT_FDCWD: the paths are relative to the working folder
_EXCHANGE = 2  # RENAME_EXCHANGE


def write_model_folder(
    model: ContrastiveModel,
    folder: Path,
    training: Mapping[str, Any],
    mode_of: Path | None = None,
    copied: Iterable[Path] = (),
) -> Path:
    """Write the encoder and the projector of a model to a folder, which is replaced atomically if it exists.

    If the process is killed, the folder has either its previous content or the new one.

    Args:
        model: model with an encoder and a projector of this library.
        folder: the folder. Its parent exists and is locked by the caller.
        training: content of the file `training.json` in the folder, plain data.
        mode_of: folder whose permissions the files get; by default the permissions of a new folder.
        copied: files that are copied to the folder.

    Returns:
        The folder.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    save_model(model, temporary)
    write_checked_json(temporary / TRAINING, training)
    for path in copied:
        shutil.copyfile(path, temporary / path.name)
    mode = (mode_of or temporary).stat().st_mode & 0o666
    for path in temporary.iterdir():
        path.chmod(mode)  # safetensors makes its files readable by the owner only
    if folder.exists():
        exchange(temporary, folder)
        shutil.rmtree(temporary)
        return folder
    return temporary.rename(folder)


def exchange(one: Path, other: Path) -> None:
    """Exchange the names of two folders, atomically if the operating system can do so.

    Otherwise, three renames exchange them, and `other` does not exist for a moment.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return
    aside = one.with_name(f"{one.name}.old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)
