"""The function and command `pretrain`, which pretrains an encoder on music."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ssc_toolkit import __version__
from ssc_toolkit.augmentations import make_chain
from ssc_toolkit.data import Labels, dataset_of
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.data.validation import check_all_audio, kept_rows
from ssc_toolkit.encoders import ContrastiveModel, Encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.leaks import TRAINING_TRACKS, load_record
from ssc_toolkit.files import CHECKSUMS, clear_leftovers, lock_folder, make_writable_folder, write_checked_json
from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss, SeparateHeadsLoss
from ssc_toolkit.options.batches import read_proportions
from ssc_toolkit.options.encoder import as_encoder
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.run_settings import (
    BEST_CHECKPOINT,
    CHECKPOINT,
    ENCODER_FOLDER,
    ENCODER_START,
    KEPT_FOLDER,
    holds_run,
    trained_steps,
)
from ssc_toolkit.options.training import AUTO
from ssc_toolkit.paths import user_path
from ssc_toolkit.preflight import Estimate
from ssc_toolkit.targets import Target
from ssc_toolkit.training.callbacks.collapse import EFFECTIVE_RANK
from ssc_toolkit.training.callbacks.history import History
from ssc_toolkit.training.callbacks.label_weight import LABEL_WEIGHT
from ssc_toolkit.training.callbacks.weight_average import WeightAverage
from ssc_toolkit.training.checkpoint_model import describe_start, make_projector, make_run_encoder
from ssc_toolkit.training.checkpoints import check_best_checkpoint, check_checkpoint, check_space, check_steps
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.dataset_factory import (
    Signals,
    check_contrasts,
    check_rate,
    encode_training_labels,
    hash_training_table,
    load_source,
    make_training_dataset,
    select_training_rows,
)
from ssc_toolkit.training.estimate import estimate_training
from ssc_toolkit.training.fit import fit, is_first_process
from ssc_toolkit.training.label_signals import encoded_columns, hash_matrices, make_target
from ssc_toolkit.training.launching import check_devices, check_launcher
from ssc_toolkit.training.learning_rate import find_learning_rate
from ssc_toolkit.training.loggers import check_loggers
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.precision import choose_precision, read_precision
from ssc_toolkit.training.run_folder import (
    HISTORY,
    SUMMARY,
    WRITTEN,
    check_folder,
    claim_run_folder,
    cut_history,
    record_start,
    remove_checkpoints,
    report_name,
    save_encoder,
    save_training_record,
    verify_run,
)
from ssc_toolkit.training.summary import list_warnings, summary
from ssc_toolkit.training.validation import ValidationSet
from ssc_toolkit.training.validation_factory import check_validation_split, make_validation_set
from ssc_toolkit.training.view_samplers import check_view_columns

logger = logging.getLogger(__name__)

OPTIMIZERS = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


def pretrain(options: PretrainOptions) -> Path:
    """Pretrain an encoder on partly labeled music, after printing the estimated time, memory and disk space.

    With `dry_run`, only the estimate is printed. The same call resumes an interrupted run from its checkpoint, and does
    nothing if the run is complete. A call with more steps makes the run longer.

    Args:
        options: all options of the training, such as tracks, labels, encoder and output folder (`out`).

    Returns:
        The folder of the encoder.

    Raises:
        InputError: before training, if an option or a file is invalid, or if the run has completed more steps; during
            training, if the loss becomes NaN or infinite, if a worker process dies, or if the disk is full.
        SystemExit: with status 143 after SIGTERM. The current step is completed and saved first.
        KeyboardInterrupt: after Ctrl-C. The current step is completed and saved first. A second Ctrl-C stops
            immediately without saving.
    """
    options.check()
    check_loggers(options.logs)
    check_devices(options.trainer)
    check_launcher(options.trainer)
    folder = user_path(options.out, "out")
    if not options.dry_run:
        make_writable_folder(folder, "out")
    tables = [load_source(source, argument) for argument, source in options.sources.items()]
    signals, module = prepare_tables(options, tables)  # before any audio file is opened
    is_saved = as_encoder(options.encoder).is_saved
    start = {ENCODER_START: describe_start(module.model.encoder)} if is_saved else {}
    if options.dry_run:
        with _as_input_errors():
            found = _training_data(options, tables, signals, module.model.encoder.sample_rate, None)
        _estimate(options, folder, module, found).report()
        return folder / ENCODER_FOLDER
    first = is_first_process()
    with lock_folder(folder, "out") if first else nullcontext():  # the folder is not changed before it is locked
        if first:
            check_folder(folder)
        check_steps(folder, options.steps)
        with _as_input_errors():
            report_folder = folder if first and not holds_run(folder) else None
            found = _training_data(options, tables, signals, module.model.encoder.sample_rate, report_folder)
        if first:
            claim_run_folder(folder, options, _identity(found.parts) | start | hash_matrices(options.label_signals))
            clear_leftovers(folder, names=(*WRITTEN, *map(report_name, options.sources)))
            clear_leftovers(folder / KEPT_FOLDER)
        if trained_steps(folder) == options.steps:
            if first:
                cut_history(folder, options)
            verify_run(folder)
            logger.info("the run in %s is already complete", folder)
        else:
            _train(options, folder, module, found)
    return folder / ENCODER_FOLDER


def prepare_tables(
    options: PretrainOptions, tables: Sequence[TrackTable]
) -> tuple[dict[str, Labels], SemiSupConModule]:
    """Return the labels of a training by column, and its module, without opening audio files.

    Args:
        options: options of the training.
        tables: track tables in the order of `options.sources`.

    Raises:
        InputError: if the tables lack a column, or if options do not fit to the tables or to each other.
    """
    name = "signals" if options.signals else "labels"
    signals = encoded_columns(tables[0], options.label_signals, options.validation_column, name)
    if options.segments.columns:
        check_view_columns(select_training_rows(tables[0]), options.segments)
    check_validation_split(tables[0], signals, options)
    with _as_input_errors():
        return signals, _make_module(options, tables, signals)


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
    own = as_encoder(options.encoder)
    encoder = make_run_encoder(own).set_readout(**vars(options.readout))
    model = ContrastiveModel(encoder, make_projector(encoder, options.projector))
    _check_view(model.encoder, options.view_seconds)
    for table in tables:
        check_rate(table, model.encoder.sample_rate)
    target = make_target(signals, options.label_signals, options.min_shared)
    module = SemiSupConModule(
        model,
        _make_loss(options, target),
        make_chain(options.chain, model.encoder.sample_rate, options.severity, options.omit),
        1.0 if isinstance(options.learning_rate, str) else options.learning_rate,  # "auto" is chosen later
        options.optimizer.warmup_fraction,
        options.seed,
        options.optimizer.schedule,
        partial(OPTIMIZERS[options.optimizer.name], weight_decay=options.optimizer.weight_decay),
        options.trainer.chunk_size,
        options.optimizer.warmup_steps,
    )
    module.layer_decay = 1.0 if own.layer_decay is None else own.layer_decay
    if options.optimizer.ema_decay is not None:
        module.average = WeightAverage(options.optimizer.ema_decay)
    return module


def _make_loss(options: PretrainOptions, target: Target) -> nn.Module:
    """Create the loss of a training, with a queue for each projector if `options.memory` is above 0."""
    settings = asdict(options.loss) | {"gather": True}
    del settings["label_weight_end"]  # used by a callback

    def remembering(loss: SemiSupConLoss) -> SemiSupConLoss | CrossBatchMemory:
        return CrossBatchMemory(loss, options.memory) if options.memory else loss

    if options.projector.heads == "shared":
        return remembering(SemiSupConLoss(options.temperature, target, **settings))
    weight = settings.pop("label_weight")
    views, labels = (SemiSupConLoss(options.temperature, own, **settings) for own in (None, target))
    return SeparateHeadsLoss(remembering(views), remembering(labels), weight)


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
    reports = None if report_folder is None else {name: report_folder / report_name(name) for name in options.sources}
    by_argument = dict(zip(options.sources, tables, strict=True))
    usable = check_all_audio(by_argument, options.view_seconds, options.max_unusable, reports)
    parts = [select_training_rows(table, argument) for argument, table in zip(options.sources, usable, strict=True)]
    is_usable = kept_rows(tables[0], usable[0])
    kept = {column: signal[is_usable] for column, signal in signals.items()}
    columns = options.signal_names
    train = encode_training_labels(usable[0], {column: kept[column] for column in columns})
    if options.labeled_fraction == 1:
        check_contrasts(train, columns, options.largest_minimum)
    dataset = make_training_dataset(
        parts,
        train,
        sample_rate,
        options.view_seconds,
        options.views,
        options.max_unusable,
        options.segments,
    )
    batches = SemiSupConDataModule(
        dataset,
        options.batch_size,
        options.labeled_fraction,
        options.label_budget,
        options.seed,
        options.workers,
        items_per_class=options.batches.balanced_items,
        proportions=read_proportions(options.unlabeled),
    )
    validation_set = make_validation_set(usable[0], kept, options, batches)
    return _TrainingData(parts, train, batches, validation_set)


def _estimate(options: PretrainOptions, folder: Path, module: SemiSupConModule, found: _TrainingData) -> Estimate:
    """Estimate the time, memory and disk space of a training. `folder` need not exist."""
    checkpoint = folder / CHECKPOINT
    check_steps(folder, options.steps)
    done = check_checkpoint(checkpoint, module) if checkpoint.exists() else 0
    return estimate_training(module, found.batches, options, folder, done, found.validation_set)


def _train(options: PretrainOptions, folder: Path, module: SemiSupConModule, found: _TrainingData) -> None:
    """Train the module to the last step, and save the encoder in the folder of the run, which is locked.

    `found` is the data of the training.
    """
    first = is_first_process()
    checkpoint = folder / CHECKPOINT
    done = check_checkpoint(checkpoint, module) if checkpoint.exists() else 0
    columns = options.signal_names
    if first:
        if checkpoint.exists():
            check_best_checkpoint(folder / BEST_CHECKPOINT)
        else:
            remove_checkpoints(folder)
        check_space(folder, module, options, done)
        estimate = estimate_training(module, found.batches, options, folder, done, found.validation_set)
        estimate.report()
        record_start(folder, options)
        logger.info("%s: %s", options.title, summary(found.batches, found.signals, columns))
        if options.validation.every and found.validation_set is None:
            logger.info("no validation: fewer than two usable tracks have the split 'valid'")
        processes = options.trainer.devices * options.trainer.num_nodes
        for remark in list_warnings(found.batches, found.signals, columns, options.largest_minimum, processes):
            logger.warning("%s", remark)
        record = load_record(folder / TRAINING_TRACKS, "out")
        if record is None or not record.is_complete:
            encoder = as_encoder(options.encoder)
            save_training_record(found.parts, folder, encoder.name if encoder.is_saved else None)
    measures = () if found.validation_set is None else found.validation_set.measures
    weights = () if options.loss.label_weight_end is None else (LABEL_WEIGHT,)
    recorded = (EFFECTIVE_RANK, *weights, *measures)
    history = History(folder / HISTORY, recorded, found.batches.dataset.describe_item, options.logs.every)
    if options.trainer.precision == AUTO:  # one process
        resumed = checkpoint.exists()
        chosen = read_precision(folder) if resumed else choose_precision(module, found.batches, folder, options)
        options = replace(options, trainer=replace(options.trainer, precision=chosen))
    if options.learning_rate == AUTO and not checkpoint.exists():  # the checkpoint contains the chosen rate
        module.learning_rate = find_learning_rate(module, found.batches, folder, options)
    if first:  # these files of a complete run that is made longer are written again at its end
        for name in (CHECKSUMS, SUMMARY):
            (folder / name).unlink(missing_ok=True)
    ending = fit(module, found.batches, folder, options, history, done, found.validation_set)
    if first:
        write_checked_json(folder / SUMMARY, ending)
        with module.evaluated_weights():
            save_encoder(module.model, folder, ending["step"], options)
        logger.info("encoder saved in %s", folder / ENCODER_FOLDER)


def _identity(parts: Sequence[TrackTable]) -> dict[str, Any]:
    """Return the hashes of the data of a run and the version of this library, by which a resumed run is checked."""
    identity: dict[str, Any] = {
        "tracks_hash": hash_training_table(parts[0]),
        "dataset": dataset_of(parts[0]),
        "version": __version__,
    }
    hashes: list[Any] = [hash_training_table(part) for part in parts[1:]]
    names: list[Any] = [dataset_of(part) for part in parts[1:]]
    if len(hashes) == 1:
        identity |= {"unlabeled_hash": hashes[0], "unlabeled_dataset": names[0]}
    elif hashes:
        identity |= {"unlabeled_hash": hashes, "unlabeled_dataset": names}
    return identity


def _check_view(encoder: Encoder, view_seconds: float) -> None:
    if view_seconds * encoder.sample_rate < encoder.min_samples:
        least = math.ceil(100 * encoder.min_samples / encoder.sample_rate) / 100  # rounded up to be accepted
        raise InputError(
            f"view_seconds: expected at least {least:.2f} s for {type(encoder).__name__}, got {view_seconds}"
        )
