"""Pretrain an encoder on a folder of music: the whole method in one call."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from ssc_toolkit import __version__
from ssc_toolkit.augmentations import semisupcon_chain
from ssc_toolkit.data import ContrastiveDataset, Labels, check_audio, dataset_of, encode_labels, load_tracks
from ssc_toolkit.data.store import store_of
from ssc_toolkit.encoders import ContrastiveModel, Encoder, make_encoder
from ssc_toolkit.errors import InputError, at_least
from ssc_toolkit.evaluation import embed_tracks, neighbor_agreement
from ssc_toolkit.files import held, writable_folder, write_json
from ssc_toolkit.losses import SemiSupConLoss
from ssc_toolkit.samplers import uncovered_classes
from ssc_toolkit.targets import SameClass, SharedLabels, Target
from ssc_toolkit.training.callbacks import AtomicCheckpointIO, History, StepProgress
from ssc_toolkit.training.data import SemiSupConDataModule
from ssc_toolkit.training.module import SemiSupConModule

logger = logging.getLogger(__name__)

CHECKPOINT = "last.ckpt"
ENCODER_FOLDER = "encoder"
HISTORY = "history.csv"
SETTINGS = "settings.json"
UNUSABLE = "unusable.csv"
NEIGHBORS = "neighbor_agreement"


def pretrain(
    tracks: str,
    out: str,
    root: str | None = None,
    variant: str | None = None,
    labels: str | None = None,
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
) -> Path:
    """Pretrain an encoder on music of which some is labelled.

    Writes to the output folder: `encoder/` (load it with `ssc_toolkit.encoders.load_encoder`, or give it to
    `ssc-toolkit probe`), `history.csv`, `settings.json` and the checkpoint `last.ckpt`. The same call
    goes on from the checkpoint if it was interrupted, and does nothing if it had finished.

    Args:
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset. Only the rows whose `split` is "train" are used, if
            there is such a column.
        out: output folder.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        labels: label column; one class a cell, or several separated by "|"; empty cells are unknown.
            Without it the training is self-supervised.
        encoder: architecture.
        view_seconds: length of a view.
        views: views of each track.
        batch_size: tracks in a batch.
        labeled_fraction: share of labelled tracks in a batch; 0 is self-supervised, 1 supervised.
        label_budget: share of the labels that may be used.
        minimum_shared: labels that two tracks must share to be positives, where cells hold several.
        temperature: of the loss.
        steps: optimiser steps.
        learning_rate: highest rate of Adam.
        severity: of the augmentation chain, 0 (none) to 2.5.
        omit: stages of the chain to leave out: gain, polarity_inversion, colored_noise, filter, pitch_shift,
            delay. Leave out pitch_shift where the labels speak of key or pitch.
        monitor: label column by which the nearest neighbours in the valid split are compared while
            training; `labels` by default.
        seed: of the weights, batches and augmentations.
        checkpoint_every: steps between checkpoints.
        most_skipped: share of the files that may be unreadable or shorter than a view.
        workers: processes that read audio; 0 reads in the training process.
        title: what the progress line begins with.

    Returns:
        The folder of the encoder.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before training.
    """
    settings = {name: value for name, value in locals().items() if name not in _WITHOUT_EFFECT}
    folder = writable_folder(Path(out), "out")
    for name, number, least in (
        ("steps", steps, 1),
        ("checkpoint_every", checkpoint_every, 1),
        ("batch_size", batch_size, 2),
        ("views", views, 2 if labels is None or labeled_fraction < 1 else 1),  # without labels, views are all there is
        ("minimum_shared", minimum_shared, 1),
        ("workers", workers, 0),
        ("seed", seed, 0),
    ):
        at_least(name, number, least)
    if not 0 < label_budget <= 1:
        raise InputError(f"label_budget: expected a share above 0 and up to 1, got {label_budget}")
    if label_budget < 1 and labels is None:
        raise InputError("label_budget: a share of which labels? name their column by labels")
    table = load_tracks(tracks, root, variant)
    for argument, column in (("labels", labels), ("monitor", monitor)):
        if column is not None:
            encode_labels(table, column, argument)  # a wrong column is an error before any file is opened
    try:
        torch.manual_seed(seed)
        model = ContrastiveModel(make_encoder(encoder))
        _check_view(model.encoder, view_seconds)
        store_of(table, model.encoder.sample_rate)  # a store at another rate is an error before anything is looked at
        chain = semisupcon_chain(model.encoder.sample_rate, severity, omit)
        loss = SemiSupConLoss(temperature, _target(table, labels, minimum_shared))
        module = SemiSupConModule(model, loss, chain, learning_rate, seed=seed)
        table = check_audio(table, view_seconds, most_skipped, report=folder / UNUSABLE)
        train, signal = _training_part(table, labels)
        dataset = ContrastiveDataset(
            train,
            model.encoder.sample_rate,
            view_seconds,
            views,
            signal,
            most_unreadable=int(most_skipped * len(train)),
            dtype=torch.int16 if "store" in train.attrs else torch.float32,
        )
        data = SemiSupConDataModule(dataset, batch_size, labeled_fraction, label_budget, seed, workers)
    except (ValueError, TypeError) as error:
        raise InputError(str(error)) from error
    _claim(folder, settings | {"tracks_hash": _hash(train), "dataset": dataset_of(train), "version": __version__})
    with held(folder, "out"):
        if (folder / ENCODER_FOLDER).is_dir():
            logger.info("%s is complete: nothing left to do", folder)
            return folder / ENCODER_FOLDER
        logger.info("%s: %s", title, _summary(train, signal, data, labels))
        if signal is not None:
            _report_uncovered(data, signal)
        measures = _neighbor_measure(table, monitor or labels, view_seconds)
        _fit(module, data, folder, steps, checkpoint_every, History(folder / HISTORY, measures), title)
        saved = _save_encoder(model.encoder, folder)
    logger.info("encoder saved in %s", saved)
    return saved


_WITHOUT_EFFECT = ("out", "checkpoint_every", "most_skipped", "workers", "title")
"""Arguments that may differ when a run is taken up again."""
_DECIDED_BY_HASH = ("tracks", "root", "variant")
"""Arguments that may be spelled differently as long as they lead to the same tracks and labels."""


def _summary(train: pd.DataFrame, signal: Labels | None, data: SemiSupConDataModule, labels: str | None) -> str:
    """What is trained on, in one line."""
    if signal is None:
        return f"{len(train)} tracks, no labels"
    kind = "labels" if signal.is_multi_hot else "classes"
    return f"{len(train)} tracks, {len(data.budget())} of them with {labels}, {len(signal.names)} {kind}"


def _target(table: pd.DataFrame, labels: str | None, minimum_shared: int) -> Target:
    signal = None if labels is None else encode_labels(table, labels)
    if signal is None or not signal.is_multi_hot:
        return SameClass()
    most = int(signal.values.sum(dim=1).max())
    if minimum_shared > most:
        raise InputError(f"minimum_shared: no track has more than {most} labels, got {minimum_shared}")
    return SharedLabels(minimum_shared)


def _training_part(table: pd.DataFrame, labels: str | None) -> tuple[pd.DataFrame, Labels | None]:
    """The tracks to train on, and their labels."""
    is_train = table["split"] == "train" if "split" in table else pd.Series(True, index=table.index)
    if not is_train.any():
        raise InputError("tracks: no row has split 'train'")
    train = table[is_train].reset_index(drop=True)
    if labels is None:
        return train, None
    signal = encode_labels(table, labels)[torch.tensor(is_train.tolist())]
    if not signal.labeled.any():
        raise InputError(f"labels: no row of split 'train' has a label in column {labels!r}")
    return train, signal


def _check_view(encoder: Encoder, view_seconds: float) -> None:
    if view_seconds * encoder.sample_rate < encoder.minimum_samples:
        raise InputError(
            f"view_seconds: {type(encoder).__name__} needs at least "
            f"{encoder.minimum_samples / encoder.sample_rate:.2f} s, got {view_seconds}"
        )


def _hash(train: pd.DataFrame) -> str:
    """Hash of what is trained on, so that a run is not taken up with other data."""
    return hashlib.sha256(train.to_csv(index=False).encode()).hexdigest()[:16]


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Write down the settings of a run, or make sure that the run already there has the same."""
    path = folder / SETTINGS
    settings = json.loads(json.dumps(settings))  # tuples become lists, as they are in the file
    if not path.exists():
        for name in (CHECKPOINT, ENCODER_FOLDER):
            if (folder / name).exists():
                raise InputError(f"out: {folder} holds {name} without {SETTINGS}; choose another folder")
    elif (folder / CHECKPOINT).exists() or (folder / ENCODER_FOLDER).exists():
        _compare(folder, settings)
        return
    write_json(path, settings)  # also over those of a run that left nothing to go on from


