"""The command `ssc-toolkit compare`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ssc_toolkit.checks import check_whole
from ssc_toolkit.commands.inputs import check_methods, check_window, label_signals, say_why_no_key_score
from ssc_toolkit.data import check_audio, load_tracks, with_splits
from ssc_toolkit.data.store import store_of
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import baselines, open_models
from ssc_toolkit.evaluation.comparison import CHAIN, Comparison, compare_models, conditions_for
from ssc_toolkit.evaluation.embedding.models import WaveformModel, fingerprint, window_seconds_of
from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.metrics.classification import metrics_of
from ssc_toolkit.evaluation.probing.probe import check_labels
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.files import clear_leftovers, held, writable_folder
from ssc_toolkit.options.compare import CompareOptions
from ssc_toolkit.paths import user_path
from ssc_toolkit.reports.comparison_sections import (
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
from ssc_toolkit.reports.page import REPORTS, Section, table, write_report

PITCH_SHIFT = "pitch_shift"


def compare(options: CompareOptions) -> Path:
    """Compare models by probes on clean and corrupted audio, by retrieval, and on an interactive map with audio.

    Args:
        options: options, as on the command line.

    Returns:
        Path of the HTML report.

    Raises:
        InputError: if an option or a file is invalid; it is raised before the work starts.
    """
    options.check()
    encoders, labels, out, names = options.encoders, options.labels, options.out, options.names
    tracks, root, variant, numbers = options.tracks, options.root, options.variant, options.numbers
    corruptions, severities, omit, method = options.corruptions, options.severities, options.omit, options.method
    window_seconds, clips, most_skipped, seed = (
        options.window_seconds,
        options.clips,
        options.most_skipped,
        options.seed,
    )
    check_whole("seed", seed, 0)
    check_whole("clips", clips, 0)
    check_methods((method,))
    if not labels:
        raise InputError("labels: expected at least one label column, got none")
    folder = writable_folder(user_path(out, "out"), "out")
    models = open_models(encoders, names)
    untrained = baselines(models, seed)
    everything = {**models, **untrained}
    windows = {name: window_seconds_of(model, window_seconds) for name, model in everything.items()}
    rate = max(model.sample_rate for model in everything.values())
    conditions_for(corruptions, severities, rate, omit)  # fail before a corpus is rendered
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
        write_report(folder, "Model comparison", _lead(models, kept, labels, left_out, tracks), sections, content)
    print(f"\nThe full report is {folder / 'report.html'} (robustness, differences, retrieval, and the map)")
    return folder / "report.html"


def _left_out(
    tracks: pd.DataFrame,
    labels: Sequence[str],
    numbers: Sequence[str],
    corruptions: Sequence[str],
    omit: Sequence[str],
) -> tuple[str, ...]:
    """Return the stages to omit from the chain, with pitch shift if a label is a key, which pitch shift changes.

    Raises:
        InputError: if a label column cannot be probed, or if pitch shift is a separate corruption and a label is a key.
    """
    keys = []
    for column, signal in label_signals(tracks, labels, numbers).items():
        check_labels(tracks, signal, column)
        say_why_no_key_score(column, signal)
        if "weighted_key_score" in metrics_of(signal.kind, signal.names):
            keys.append(column)
    if keys and PITCH_SHIFT in corruptions:
        raise InputError(
            f"corruptions: {PITCH_SHIFT} changes the key in the label {keys[0]!r}; use them in separate comparisons"
        )
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
    """Return the tracks that are readable and long enough for every model."""
    for name, model in models.items():
        check_window(windows[name], name, model)
        store_of(tracks, model.sample_rate)  # fail early if the store has another sample rate
    kept = check_audio(tracks, max(windows.values()), most_skipped)
    for column, signal in label_signals(kept, labels, numbers).items():
        check_labels(kept, signal, column)
    return kept


def _sections(
    comparison: Comparison, pairs: Sequence[tuple[str, str]], content: dict[str, Any], method: str, seed: int
) -> list[Section]:
    """Return all sections except the map, and add paired differences and drops to the content of the JSON file."""
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
    """Return an interval in a form that JSON can hold."""
    return {name: value if math.isfinite(value) else None for name, value in vars(interval).items()}


def _lead(
    models: Iterable[str], tracks: pd.DataFrame, labels: Sequence[str], omitted: Sequence[str], source: str
) -> str:
    counts = tracks["split"].value_counts()
    sizes = ", ".join(f"{int(counts.get(split, 0))} {split}" for split in ("train", "valid", "test"))
    lead = (
        f"Models {', '.join(models)} and untrained baselines on {', '.join(labels)}; tracks: {source} ({sizes}). The "
        "intervals describe the choice of test tracks, not the variation between training runs."
    )
    if omitted:
        lead += f" Omitted from the chain: {', '.join(omitted)}"
        lead += ", because pitch shift changes the key." if PITCH_SHIFT in omitted else "."
    return lead
