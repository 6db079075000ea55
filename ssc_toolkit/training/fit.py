"""Training with Lightning's trainer."""

from __future__ import annotations

import errno
import logging
import re
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.utilities.exceptions import MisconfigurationException
from lightning_fabric.utilities.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.exceptions import SIGTERMException

from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.encoder import as_encoder
from ssc_toolkit.options.run_settings import BEST_CHECKPOINT, CHECKPOINT
from ssc_toolkit.training.callbacks.best_checkpoint import BestCheckpoint
from ssc_toolkit.training.callbacks.collapse import CollapseWarning
from ssc_toolkit.training.callbacks.finite_weights import FiniteWeights
from ssc_toolkit.training.callbacks.frozen_encoder import FrozenEncoder
from ssc_toolkit.training.callbacks.history import History
from ssc_toolkit.training.callbacks.label_weight import LabelWeight
from ssc_toolkit.training.callbacks.progress_line import StepProgress
from ssc_toolkit.training.callbacks.saving import SaveCheckpoints
from ssc_toolkit.training.callbacks.stopping import TERMINATED, StopOnSignal
from ssc_toolkit.training.callbacks.validation import Validation
from ssc_toolkit.training.checkpoints import AtomicCheckpointIO
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.launching import find_broken_connection, report_child_death, restore_launcher_variables
from ssc_toolkit.training.loggers import make_loggers
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.validation import ValidationSet

logger = logging.getLogger(__name__)

PICTURES_FOLDER = "pictures"
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
"""Names of the precisions in Lightning, by their names in this library."""
_CAUSES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C", None: "a signal to another process"}


def is_first_process() -> bool:
    """Return whether this process has rank 0 and therefore writes the files of the run.

    The rank is read from the environment variables of the launcher, because the trainer may not exist yet.
    """
    return not getattr(rank_zero_only, "rank", 0)


def fit(
    module: SemiSupConModule,
    data: SemiSupConDataModule,
    folder: Path,
    options: PretrainOptions,
    history: History,
    first_step: int = 0,
    validation_set: ValidationSet | None = None,
) -> dict[str, Any]:
    """Train until the last step, starting from the checkpoint in the folder of the run if there is one.

    Args:
        module: module to train.
        data: data module of the training batches.
        folder: folder of the run.
        options: number of steps, title, and options of the trainer and the loggers.
        history: callback that records loss and other values.
        first_step: step of the checkpoint in the folder, as `check_checkpoint` returns it, or 0 without a checkpoint.
        validation_set: validation set, or None without validation.

    Returns:
        The summary of the training as plain data: why it ended, the last step, and the validation.

    Raises:
        InputError: if the loss or the weights are NaN or infinite, if a worker process dies, or if a file cannot be
            written.
        SystemExit: with status 143 after SIGTERM. The current step is completed and saved first.
        KeyboardInterrupt: after Ctrl-C. The current step is completed and saved first. A second Ctrl-C stops
            immediately without saving.
    """
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists() and is_first_process():
        logger.info("resuming from %s", checkpoint)
    stop = StopOnSignal(checkpoint)
    validation, best = _make_validation(folder, options, history, validation_set)
    callbacks: list[pl.Callback] = [
        *([] if module.average is None else [module.average]),
        history,
        *_freeze_encoder(options),
        *_schedule_label_weight(options, history),
        CollapseWarning(options.logs.every, history.record),
        *(callback for callback in (validation, best) if callback is not None),
        StepProgress(options.title, history, validation, options.validation.monitor or "val_loss"),
        stop,
        FiniteWeights(),
    ]
    if options.logs.pictures_every:
        from ssc_toolkit.training.pictures import MatrixPictures

        callbacks.append(MatrixPictures(folder / PICTURES_FOLDER, options.logs.pictures_every))
    callbacks.append(SaveCheckpoints(checkpoint, options.checkpoint_every, options.keep_checkpoints_every))
    if options.trainer.compile:
        module.model.compile()
    with restore_launcher_variables(), report_child_death(), explain_errors(data):
        loggers = make_loggers(options.logs, folder, first_step + 1)
        trainer = make_trainer(folder, callbacks, options, options.steps, loggers)
        run_trainer(trainer, module, data, checkpoint if checkpoint.exists() else None)
    if stop.stopped or stop.signal is not None:  # the signal may come after the last step
        if trainer.is_global_zero:
            logger.warning(
                "stopped by %s after step %d of %d; the step is saved; rerun the command to resume",
                _CAUSES[stop.signal],
                trainer.global_step,
                options.steps,
            )
        if stop.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)
    return _summarize(trainer, validation, best)


def _freeze_encoder(options: PretrainOptions) -> list[pl.Callback]:
    """Return a list with the callback that freezes the encoder in the first steps, or an empty list."""
    steps = as_encoder(options.encoder).frozen_steps
    return [FrozenEncoder(steps)] if steps else []


def _schedule_label_weight(options: PretrainOptions, history: History) -> list[pl.Callback]:
    """Return a list with the callback that changes the weight of label positives, or an empty list."""
    end = options.loss.label_weight_end
    return [] if end is None else [LabelWeight(options.loss.label_weight, end, options.logs.every, history.record)]


