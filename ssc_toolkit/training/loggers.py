"""Loggers for TensorBoard and Weights & Biases."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger

from ssc_toolkit.errors import InputError
from ssc_toolkit.options import LogOptions

TENSORBOARD_FOLDER = "tensorboard"


def check_loggers(options: LogOptions) -> None:
    """Raise InputError if a requested logger is not installed."""
    for wanted, package, without in (
        (options.tensorboard, "tensorboard", "pass --logs.tensorboard=false"),
        (options.wandb is not None, "wandb", "omit --logs.wandb"),
    ):
        if wanted and importlib.util.find_spec(package) is None:
            raise InputError(
                f"logs.{package}: the package {package} is not installed; run pip install {package}, or {without}"
            )


def make_loggers(options: LogOptions, folder: Path, first_step: int) -> list[Logger]:
    """Return a list of the requested Lightning loggers.

    Args:
        options: options of the loggers.
        folder: folder of the run. Its name is used as the name of the run at Weights & Biases.
        first_step: first step to log. TensorBoard hides the values that an interrupted run logged at this step or
            later.
    """
    loggers: list[Logger] = []
    if options.tensorboard:
        loggers.append(TensorBoardLogger(folder, name="", version=TENSORBOARD_FOLDER, purge_step=first_step))
    if options.wandb is not None:
        # To read the git state, Weights & Biases would run programs that the repository of the working folder names.
        settings = {"disable_git": True}
        loggers.append(WandbLogger(name=folder.name, project=options.wandb, save_dir=folder, settings=settings))
    return loggers