def _compare(folder: Path, settings: dict[str, Any]) -> None:
    """Raise InputError unless the run in the folder has these settings."""
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"out: {folder / SETTINGS} is damaged; choose another folder") from error
    names = {**found, **settings}.keys() - set(_DECIDED_BY_HASH)
    differing = sorted(name for name in names if found.get(name) != settings.get(name))
    if differing:
        changes = ", ".join(
            "the tracks or their labels have changed"
            if name == "tracks_hash"
            else f"{name} was {found.get(name)!r}, is {settings.get(name)!r}"
            for name in differing
        )
        raise InputError(f"out: {folder} holds a run with other settings ({changes}); choose another folder")


def _report_uncovered(data: SemiSupConDataModule, signal: Labels) -> None:
    missing = uncovered_classes(signal.values[signal.labeled], data.budget())
    if len(missing):
        names = ", ".join(signal.names[number] for number in missing.tolist())
        logger.warning("%d classes have no label within the budget: %s", len(missing), names)


def _neighbor_measure(
    table: pd.DataFrame, column: str | None, view_seconds: float
) -> dict[str, Callable[[nn.Module], float]]:
    """Nearest-neighbour agreement in the valid split, if there is one with labels."""
    if column is None or "split" not in table or not (table["split"] == "valid").any():
        return {}
    labels = encode_labels(table, column)
    is_valid = table["split"] == "valid"
    valid, own = table[is_valid].reset_index(drop=True), labels[torch.tensor(is_valid.tolist())]

    def measure(encoder: Any) -> float:
        return neighbor_agreement(embed_tracks(encoder, valid, view_seconds, progress=False), own)

    return {NEIGHBORS: measure}


