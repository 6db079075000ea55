"""Where else the numbers go: TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from ssc_toolkit.errors import InputError
from ssc_toolkit.training.options import LogOptions

TENSORBOARD_FOLDER = "tensorboard"


def check_loggers(options: LogOptions) -> None:
    """Raise InputError for a logger that is not installed."""
    for wanted, package, without in (
        (options.tensorboard, "tensorboard", "give --logs.tensorboard=false"),
        (options.wandb is not None, "wandb", "leave --logs.wandb out"),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise InputError(
                f"logs.{package}: the package {package} is not installed; pip install {package}, or {without}"
            )


def make_loggers(options: LogOptions, folder: Path, first_step: int) -> list[Logger]:
    """The loggers that are asked for.

    Args:
        options: what is asked for.
        folder: of the run, whose name is the name of the run at Weights & Biases.
        first_step: that will be logged; what a killed run logged from there on is not shown.
    """
    loggers: list[Logger] = []
    if options.tensorboard:
        loggers.append(TensorBoardLogger(folder, name="", version=TENSORBOARD_FOLDER, purge_step=first_step))
    if options.wandb is not None:
        # Without its look at git, which would run programs that the working folder's repository names.
        settings = {"disable_git": True}
        loggers.append(WandbLogger(name=folder.name, project=options.wandb, save_dir=folder, settings=settings))
    return loggers
