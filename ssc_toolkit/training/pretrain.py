"""The function and command `pretrain`, which pretrains an encoder on music."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ssc_toolkit import __version__
from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.checks import MAX_FINITE, check_fraction, check_positive, check_whole
from ssc_toolkit.data import check_audio, dataset_of, encode_labels
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.encoders import ContrastiveModel, Encoder, make_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import embed_tracks, neighbor_agreement
from ssc_toolkit.files import clear_leftovers, held, writable_folder
from ssc_toolkit.losses import CrossBatchMemory, SemiSupConLoss
from ssc_toolkit.paths import user_path
from ssc_toolkit.training.callbacks.history import History
from ssc_toolkit.training.checkpoints import CHECKPOINT, check_checkpoint, check_space
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.dataset_factory import (
    TrackSource,
    check_contrasts,
    check_rate,
    label_columns,
    labels_to_train_on,
    part_to_train_on,
    sources_of,
    target_of,
    track_table_hash,
    training_dataset,
)
from ssc_toolkit.training.fit import fit, is_first_process
from ssc_toolkit.training.launching import check_launcher
from ssc_toolkit.training.loggers import check_loggers
from ssc_toolkit.training.module import SemiSupConModule
from ssc_toolkit.training.options import OPTIMIZERS, LogOptions, OptimizerOptions, TrainerOptions
from ssc_toolkit.training.run_folder import (
    ENCODER_FOLDER,
    HISTORY,
    UNUSABLE_TRACKS,
    WRITTEN,
    check_folder,
    claim,
    defaults_of,
    holds_run,
    save_encoder,
    settings_of,
    verify_run,
    write_down,
)
from ssc_toolkit.training.summary import remarks, summary

logger = logging.getLogger(__name__)

NEIGHBOR_AGREEMENT = "neighbor_agreement"


def pretrain(
    tracks: str,
    out: str,
    root: str | None = None,
    variant: str | None = None,
    labels: tuple[str, ...] | str | None = None,
    encoder: Literal["MelCNN", "SampleCNN", "SampleCNNXL", "TUNePlus", "ShortChunkCNN"] = "MelCNN",
    view_seconds: float = 3.0,
    views: int = 2,
    batch_size: int = 96,
    labeled_fraction: float = 0.5,
    label_budget: float = 1.0,
    minimum_shared: int = 1,
    temperature: float = 0.1,
    steps: int = 1000,
    learning_rate: float = 1e-3,
    severity: float = 1.0,
    omit: tuple[str, ...] = (),
    monitor: str | None = None,
    seed: int = 0,
    checkpoint_every: int = 25,
    most_skipped: float = 0.1,
    workers: int = 0,
    title: str = "pretraining",
    unlabeled: str | None = None,
    unlabeled_root: str | None = None,
    unlabeled_variant: str | None = None,
    memory: int = 0,
    optimizer: OptimizerOptions = OptimizerOptions(),
    trainer: TrainerOptions = TrainerOptions(),
    logs: LogOptions = LogOptions(),
) -> Path:
    """Pretrain an encoder on partly labeled music.

    The output folder receives `encoder/` (load it with `ssc_toolkit.encoders.load_encoder`, or pass it to
    `ssc-toolkit probe`), `history.csv`, `config.yaml`, `settings.json`, `provenance.json`, the checkpoint `last.ckpt`,
    `tensorboard/` and `pictures/`. The same call resumes an interrupted run from its checkpoint, and does nothing if
    the run is complete.

    Args:
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset. If there is a `split` column, only rows with the
            split "train" are used.
        out: output folder.
        root: folder that the paths in the CSV file are relative to (by default its own folder), or folder of the
            dataset.
        variant: variant of the dataset, which determines its labels and splits.
        labels: label column, with one class per cell or several classes separated by "|"; empty cells are unknown.
            With several columns, two tracks are positives if they are positives by at least one column. Without labels,
            the training is self-supervised.
        encoder: architecture of the encoder.
        view_seconds: length of a view in seconds.
        views: number of views of each track.
        batch_size: number of tracks in a batch of one process.
        labeled_fraction: fraction of labeled tracks in a batch; 0 is self-supervised, 1 is supervised.
        label_budget: fraction of the labeled tracks whose labels are used, for all columns.
        minimum_shared: number of labels that two tracks must have in common to be positives, for cells with several
            labels.
        temperature: temperature of the loss.
        steps: number of optimizer steps.
        learning_rate: maximum learning rate.
        severity: severity of the augmentation chain, 0 (none) to 2.5.
        omit: stages of the chain to omit: gain, polarity_inversion, colored_noise, filter, pitch_shift, delay. Omit
            pitch_shift if the labels depend on key or pitch.
        monitor: label column for the nearest-neighbor agreement on the validation set during training; by default the
            first of `labels`.
        seed: seed of the weights, batches and augmentations.
        checkpoint_every: number of steps between checkpoints.
        most_skipped: maximum fraction of files that are unreadable or shorter than a view.
        workers: number of processes that read audio; with 0, the training process reads it.
        title: text at the start of the progress line.
        unlabeled: more tracks, used without labels, in any form that `tracks` accepts.
        unlabeled_root: as `root`, for these tracks.
        unlabeled_variant: as `variant`, for these tracks.
        memory: number of views of earlier batches that are used as additional contrasts; 0 for none.
        optimizer: optimizer and learning-rate schedule.
        trainer: devices, precision, and how the steps are computed.
        logs: loggers, and how often they log.

    Returns:
        The folder of the encoder.

    Raises:
        InputError: before training, if an argument or a file is invalid; during training, if the loss becomes NaN or
            infinite, if a worker process dies, or if the disk is full.
        SystemExit: with status 143, after SIGTERM, when the current step is saved.
        KeyboardInterrupt: after Ctrl-C, when the current step is saved; after a second Ctrl-C, without saving.
    """
    arguments = dict(locals())
    _check(arguments)
    folder = writable_folder(user_path(out, "out"), "out")
    columns = label_columns(labels)
    arguments["labels"] = columns[0] if len(columns) == 1 else (columns or None)
    sources = sources_of(arguments)
    tables = [source.load() for source in sources]
    for argument, column in (*(("labels", column) for column in columns), ("monitor", monitor)):
        if column is not None:
            encode_labels(tables[0], column, argument)  # fail before any file is opened if a column is wrong
    first = is_first_process()
    try:
        torch.manual_seed(seed)
        model = ContrastiveModel(make_encoder(encoder))
        _check_view(model.encoder, view_seconds)
        for table in tables:  # fail early if a store has another sample rate
            check_rate(table, model.encoder.sample_rate)
        loss = SemiSupConLoss(temperature, target_of(tables[0], columns, minimum_shared), gather=True)
        module = SemiSupConModule(
            model,
            CrossBatchMemory(loss, memory) if memory else loss,
            semisupcon_chain(model.encoder.sample_rate, severity, omit),
            learning_rate,
            optimizer.warmup,
            seed,
            optimizer.schedule,
            partial(OPTIMIZERS[optimizer.name], weight_decay=optimizer.weight_decay),
            trainer.chunk_size,
        )
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error
    with held(folder, "out") if first else nullcontext():  # the folder is not changed before it is locked
        if first:
            check_folder(folder)
        try:
            report = first and not holds_run(folder)
            tables = [
                check_audio(table, view_seconds, most_skipped, report=_report(folder, source) if report else None)
                for table, source in zip(tables, sources, strict=True)
            ]
            parts = [part_to_train_on(table, source.argument) for table, source in zip(tables, sources, strict=True)]
            signals = labels_to_train_on(tables[0], columns)
            if labeled_fraction == 1:
                check_contrasts(signals, columns, minimum_shared)
            dataset = training_dataset(parts, signals, model.encoder.sample_rate, view_seconds, views, most_skipped)
            data = SemiSupConDataModule(dataset, batch_size, labeled_fraction, label_budget, seed, workers)
        except (ValueError, TypeError) as error:
            raise InputError(str(error)) from error
        if first:
            claim(folder, settings_of(arguments) | _described(parts), defaults_of(pretrain))
            clear_leftovers(folder, names=WRITTEN)
        if (folder / ENCODER_FOLDER).is_dir():
            verify_run(folder)
            logger.info("the run in %s is already complete", folder)
            return folder / ENCODER_FOLDER
        checkpoint = folder / CHECKPOINT
        done = check_checkpoint(checkpoint, module) if checkpoint.exists() else 0
        if first:
            check_space(folder, module)
            write_down(folder, arguments)
            logger.info("%s: %s", title, summary(data, signals, columns))
            for remark in remarks(data, signals, columns, minimum_shared, trainer.devices * trainer.num_nodes):
                logger.warning("%s", remark)
        measures = _neighbor_measure(tables[0], monitor or next(iter(columns), None), view_seconds)
        history = History(folder / HISTORY, measures, logs.measure_every, dataset.described, logs.every)
        fit(module, data, folder, steps, checkpoint_every, history, title, trainer, logs, done)
        if first:
            save_encoder(model.encoder, folder)
            logger.info("encoder saved in %s", folder / ENCODER_FOLDER)
    return folder / ENCODER_FOLDER


def _check(arguments: dict[str, Any]) -> None:
    """Raise InputError for numbers out of range."""
    labels, fraction, budget = (arguments[name] for name in ("labels", "labeled_fraction", "label_budget"))
    for name, least in (
        ("steps", 1),
        ("checkpoint_every", 1),
        ("batch_size", 2),
        ("views", 2 if not labels or fraction < 1 else 1),  # without labels, the only positives are other views
        ("minimum_shared", 1),
        ("workers", 0),
        ("seed", 0),
        ("memory", 0),
    ):
        check_whole(name, arguments[name], least)
    for name in ("view_seconds", "temperature", "learning_rate"):
        check_positive(name, arguments[name], high=MAX_FINITE)
    check_fraction("labeled_fraction", fraction)
    check_fraction("label_budget", budget, zero=False)
    if budget < 1 and not labels:
        raise InputError("label_budget: expected labels as well, got None")
    for name in ("root", "variant"):
        if arguments["unlabeled"] is None and arguments[f"unlabeled_{name}"] is not None:
            raise InputError(f"unlabeled_{name}: expected unlabeled as well, got None")
    for group in ("optimizer", "trainer", "logs"):
        arguments[group].check()
    check_loggers(arguments["logs"])
    check_launcher(arguments["trainer"])


def _report(folder: Path, source: TrackSource) -> Path:
    """Return the path of the list of unusable files of a source."""
    return folder / (UNUSABLE_TRACKS if source.argument == "tracks" else f"{source.argument}-{UNUSABLE_TRACKS}")


def _described(parts: list[TrackTable]) -> dict[str, Any]:
    """Return the settings that identify the data of a run and the version of this library."""
    told = {"tracks_hash": track_table_hash(parts[0]), "dataset": dataset_of(parts[0]), "version": __version__}
    for more in parts[1:]:
        told |= {"unlabeled_hash": track_table_hash(more), "unlabeled_dataset": dataset_of(more)}
    return told


def _check_view(encoder: Encoder, view_seconds: float) -> None:
    if view_seconds * encoder.sample_rate < encoder.minimum_samples:
        least = math.ceil(100 * encoder.minimum_samples / encoder.sample_rate) / 100  # rounded up to be accepted
        raise InputError(
            f"view_seconds: expected at least {least:.2f} s for {type(encoder).__name__}, got {view_seconds}"
        )


def _neighbor_measure(
    table: TrackTable, column: str | None, view_seconds: float
) -> dict[str, Callable[[nn.Module], float]]:
    """Return the measure of nearest-neighbor agreement on the validation set, if there is one with labels."""
    if column is None or "split" not in table or not (table["split"] == "valid").any():
        return {}
    labels = encode_labels(table, column)
    is_valid = table["split"] == "valid"
    valid, own = table.select(is_valid), labels[torch.tensor(is_valid.tolist())]

    def measure(encoder: Any) -> float:
        return neighbor_agreement(embed_tracks(encoder, valid, view_seconds, progress=False), own)

    return {NEIGHBOR_AGREEMENT: measure}
