"""The command `ssc-toolkit compare`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from ssc_toolkit.commands.inputs import (
    baselines_by_seed,
    check_readouts,
    choose_windows,
    describe_cross_validation,
    load_probed,
    make_tasks,
    output_folder,
    probed_labels,
    publish,
    stored_conditions,
    usable_probed_tracks,
)
from ssc_toolkit.commands.leaks import load_pretraining, print_leaks, probe_leaks
from ssc_toolkit.data import Labels
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.baselines import open_models
from ssc_toolkit.evaluation.comparison import RETRIEVAL, Comparison, compare_models
from ssc_toolkit.evaluation.conditions import conditions_for
from ssc_toolkit.evaluation.embedding.models import hash_model
from ssc_toolkit.evaluation.estimate import estimate_comparison
from ssc_toolkit.evaluation.metrics.classification import find_metrics
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.results import to_records
from ssc_toolkit.options.compare import CompareOptions
from ssc_toolkit.options.corruptions import corruption_parts, expand_corruptions
from ssc_toolkit.options.names import CHAIN
from ssc_toolkit.paths import user_path
from ssc_toolkit.reports.comparison_sections import (
    difference_section,
    drop_section,
    explorer_section,
    overview_section,
    retrieval_section,
    robustness_section,
    task_section,
)
from ssc_toolkit.reports.confusion_sections import confusion_sections
from ssc_toolkit.reports.leak_section import leak_section
from ssc_toolkit.reports.page import Section, check_report_files

PITCH_SHIFT = "pitch_shift"


def compare(options: CompareOptions) -> Path:
    """Compare models by probes on clean and corrupted audio, by retrieval, and on an interactive map with audio.

    The estimated time, memory and disk space are printed first. With `dry_run`, nothing else is done.

    Args:
        options: options of the command, as on the command line.

    Returns:
        Path of the HTML report.

    Raises:
        InputError: if an option or a file is invalid. The error is raised before the work starts.
    """
    options.check()
    seeds = range(options.seed, options.seed + options.repeats)
    check_report_files(user_path(options.out, "out"))
    with nullcontext(user_path(options.out, "out")) if options.dry_run else output_folder(options.out) as folder:
        tasks = make_tasks(options.labels)
        named = open_models(options.encoders, options.names, options.projections, allow_code=options.allow_code)
        untrained = baselines_by_seed(named, seeds)
        models = {**{name: [model] for name, model in named.items()}, **untrained}
        windows = choose_windows(models, options.window_seconds)
        readouts = check_readouts(models, windows, **options.readout, methods=options.methods)
        identities = {name: hash_model(own[0]) for name, own in models.items()}
        rate = max(own[0].sample_rate for own in models.values())
        pretraining = load_pretraining(dict(zip(named, options.encoders, strict=True)))
        found, plan = load_probed(models, options, options.seed)
        signals = probed_labels(found, options.labels, options.numbers, options.methods, seeds=seeds, plan=plan)
        omitted = _omitted(options, signals)
        conditions = conditions_for(options.corruptions, options.severities, rate, omitted)
        tracks, signals = usable_probed_tracks(found, options.max_unusable, signals, seeds, plan)
        estimate_comparison(
            models,
            tracks,
            signals,
            conditions,
            rate,
            folder,
            window_seconds=options.window_seconds,
            methods=options.methods,
            seeds=seeds,
            folds=1 if plan is None else max(plan.assign(tracks, signals[name], name).count for name in signals),
            audio_clips=options.audio_clips,
            **options.readout,
        ).report()
        if options.dry_run:
            return folder / "report.html"
        stored = stored_conditions(conditions, rate, tracks, options.seed, options.draws, folder)
        leaks = probe_leaks(tracks, pretraining, folder / "cache", plan)
        comparison = compare_models(
            models,
            tracks,
            tasks,
            stored,
            folder / "cache",
            labels=signals,
            window_seconds=options.window_seconds,
            methods=(*options.methods, RETRIEVAL),
            seeds=seeds,
            bootstrap_seed=options.seed,
            folds=options.folds,
            group_by=options.group_by,
            splits=() if plan is None else ("test",),
            **options.readout,
        )
        drops = comparison.results.relative_drops(options.seed)
        pairs = [*itertools.combinations(reversed(named), 2), *itertools.product(named, untrained)]
        differences = comparison.results.differences(pairs, options.seed)
        content = {
            "provenance": provenance_of(
                tracks,
                window_seconds=windows,
                seeds=seeds,
                models=identities,
                encoders=dict(zip(named, options.encoders, strict=True)),
                projections=options.projections,
                omitted=omitted,
                readouts=readouts,
                **describe_cross_validation(options),
            ),
            "records": to_records(pd.concat([comparison.results.frame, drops])),
            "differences": to_records(differences),
            "confusions": to_records(comparison.results.confusions()),
            "leaks": leaks.to_config(),
        }
        sections = _sections(comparison, drops, differences)
        sections += confusion_sections(comparison.results)
        sections.append(leak_section(leaks))
        sections.append(explorer_section(comparison.embeddings, tracks, signals, options.audio_clips, options.seed))
        publish(folder, "Model comparison", _lead(named, tracks, options, omitted), sections, content, printed=1)
    print_leaks(leaks, has_report=True)
    print(f"\nThe full report is {folder / 'report.html'} (robustness, differences, retrieval, and the map)")
    return folder / "report.html"


def _omitted(options: CompareOptions, signals: Mapping[str, Labels]) -> tuple[str, ...]:
    """Return the names of the stages to omit from the augmentation chain.

    They are those in the options, and pitch shift if a label column contains musical keys. `signals` are the labels of
    all tracks by column.

    Raises:
        InputError: if pitch shift is a corruption of its own or of a sequence, and a label is a key.
    """
    keys = [
        column for column, signal in signals.items() if "weighted_key_score" in find_metrics(signal.kind, signal.names)
    ]
    parts = {part for name in expand_corruptions(options.corruptions) for part in corruption_parts(name)}
    if keys and PITCH_SHIFT in parts:
        raise InputError(
            f"corruptions: {PITCH_SHIFT} changes the key in the label {keys[0]!r}; use them in separate comparisons"
        )
    if not keys or PITCH_SHIFT in options.omit or CHAIN not in parts:
        return tuple(options.omit)
    return (*options.omit, PITCH_SHIFT)


def _sections(comparison: Comparison, drops: pd.DataFrame, differences: pd.DataFrame) -> list[Section]:
    """Return all sections of the report except the interactive map.

    Args:
        comparison: scores of all models.
        drops: table of relative drops (`Results.relative_drops`).
        differences: table of paired differences (`Results.differences`).
    """
    frame = comparison.results.frame
    probed = frame[frame["method"] != RETRIEVAL]
    tasks = probed["task"].unique()
    sections = [overview_section(frame), *(task_section(frame, task) for task in tasks)]
    if len(drops):
        sections += [*(robustness_section(frame, task) for task in tasks), drop_section(drops)]
    sections.append(difference_section(differences))
    if len(probed) < len(frame):
        sections.append(retrieval_section(frame))
    return sections


def _lead(models: Iterable[str], tracks: TrackTable, options: CompareOptions, omitted: Sequence[str]) -> str:
    counts = tracks["split"].value_counts()
    sizes = ", ".join(f"{int(counts.get(split, 0))} {split}" for split in ("train", "valid", "test"))
    if options.folds is not None:
        sizes = f"{len(tracks)}, cross-validated" + (f" by {options.group_by}" if options.group_by else "")
    kind = "Projections of models" if options.projections else "Models"
    lead = (
        f"{kind} {', '.join(models)} and untrained baselines on {', '.join(options.labels)}; tracks: {options.tracks} "
        f"({sizes}). The intervals account for the choice of test tracks, not for the variation between training runs."
    )
    if omitted:
        lead += f" Omitted from the chain: {', '.join(omitted)}"
        lead += ", because pitch shift changes the key." if PITCH_SHIFT in omitted else "."
    return lead