def _fit(
    module: SemiSupConModule,
    data: SemiSupConDataModule,
    folder: Path,
    steps: int,
    checkpoint_every: int,
    history: History,
    title: str,
) -> None:
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        _check_checkpoint(checkpoint, module)
        logger.info("going on from %s", checkpoint)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer = pl.Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator="auto",
            devices=1,
            callbacks=[
                StepProgress(title),
                history,
                ModelCheckpoint(
                    folder, checkpoint.stem, every_n_train_steps=checkpoint_every, enable_version_counter=False
                ),
            ],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=folder,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        try:
            trainer.fit(module, data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
        except SystemExit as error:  # what Lightning makes of Ctrl-C
            raise KeyboardInterrupt from error
        trainer.save_checkpoint(checkpoint)  # the last step need not be a multiple of `checkpoint_every`


def _check_checkpoint(path: Path, module: nn.Module) -> None:
    """Raise InputError unless the checkpoint holds the weights of this model."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        raise InputError(f"out: {path} is no checkpoint of this library; choose another folder or delete it") from error
    shapes = {name: tuple(weight.shape) for name, weight in module.state_dict().items()}
    if {name: tuple(weight.shape) for name, weight in found.items()} != shapes:
        raise InputError(f"out: {path} is a checkpoint of another model; choose another folder or delete it")


def _save_encoder(encoder: Encoder, folder: Path) -> Path:
    """Write the encoder's folder; it appears at once and whole."""
    temporary = folder / f".{ENCODER_FOLDER}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    encoder.save_pretrained(temporary)
    for path in temporary.iterdir():
        path.chmod(0o644)  # safetensors leaves its files readable by their owner alone
    return temporary.rename(folder / ENCODER_FOLDER)
