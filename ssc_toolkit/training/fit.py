"""The training itself: Lightning's trainer with all that belongs to a run."""

from __future__ import annotations

import errno
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import ModelCheckpoint

from ssc_toolkit.errors import InputError
from ssc_toolkit.training.checkpoints import CHECKPOINT, AtomicCheckpointIO, check_checkpoint
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.history import History
from ssc_toolkit.training.loggers import make_loggers
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.options import PRECISIONS, LogOptions, TrainerOptions
from ssc_toolkit.training.preemption import EXIT_STATUS, StopOnSigterm
from ssc_toolkit.training.progress_line import StepProgress

logger = logging.getLogger(__name__)

PICTURES_FOLDER = "pictures"


def is_first_process() -> bool:
    """Whether this is the process that writes, before there is a trainer to ask: by what launchers tell it."""
    return not getattr(rank_zero_only, "rank", 0)


def fit(
    module: SemiSupConModule,
    data: SemiSupConDataModule,
    folder: Path,
    steps: int,
    checkpoint_every: int,
    history: History,
    title: str,
    trainer_options: TrainerOptions,
    logs: LogOptions,
) -> None:
    """Train from the checkpoint in the folder, or from the start, to the last step.

    Raises:
        InputError: for a loss that is no number, a worker that died, a file that cannot be written.
        SystemExit: with 143, after SIGTERM; what is done is saved.
        KeyboardInterrupt: after Ctrl-C.
    """
    checkpoint = folder / CHECKPOINT
    done = 0
    if checkpoint.exists():
        done = check_checkpoint(checkpoint, module)
        if is_first_process():
            logger.info("going on from %s", checkpoint)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    stop = StopOnSigterm(checkpoint)
    callbacks: list[pl.Callback] = [history, StepProgress(title, history), stop]
    if logs.pictures_every:
        from ssc_toolkit.training.pictures import MatrixPictures

        callbacks.append(MatrixPictures(folder / PICTURES_FOLDER, logs.pictures_every))
    every = {"every_n_train_steps": checkpoint_every, "enable_version_counter": False}
    if trainer_options.compile:
        module.model.compile()
    with warnings.catch_warnings(), _in_plain_words(data):
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = pl.Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator=trainer_options.accelerator,
            devices=trainer_options.devices,
            num_nodes=trainer_options.num_nodes,
            strategy=trainer_options.strategy,
            sync_batchnorm=trainer_options.sync_batchnorm,
            precision=PRECISIONS[trainer_options.precision],  # type: ignore[arg-type]
            accumulate_grad_batches=trainer_options.accumulate,
            callbacks=[*callbacks, ModelCheckpoint(folder, checkpoint.stem, **every)],  # type: ignore[arg-type]
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
            logger=make_loggers(logs, folder, done + 1) or False,
            log_every_n_steps=logs.every,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(module, data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
        if not stop.stopped:
            trainer.save_checkpoint(checkpoint)  # the last step need not be a multiple of `checkpoint_every`
    if stop.stopped:
        if trainer.is_global_zero:
            logger.warning(
                "stopped by SIGTERM after step %d of %d; saved: the same command goes on", trainer.global_step, steps
            )
        raise SystemExit(EXIT_STATUS)


@contextmanager
def _in_plain_words(data: SemiSupConDataModule) -> Iterator[None]:
    """What a user can mend, said in one line: a worker that died, a disk that is full."""
    try:
        yield
    except RuntimeError as error:
        found = re.match(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (.*)", str(error))
        if found is None:
            raise
        pids, fate = found.groups()
        files = [data.read_by(int(pid)) for pid in pids.split(",")]
        read = ", ".join(file for file in files if file is not None) or "no file yet"
        raise InputError(
            f"workers: a process that reads audio (pid {pids}) {fate.strip().rstrip('.')}; it was reading {read}. If "
            "memory ran out, take fewer workers; otherwise look at the file. The same command goes on from the last "
            "checkpoint"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InputError(
            f"out: {error.strerror} while writing {error.filename or 'to the folder'}; the last checkpoint is as it "
            "was: make room, and the same command goes on from it"
        ) from error
