"""The function and command `pretrain`, which pretrains an encoder on music."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssc_toolkit import __version__
from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import Labels, check_audio, dataset_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.data.validation import kept_rows
from ssc_toolkit.encoders import ContrastiveModel, Encoder, Projector, make_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import clear_leftovers, lock_folder, make_writable_folder, write_checked_json
from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.run_settings import BEST_CHECKPOINT, CHECKPOINT, ENCODER_FOLDER, holds_run
from ssc_toolkit.paths import user_path
from ssc_toolkit.training.callbacks.collapse import EFFECTIVE_RANK
from ssc_toolkit.training.callbacks.history import History
from ssc_toolkit.training.checkpoints import check_best_checkpoint, check_checkpoint, check_space
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.dataset_factory import (
    Signals,
    check_contrasts,
    check_rate,
    encode_training_labels,
    encoded_columns,
    hash_training_table,
    load_source,
    make_target,
    make_training_dataset,
    make_view_sampler,
    select_training_rows,
)
from ssc_toolkit.training.fit import fit, is_first_process
from ssc_toolkit.training.launching import check_devices, check_launcher
from ssc_toolkit.training.loggers import check_loggers
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.run_folder import (
    HISTORY,
    SUMMARY,
    UNUSABLE_TRACKS,
    WRITTEN,
    check_folder,
    claim_run_folder,
    record_start,
    save_encoder,
    verify_run,
)
from ssc_toolkit.training.summary import list_warnings, summary
from ssc_toolkit.training.validation import ValidationSet
from ssc_toolkit.training.validation_factory import check_validation_split, make_validation_set

logger = logging.getLogger(__name__)

OPTIMIZERS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


def pretrain(options: PretrainOptions) -> Path:
    """Pretrain an encoder on partly labeled music.

    The same call resumes an interrupted run from its checkpoint, and does nothing if the run is complete.

    Args:
        options: all options of the training, such as tracks, labels, encoder and output folder (`out`).

    Returns:
        The folder of the encoder.

    Raises:
        InputError: before training, if an option or a file is invalid; during training, if the loss becomes NaN or
            infinite, if a worker process dies, or if the disk is full.
        SystemExit: with status 143 after SIGTERM. The current step is completed and saved first.
        KeyboardInterrupt: after Ctrl-C. The current step is completed and saved first. A second Ctrl-C stops
            immediately without saving.
    """
    options.check()
    check_loggers(options.logs)
    check_devices(options.trainer)
    check_launcher(options.trainer)
    folder = make_writable_folder(user_path(options.out, "out"), "out")
    tables = [load_source(source, argument) for argument, source in options.sources.items()]
    signals = encoded_columns(
        tables[0], options.label_columns, options.validation_column
    )  # before any audio file is opened
    check_validation_split(tables[0], signals, options)
    with _as_input_errors():
        module = _make_module(options, tables, signals)
    first = is_first_process()
    with lock_folder(folder, "out") if first else nullcontext():  # the folder is not changed before it is locked
        if first:
            check_folder(folder)
        with _as_input_errors():
            report_folder = folder if first and not holds_run(folder) else None
            found = _training_data(options, tables, signals, module.model.encoder.sample_rate, report_folder)
        if first:
            claim_run_folder(folder, options, _identity(found.parts))
            clear_leftovers(folder, names=WRITTEN)
        if (folder / ENCODER_FOLDER).is_dir():
            verify_run(folder)
            logger.info("the run in %s is already complete", folder)
        else:
            _train(options, folder, module, found)
    return folder / ENCODER_FOLDER


@dataclass(frozen=True)
class _TrainingData:
    """Data of a training.

    Attributes:
        parts: training rows of the track tables, first of the labeled tracks, then of additional unlabeled tracks.
        signals: labels of the training rows of the first table.
        batches: data module of the training batches.
        validation_set: validation set, or None without validation.
    """

    parts: list[TrackTable]
    signals: Signals
    batches: SemiSupConDataModule
    validation_set: ValidationSet | None


@contextmanager
def _as_input_errors() -> Iterator[None]:
    """Context manager that converts ValueError and TypeError, which are caused by the user's options, to InputError."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error


def _make_module(
    options: PretrainOptions, tables: Sequence[TrackTable], signals: Mapping[str, Labels]
) -> SemiSupConModule:
    """Create the LightningModule, after a check of the view length and of the sample rates of audio stores.

    Args:
        options: options of the training.
        tables: track tables of the training.
        signals: labels of the first table by column.
    """
    torch.manual_seed(options.seed)
    model = _make_model(options)
    _check_view(model.encoder, options.view_seconds)
    for table in tables:
        check_rate(table, model.encoder.sample_rate)
    target = make_target({column: signals[column] for column in options.label_columns}, options.min_shared)
    loss = SemiSupConLoss(options.temperature, target, gather=True, **asdict(options.loss))
    return SemiSupConModule(
        model,
        CrossBatchMemory(loss, options.memory) if options.memory else loss,
        semisupcon_chain(model.encoder.sample_rate, options.severity, options.omit),
        options.learning_rate,
        options.optimizer.warmup,
        options.seed,
        options.optimizer.schedule,
        partial(OPTIMIZERS[options.optimizer.name], weight_decay=options.optimizer.weight_decay),
        options.trainer.chunk_size,
    )


