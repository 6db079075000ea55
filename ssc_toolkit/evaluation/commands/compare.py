"""The job of the command line that sets models side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ssc_toolkit.checks import check_whole
from ssc_toolkit.data import check_audio, load_tracks, with_splits
from ssc_toolkit.data.store import store_of
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.bootstrap import Interval
from ssc_toolkit.evaluation.commands.opening import check_methods, check_window, say_why_no_key_score, signals_of
from ssc_toolkit.evaluation.comparison import CHAIN, Comparison, compare_models, conditions_for
from ssc_toolkit.evaluation.corrupted import SEVERITIES, Task
from ssc_toolkit.evaluation.lineup import baselines, open_models
from ssc_toolkit.evaluation.metrics import metrics_of
from ssc_toolkit.evaluation.models import WaveformModel, fingerprint, window_seconds_of
from ssc_toolkit.evaluation.probing import check_labels
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.report import REPORTS, Section, table, write_report
from ssc_toolkit.evaluation.sections import (
    difference_section,
    drop_section,
    explorer_section,
    overview_section,
    paired_differences,
    relative_drops,
    retrieval_section,
    robustness_section,
    task_section,
)
from ssc_toolkit.files import clear_leftovers, held, writable_folder

PITCH_SHIFT = "pitch_shift"


def compare(
    encoders: tuple[str, ...],
    labels: tuple[str, ...],
    out: str,
    names: tuple[str, ...] = (),
    tracks: str = "scores",
    root: str | None = None,
    variant: str | None = None,
    numbers: tuple[str, ...] = (),
    corruptions: tuple[str, ...] = (CHAIN,),
    severities: tuple[float, ...] = SEVERITIES,
    omit: tuple[str, ...] = (),
    method: str = "linear",
    window_seconds: float | None = None,
    clips: int = 200,
    most_skipped: float = 0.1,
    seed: int = 0,
) -> Path:
    """Set models side by side: probes on clean and corrupted audio, retrieval, and a map that can be listened to.

    Writes report.html, report.md and report.json. A random encoder of each architecture and log-mel statistics are
    always among the models. What has been computed is kept in the folder: the same call goes on where it was
    interrupted, and one with a further model or corruption computes just that. Where a label is a key, pitch shift is
    left out of the chain.

    Args:
        encoders: folders of saved encoders; or module:function for a model of your own.
        labels: label columns to predict.
        out: folder for the report, which is replaced, and for what is kept.
        names: of the models in the report; by default from their folders.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset; splits as for `probe`.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        numbers: those of the labels that are real numbers, to be predicted by regression.
        corruptions: "chain" for the whole augmentation chain, or one alone, as for `robustness`.
        severities: 0 to 2.5; clean audio is always there.
        omit: stages to leave out of the chain.
        method: of the probes: linear, mlp, knn or prototypes.
        window_seconds: an embedding is the mean over non-overlapping windows of this length; by default that of the
            views that an encoder was trained on, or 3.
        clips: how many test tracks can be heard in the page; each adds 13 kB to it.
        most_skipped: share of the files that may be unreadable or shorter than a window.
        seed: of random encoders, corruptions, probes and split.

    Returns:
        The HTML report.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
    """
    check_whole("seed", seed, 0)
    check_whole("clips", clips, 0)
    check_methods((method,))
    if not labels:
        raise InputError("labels: give at least one label column")
    folder = writable_folder(Path(out), "out")
    models = open_models(encoders, names)
    untrained = baselines(models, seed)
    everything = {**models, **untrained}
    windows = {name: window_seconds_of(model, window_seconds) for name, model in everything.items()}
    rate = max(model.sample_rate for model in everything.values())
    conditions_for(corruptions, severities, rate, omit)  # an error before a corpus is rendered
    found = with_splits(load_tracks(tracks, root, variant), seed)
    left_out = _left_out(found, labels, numbers, corruptions, omit)
    conditions = conditions_for(corruptions, severities, rate, left_out)
    with held(folder, "out"):
        clear_leftovers(folder, names=REPORTS)
        kept = _usable(found, everything, windows, labels, numbers, most_skipped)
        comparison = compare_models(
            everything,
            kept,
            [Task(label, label) for label in dict.fromkeys(labels)],
            conditions,
            folder / "cache",
            numbers=numbers,
            window_seconds=window_seconds,
            method=method,
            seed=seed,
        )
        content = {
            "provenance": provenance_of(
                kept,
                window_seconds=windows,
                seeds=(seed,),
                models={name: fingerprint(model) for name, model in everything.items()},
                encoders=dict(zip(models, encoders, strict=True)),
                omitted=left_out,
            ),
            "records": comparison.records(method, seed),
        }
        pairs = [*itertools.combinations(reversed(models), 2), *itertools.product(models, untrained)]
        sections = _sections(comparison, pairs, content, method, seed)
        print(f"\n{sections[0].title}\n\n{table(sections[0].header, sections[0].rows)}\n")
        sections.append(explorer_section(comparison.embeddings, kept, dict.fromkeys(labels), clips, seed))
        write_report(folder, "Models side by side", _lead(models, kept, labels, left_out, tracks), sections, content)
    print(f"\nOpen {folder / 'report.html'} for the rest: robustness, differences, retrieval, and the map")
    return folder / "report.html"


def _left_out(
    tracks: pd.DataFrame,
    labels: Sequence[str],
    numbers: Sequence[str],
    corruptions: Sequence[str],
    omit: Sequence[str],
) -> tuple[str, ...]:
    """Stages to leave out of the chain: pitch shift changes what a key says.

    Raises:
        InputError: for a label column that cannot be probed, or pitch shift alone beside a key.
    """
    keys = []
    for column, signal in signals_of(tracks, labels, numbers).items():
        check_labels(tracks, signal, column)
        say_why_no_key_score(column, signal)
        if "weighted_key_score" in metrics_of(signal.kind, signal.names):
            keys.append(column)
    if keys and PITCH_SHIFT in corruptions:
        raise InputError(f"corruptions: {PITCH_SHIFT} changes what the label {keys[0]!r} says; compare them apart")
    if not keys or PITCH_SHIFT in omit or CHAIN not in corruptions:
        return tuple(omit)
    return (*omit, PITCH_SHIFT)


def _usable(
    tracks: pd.DataFrame,
    models: Mapping[str, WaveformModel],
    windows: Mapping[str, float],
    labels: Sequence[str],
    numbers: Sequence[str],
    most_skipped: float,
) -> pd.DataFrame:
    """The tracks that every model can hear."""
    for name, model in models.items():
        check_window(windows[name], name, model)
        store_of(tracks, model.sample_rate)  # a store at another rate is an error before anything is looked at
    kept = check_audio(tracks, max(windows.values()), most_skipped)
    for column, signal in signals_of(kept, labels, numbers).items():
        check_labels(kept, signal, column)
    return kept


def _sections(
    comparison: Comparison, pairs: Sequence[tuple[str, str]], content: dict[str, Any], method: str, seed: int
) -> list[Section]:
    """All sections but the map; adds the numbers of the paired ones to the content of the JSON file."""
    tasks = [task.name for task in comparison.tasks]
    differences = paired_differences(comparison, pairs, seed)
    content["differences"] = [
        {"task": task, "model": one, "less": other, "condition": condition, **_numbers(interval)}
        for task, by_pair in differences.items()
        for (one, other), by_condition in by_pair.items()
        for condition, interval in by_condition.items()
    ]
    sections = [overview_section(comparison, method), *(task_section(comparison, task) for task in tasks)]
    if len(comparison.conditions) > 1:
        drops = relative_drops(comparison, seed)
        content["relative_drops"] = [
            {"task": task, "model": model, "condition": condition, **_numbers(interval)}
            for task, by_model in drops.items()
            for model, by_condition in by_model.items()
            for condition, interval in by_condition.items()
        ]
        sections += [*(robustness_section(comparison, task) for task in tasks), drop_section(comparison, drops)]
    sections.append(difference_section(differences))
    if any(comparison.retrieval.values()):
        sections.append(retrieval_section(comparison.retrieval))
    return sections


def _numbers(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON can hold it."""
    return {name: value if math.isfinite(value) else None for name, value in vars(interval).items()}


def _lead(
    models: Iterable[str], tracks: pd.DataFrame, labels: Sequence[str], omitted: Sequence[str], source: str
) -> str:
    counts = tracks["split"].value_counts()
    sizes = ", ".join(f"{int(counts.get(split, 0))} {split}" for split in ("train", "valid", "test"))
    lead = (
        f"{', '.join(models)} beside untrained baselines on {', '.join(labels)}; tracks: {source} ({sizes}). Intervals "
        "speak of the test tracks, not of training anew."
    )
    if omitted:
        lead += f" Left out of the chain: {', '.join(omitted)}"
        lead += ", because it changes what a key says." if PITCH_SHIFT in omitted else "."
    return lead
