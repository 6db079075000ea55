"""Options of the command `ssc-toolkit export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json
from ssc_toolkit.options.run_settings import (
    BEST_CHECKPOINT,
    CHECKPOINT,
    ENCODER_FOLDER,
    EXPORTED_FROM,
    SETTINGS,
    TRAINING,
    kept_checkpoint,
    kept_steps,
    read_settings,
)
from ssc_toolkit.paths import missing_hint, user_path


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `export`, which saves the encoder and the projector of a checkpoint of a training run.

    The run may be complete, interrupted, or still training. The output folder has the format of the folder `encoder/`
    of a complete run. If the run averages its weights (`optimizer.ema_decay`), the averaged weights are saved.

    Args:
        run: output folder of `pretrain`.
        out: output folder. An encoder that this command wrote to it earlier is replaced.
        checkpoint: "last"; "best", the checkpoint with the best value of a measure on the validation set; or the step
            of a checkpoint that the option `keep_checkpoints_every` of `pretrain` kept.
    """

    run: str
    out: str
    checkpoint: int | Literal["best", "last"] = "last"

    @property
    def path(self) -> Path:
        """Path of the file of the checkpoint."""
        folder = user_path(self.run, "run")
        if isinstance(self.checkpoint, int):
            return kept_checkpoint(folder, self.checkpoint)
        return folder / (BEST_CHECKPOINT if self.checkpoint == "best" else CHECKPOINT)

    def check(self) -> None:
        """Raise InputError if the run or the checkpoint does not exist, or if the output folder has other content."""
        folder = user_path(self.run, "run")
        if not (folder / SETTINGS).is_file():
            hint = missing_hint(folder) or "; pass the output folder of pretrain"
            raise InputError(f"run: expected the folder of a training run, with {SETTINGS}, got {folder}{hint}")
        read_settings(folder, "run")
        if self.checkpoint not in ("best", "last") and not isinstance(self.checkpoint, int):
            raise InputError(f"checkpoint: expected best, last or a step, got {self.checkpoint!r}")
        if not self.path.is_file():
            names = {CHECKPOINT: "last", BEST_CHECKPOINT: "best"}
            found = [name for file, name in names.items() if (folder / file).is_file()]
            known = ", ".join([*found, *map(str, kept_steps(folder))]) or "none, because no checkpoint is saved yet"
            raise InputError(f"checkpoint: expected one that {folder} contains ({known}), got {self.checkpoint}")
        out = user_path(self.out, "out")
        if out.resolve() == (folder / ENCODER_FOLDER).resolve():
            raise InputError(f"out: {out} is the folder of the encoder of the run itself; choose another folder")
        check_output(out)


def check_output(out: Path) -> None:
    """Raise InputError unless an output folder of `export` is missing or empty, or contains an exported encoder."""
    if out.is_dir() and any(out.iterdir()):
        path = out / TRAINING
        content = read_checked_json(path, "out", "choose another folder") if path.is_file() else {}
        if EXPORTED_FROM not in content:
            raise InputError(f"out: {out} is not empty and contains no exported encoder; choose another folder")
    elif out.exists() and not out.is_dir():
        raise InputError(f"out: {out} is a file; choose a folder")