def _make_validation(
    folder: Path, options: PretrainOptions, history: History, validation_set: ValidationSet | None
) -> tuple[Validation | None, BestCheckpoint | None]:
    """Return the callbacks of the validation and of the best checkpoint, or None for those that are not used."""
    if validation_set is None:
        return None, None
    own = options.validation
    validation = Validation(validation_set, own.every, history.record)
    if own.monitor is None:
        return validation, None
    measured_on = validation_set.describe()
    return validation, BestCheckpoint(folder / BEST_CHECKPOINT, validation, own.monitor, own.patience, measured_on)


def _summarize(trainer: pl.Trainer, validation: Validation | None, best: BestCheckpoint | None) -> dict[str, Any]:
    """Return the summary of a training that has ended without a signal, and log why it ended."""
    step = trainer.global_step
    ended = f"all {step} steps are done"
    if best is not None and best.is_exhausted and step < trainer.max_steps:
        since = "the first validation" if best.step is None else f"step {best.step}"
        waited = f"{best.wait} validation{'s' * (best.wait != 1)}"
        ended = f"stopped early: {best.monitor} has not improved for {waited}, since {since}"
    found: dict[str, Any] = {"ended": ended, "step": step}
    if validation is not None:
        found["validation"] = {"step": validation.step, **validation.values}
    if best is not None:
        value, at = best.saved or (None, None)
        found["best"] = {"monitor": best.monitor, "value": value, "step": at}
    if trainer.is_global_zero:
        logger.info("ended after step %d of %d: %s", step, trainer.max_steps, ended)
        if validation is not None and validation.values:
            values = ", ".join(f"{name} {value:.4g}" for name, value in validation.values.items())
            logger.info("validation after step %d: %s", validation.step, values)
        if best is not None and best.saved is not None:
            logger.info("%s is from step %d: %s %.4g", best.path, best.saved[1], best.monitor, best.saved[0])
    return found


def run_trainer(
    trainer: pl.Trainer, module: SemiSupConModule, data: SemiSupConDataModule, checkpoint: Path | None = None
) -> None:
    """Run `Trainer.fit`, from a checkpoint if one is given, and convert Lightning's reactions to signals.

    Raises:
        SystemExit: with status 143, if SIGTERM came before the first step.
        KeyboardInterrupt: after a Ctrl-C that no callback handled.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        try:
            trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)
        except SIGTERMException as error:
            raise SystemExit(TERMINATED) from error
        except SystemExit as error:  # Lightning's reaction to Ctrl-C
            raise KeyboardInterrupt from error


def make_trainer(
    folder: Path,
    callbacks: list[pl.Callback],
    options: PretrainOptions,
    max_steps: int,
    loggers: Sequence[Logger] = (),
) -> pl.Trainer:
    """Return a Lightning trainer with the options of a run.

    Args:
        folder: folder of the files that Lightning writes by default.
        callbacks: callbacks of the trainer.
        options: options of the training.
        max_steps: number of steps.
        loggers: loggers of the trainer.
    """
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainer = options.trainer
    try:
        return pl.Trainer(
            max_steps=max_steps,
            gradient_clip_val=options.optimizer.max_grad_norm,
            enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in callbacks),
            max_epochs=-1,
            accelerator=trainer.accelerator,
            devices=trainer.devices,
            num_nodes=trainer.num_nodes,
            strategy=trainer.strategy,
            sync_batchnorm=trainer.sync_batchnorm,
            precision=PRECISIONS[trainer.precision],  # type: ignore[arg-type]
            accumulate_grad_batches=trainer.accumulate,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
            logger=list(loggers) or False,
            log_every_n_steps=options.logs.every,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (ValueError, MisconfigurationException) as error:  # such as an unknown strategy
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error


@contextmanager
def explain_errors(data: SemiSupConDataModule) -> Iterator[None]:
    """Context manager that converts errors that a user can fix, such as a full disk, to InputErrors of one line."""
    try:
        yield
    except Exception as error:
        death = _find_dead_worker(error)
        if death is not None:
            pids, fate = death
            files = [data.read_by(int(pid)) for pid in pids.split(",")]
            read = ", ".join(file for file in files if file is not None) or "no file yet"
            raise InputError(
                f"workers: a process that reads audio (pid {pids}) {fate}; it was reading {read}. If memory ran out, "
                "use fewer workers; otherwise check the file. Rerun the command to resume from the last checkpoint"
            ) from error
        broken = find_broken_connection(error)
        if broken is not None:
            raise InputError(
                f"trainer: another process of this training died or cannot be reached ({broken}); see the end of its "
                "output. When all processes have ended, rerun the command to resume from the last checkpoint"
            ) from error
        if isinstance(error, PermissionError):
            raise InputError(
                f"out: no permission to write {error.filename or 'to the folder'}; ask its owner to run `chmod g+w` on "
                "it, or choose another folder"
            ) from error
        if not isinstance(error, OSError) or error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise InputError(
            f"out: {error.strerror} while writing {error.filename or 'to the folder'}; the last checkpoint is "
            "unchanged. Free disk space and rerun the command to resume from it"
        ) from error


def _find_dead_worker(error: BaseException | None) -> tuple[str, str] | None:
    """Return the process ids of the DataLoader workers whose death caused `error`, and the reason, or None.

    PyTorch raises an error in the main process. That error may be the cause or the context of `error`.
    """
    while error is not None:
        found = re.match(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (.*?)\W*$", str(error))
        if found is not None:
            return found[1], found[2]
        error = error.__cause__ or error.__context__
    return None
