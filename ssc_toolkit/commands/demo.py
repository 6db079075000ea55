"""The command `ssc-toolkit demo`, which shows the effect of a few labels in ten minutes on two CPU cores."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssc_toolkit.commands.inputs import label_signals
from ssc_toolkit.data import ContrastiveDataset, Labels, check_audio, load_tracks
from ssc_toolkit.data.corpus import build_corpus
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.encoders import Encoder, load_encoder
from ssc_toolkit.evaluation import Task, provenance_of
from ssc_toolkit.evaluation.baselines import BASELINES, MFCC_STATISTICS, RANDOM, make_baselines
from ssc_toolkit.evaluation.comparison import RETRIEVAL, compare_models
from ssc_toolkit.evaluation.conditions import conditions_for
from ssc_toolkit.evaluation.results import to_records
from ssc_toolkit.options import DemoOptions, PretrainOptions, ValidationOptions
from ssc_toolkit.options.demo import NOTE
from ssc_toolkit.options.names import CHAIN, SEVERITIES
from ssc_toolkit.options.output_folder import claim_folder
from ssc_toolkit.options.validation import NEIGHBOR_AGREEMENT
from ssc_toolkit.reports.comparison_sections import (
    difference_section,
    explorer_section,
    overview_section,
    retrieval_section,
    robustness_section,
)
from ssc_toolkit.reports.page import Section, check_report_files, format_table, write_report
from ssc_toolkit.reports.training_sections import learning_section, similarity_section
from ssc_toolkit.samplers import SemiSupervisedBatchSampler
from ssc_toolkit.seeds import make_generator
from ssc_toolkit.targets import SameClass
from ssc_toolkit.training import pretrain
from ssc_toolkit.training.callbacks.history import read_history
from ssc_toolkit.training.run_folder import HISTORY

LABEL = "key"
OMIT = ("pitch_shift",)
"""Stages omitted from the augmentation chain, because the labels are keys, and pitch shift changes the key."""
LABEL_COLUMNS = ("key", "family", "mode", "collection")
SHOWN_UNDER_CORRUPTION = ("key", "family")
"""Names of the tasks whose scores on corrupted audio the report shows. The JSON file has those of all tasks."""
VIEW_SECONDS = 3.0
BUDGET = 0.05
CLIPS = 100
"""Number of test clips that can be played in the report."""


@dataclass(frozen=True)
class DemoRun:
    """One of the training runs that the demonstration compares, with the options in which it differs."""

    name: str
    title: str
    arguments: dict[str, Any]


RUNS = (
    DemoRun("self-supervised", "self-supervised", {}),
    DemoRun("semi-supervised", "semi-supervised, 5 % of key labels", {"labels": LABEL, "label_budget": BUDGET}),
    DemoRun("supervised", "supervised, all key labels", {"labels": LABEL, "labeled_fraction": 1.0}),
)
DIFFERENCES = (
    ("semi-supervised", "self-supervised"),
    ("supervised", "self-supervised"),
    ("self-supervised", RANDOM),
    ("self-supervised", MFCC_STATISTICS),
)


@dataclass(frozen=True)
class Size:
    """Numbers of clips, training steps and tracks per batch of the demonstration."""

    clips: int
    steps: int
    batch_size: int


FULL = Size(clips=4000, steps=150, batch_size=96)
QUICK = Size(clips=160, steps=6, batch_size=16)


def demo(options: DemoOptions) -> Path:
    """Pretrain on real compositions with no labels, few labels and all labels, then evaluate and write a report.

    Args:
        options: options of the command, as on the command line.

    Returns:
        Path of the HTML report.

    Raises:
        InputError: if the folder cannot be written, or contains other files or a demonstration with other settings.
    """
    options.check()
    begin, quick, seed = time.monotonic(), options.quick, options.seed
    size = QUICK if quick else FULL
    with claim_folder(options.folder / NOTE, options.settings, "out", "demonstration") as folder:
        check_report_files(folder)
        _run(folder, size, quick, seed)
    print(f"\n{(time.monotonic() - begin) / 60:.1f} minutes. Open {folder / 'report.html'}")
    return folder / "report.html"


def _run(folder: Path, size: Size, quick: bool, seed: int) -> None:
    """Train and evaluate the encoders of the demonstration, and write the report to the output folder."""
    corpus = build_corpus(size.clips, seed) / "tracks.csv"
    encoders = train(folder, corpus, size, seed)
    models = {**make_baselines(encoders, seed), **encoders}
    tracks = check_audio(load_tracks(corpus), VIEW_SECONDS, progress=False)
    labels = label_signals(tracks, (*LABEL_COLUMNS, "tonic"))
    comparison = compare_models(
        models,
        tracks,
        tasks(tracks),
        conditions_for((CHAIN,), SEVERITIES, encoders[RUNS[0].name].sample_rate, OMIT),
        folder / "evaluation",
        labels={column: labels[column] for column in LABEL_COLUMNS},
        window_seconds=VIEW_SECONDS,
        methods=("linear", RETRIEVAL),
        seeds=(seed,),
        bootstrap_seed=seed,
    )
    frame = comparison.results.frame
    sections = [
        overview_section(frame),
        difference_section(comparison.results.differences(DIFFERENCES, seed)),
        *(robustness_section(frame, task) for task in SHOWN_UNDER_CORRUPTION),
        retrieval_section(frame),
        learning_section(
            histories(folder),
            {"loss": "loss", "val_loss": "validation loss", NEIGHBOR_AGREEMENT: "neighbors of the same key"},
            list(models),
        ),
        batch_section(encoders, tracks, labels[LABEL], seed),
        explorer_section(trained_first(comparison.embeddings), tracks, labels, CLIPS, seed),
    ]
    lead = (
        f"{size.clips} six-second clips of real compositions, rendered; {size.steps} steps of {size.batch_size} x 2 "
        f"views each; seed {seed}. The intervals account for the choice of test tunes, but not for the "
        "variation between seeds."
    )
    if quick:
        lead += " This is the quick version. It only checks that everything works. Its scores are not meaningful."
    content = {
        "settings": {**vars(size), "seed": seed, "quick": quick, "tracks": str(corpus)},
        "provenance": provenance_of(tracks, window_seconds=VIEW_SECONDS, seeds=(seed,)),
        "records": to_records(frame),
    }
    write_report(folder, "The effect of a few labels", lead, sections, content)
    for section in sections:
        if section.rows:
            print(f"\n{section.title}\n\n{format_table(section.header, section.rows)}")


def train(folder: Path, corpus: Path, size: Size, seed: int) -> dict[str, Encoder]:
    """Train the encoders of the demonstration that are not trained yet.

    Args:
        folder: output folder.
        corpus: path of the track table of the corpus.
        size: number of steps and batch size.
        seed: seed of the training.

    Returns:
        All trained encoders by name.
    """
    trained = {}
    for number, run in enumerate(RUNS, start=1):
        options = PretrainOptions(
            tracks=str(corpus),
            out=str(folder / run.name),
            view_seconds=VIEW_SECONDS,
            batch_size=size.batch_size,
            steps=size.steps,
            omit=OMIT,
            validation=ValidationOptions(every=25, labels=LABEL),
            seed=seed,
            title=f"{number} of {len(RUNS)}, {run.title}",
            **run.arguments,
        )
        path = pretrain(options)
        trained[run.name] = load_encoder(path)
    return trained


def tasks(tracks: TrackTable) -> list[Task]:
    """Return the prediction tasks of the demonstration.

    There are two tasks for the instrument family, on test clips with instruments of the training set and with new ones.
    """
    is_new = (tracks["timbre"] == "new").to_numpy()
    return [
        Task("key", "key"),
        Task("family", "family", ~is_new),
        Task("family, new timbres", "family", is_new),
        Task("mode", "mode"),
        Task("collection", "collection"),
    ]


def histories(folder: Path) -> dict[str, list[dict[str, float | None]]]:
    """Return the rows of `history.csv` of each training run in the output folder, with one row per step."""
    rows = {}
    for run in RUNS:
        read = read_history(folder / run.name / HISTORY, "out")
        rows[run.name] = [{name: float(cell) if cell else None for name, cell in row.items()} for row in read]
    return rows


def batch_section(
    encoders: dict[str, Encoder], tracks: TrackTable, labels: Labels, seed: int, items: int = 32
) -> Section:
    """Return a report section with target weights and similarities of embeddings for a batch of test clips.

    Args:
        encoders: encoders by name.
        tracks: track table.
        labels: labels of all tracks.
        seed: seed of the choice of clips.
        items: number of clips.
    """
    is_test = (tracks["split"] == "test").to_numpy()
    test, labels = tracks.select(is_test), labels[torch.from_numpy(is_test)]
    sampler = SemiSupervisedBatchSampler(range(len(test)), [], min(items, len(test)), seed=seed)
    batch = sorted(sampler.batch(0), key=lambda index: (not index.labeled, int(labels.values[index])))
    some = next(iter(encoders.values()))
    dataset = ContrastiveDataset(test, some.sample_rate, VIEW_SECONDS, views=2, labels=labels)
    read = dataset.batch(batch, make_generator(seed, "batch section"))
    rows = torch.arange(len(batch)).repeat_interleave(2)
    known = read["labeled"][rows]
    weights = SameClass()(read["labels"][rows], read["labels"][rows]) * (known[:, None] & known)
    weights = torch.where(rows[:, None] == rows, 1.0, weights)
    embedded = {}
    with torch.inference_mode():
        for run in RUNS:
            embedded[run.name] = encoders[run.name].eval()(read["waveforms"]).flatten(0, 1).numpy()
    text = (
        f"A batch of {len(batch)} test clips with two clean views each. The labeled half comes first, in the order of "
        "keys, then the half drawn without labels. The left panel shows the target weights of the semi-supervised "
        "loss; the others show the similarities of the embeddings of each encoder."
    )
    return similarity_section(weights.numpy(), embedded, text)


def trained_first(embeddings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the given embeddings by model in another order: trained encoders before baselines."""
    return {name: embeddings[name] for name in (*(run.name for run in RUNS), *BASELINES)}