def _make_model(options: PretrainOptions) -> ContrastiveModel:
    """Create the encoder and the projector."""
    encoder, projector = make_encoder(options.encoder), options.projector
    if projector.depth == 0:
        return ContrastiveModel(encoder, nn.Identity())
    norm = None if projector.norm == "none" else projector.norm
    return ContrastiveModel(encoder, Projector(encoder.embedding_dim, **asdict(projector) | {"norm": norm}))


def _training_data(
    options: PretrainOptions,
    tables: Sequence[TrackTable],
    signals: Mapping[str, Labels],
    sample_rate: int,
    report_folder: Path | None,
) -> _TrainingData:
    """Check all audio files, and return the data of the training.

    Args:
        options: options of the training.
        tables: track tables of the labeled tracks and, optionally, of additional unlabeled tracks.
        signals: labels of the first table by column.
        sample_rate: sample rate of the encoder in hertz.
        report_folder: folder for the lists of unusable files, or None to write none.
    """
    usable = []
    for argument, table in zip(options.sources, tables, strict=True):
        report = None if report_folder is None else report_folder / _report_name(argument)
        usable.append(check_audio(table, options.view_seconds, options.max_unusable, report=report))
    parts = [select_training_rows(table, argument) for argument, table in zip(options.sources, usable, strict=True)]
    is_usable = kept_rows(tables[0], usable[0])
    kept = {column: signal[is_usable] for column, signal in signals.items()}
    columns = options.label_columns
    train = encode_training_labels(usable[0], {column: kept[column] for column in columns})
    if options.labeled_fraction == 1:
        check_contrasts(train, columns, options.min_shared)
    dataset = make_training_dataset(
        parts,
        train,
        sample_rate,
        options.view_seconds,
        options.views,
        options.max_unusable,
        make_view_sampler(options.segments, sample_rate),
    )
    batches = SemiSupConDataModule(
        dataset, options.batch_size, options.labeled_fraction, options.label_budget, options.seed, options.workers
    )
    validation_set = make_validation_set(usable[0], kept, options, batches)
    return _TrainingData(parts, train, batches, validation_set)


def _train(options: PretrainOptions, folder: Path, module: SemiSupConModule, found: _TrainingData) -> None:
    """Train the module to the last step, and save the encoder in the folder of the run, which is locked.

    `found` is the data of the training.
    """
    first = is_first_process()
    checkpoint = folder / CHECKPOINT
    done = check_checkpoint(checkpoint, module) if checkpoint.exists() else 0
    columns = options.label_columns
    if first:
        check_best_checkpoint(folder / BEST_CHECKPOINT)
        check_space(folder, module, is_monitored=options.validation.monitor is not None)
        record_start(folder, options)
        logger.info("%s: %s", options.title, summary(found.batches, found.signals, columns))
        if options.validation.every and found.validation_set is None:
            logger.info("no validation: fewer than two usable tracks have the split 'valid'")
        processes = options.trainer.devices * options.trainer.num_nodes
        for remark in list_warnings(found.batches, found.signals, columns, options.min_shared, processes):
            logger.warning("%s", remark)
    measures = () if found.validation_set is None else found.validation_set.measures
    history = History(
        folder / HISTORY, (EFFECTIVE_RANK, *measures), found.batches.dataset.describe_item, options.logs.every
    )
    ending = fit(module, found.batches, folder, options, history, done, found.validation_set)
    if first:
        write_checked_json(folder / SUMMARY, ending)
        save_encoder(module.model.encoder, folder)
        logger.info("encoder saved in %s", folder / ENCODER_FOLDER)


def _report_name(argument: str) -> str:
    """Return the name of the file that lists the unusable audio files of the tracks in an argument."""
    return UNUSABLE_TRACKS if argument == "tracks" else f"{argument}-{UNUSABLE_TRACKS}"


def _identity(parts: Sequence[TrackTable]) -> dict[str, Any]:
    """Return the hashes of the data of a run and the version of this library, by which a resumed run is checked."""
    identity = {"tracks_hash": hash_training_table(parts[0]), "dataset": dataset_of(parts[0]), "version": __version__}
    for more in parts[1:]:
        identity |= {"unlabeled_hash": hash_training_table(more), "unlabeled_dataset": dataset_of(more)}
    return identity


def _check_view(encoder: Encoder, view_seconds: float) -> None:
    if view_seconds * encoder.sample_rate < encoder.min_samples:
        least = math.ceil(100 * encoder.min_samples / encoder.sample_rate) / 100  # rounded up to be accepted
        raise InputError(
            f"view_seconds: expected at least {least:.2f} s for {type(encoder).__name__}, got {view_seconds}"
        )
