"""The command `ssc-toolkit probe`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ssc_toolkit.commands.inputs import (
    THIS,
    ModelsBySeed,
    check_readouts,
    describe_cross_validation,
    encoder_and_baselines,
    load_probed,
    make_tasks,
    optional_folder,
    probed_labels,
    publish,
    usable_probed_tracks,
)
from ssc_toolkit.commands.leaks import load_pretraining, print_leaks, probe_leaks
from ssc_toolkit.data import Labels
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.evaluation.comparison import compare_models
from ssc_toolkit.evaluation.embedding.extract import embed_tracks
from ssc_toolkit.evaluation.embedding.models import is_trainable
from ssc_toolkit.evaluation.metrics.scores import measure
from ssc_toolkit.evaluation.probing.finetuning import finetune
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.results import Results, make_score_row, to_records
from ssc_toolkit.options.names import FINETUNE
from ssc_toolkit.options.probe import ProbeOptions
from ssc_toolkit.reports.comparison_sections import difference_section
from ssc_toolkit.reports.confusion_sections import confusion_sections
from ssc_toolkit.reports.evaluation_sections import geometry_section, probe_section
from ssc_toolkit.reports.leak_section import leak_section


def probe(options: ProbeOptions) -> Results:
    """Fit probes for each label to an encoder and to baselines, and print their scores.

    Args:
        options: options of the command, as on the command line.

    Returns:
        All scores. `Results.frame` is a table of them.

    Raises:
        InputError: if an option or a file is invalid. The error is raised before the work starts.
    """
    options.check()
    seeds = range(options.seed, options.seed + options.repeats)
    with optional_folder(options.out) as folder:
        tasks = make_tasks(options.labels)
        models, seconds = encoder_and_baselines(
            options.encoder,
            options.cache,
            options.window_seconds,
            seeds,
            options.projections,
            allow_code=options.allow_code,
        )
        readouts = check_readouts(models, dict.fromkeys(models, seconds), **options.readout, methods=options.methods)
        pretraining = load_pretraining({THIS: options.encoder})
        found, plan = load_probed(models, options, options.seed)
        signals = probed_labels(
            found, options.labels, options.numbers, options.methods, options.label_fractions, seeds, plan
        )
        tracks, signals = usable_probed_tracks(found, options.max_unusable, signals, seeds, plan)
        leaks = probe_leaks(tracks, pretraining, options.cache, plan)
        comparison = compare_models(
            models,
            tracks,
            tasks,
            cache=options.cache,
            labels=signals,
            window_seconds=seconds,
            methods=[method for method in options.methods if method != FINETUNE],
            label_fractions=options.label_fractions,
            seeds=seeds,
            folds=options.folds,
            group_by=options.group_by,
            splits=() if plan is None else ("test",),
            **options.readout,
        )
        results = comparison.results
        if FINETUNE in options.methods:
            results = Results.joined(
                [results, Results.of(_fine_tuned(models, tracks, signals, seconds, options, seeds))]
            )
        differences = results.differences([(THIS, name) for name in models if name != THIS], options.seed)
        sections = [
            probe_section(results.frame),
            difference_section(differences),
            geometry_section(comparison.embeddings, tracks),
        ]
        printed = len(sections)
        sections += confusion_sections(results)
        content = {
            "provenance": provenance_of(
                tracks,
                window_seconds=seconds,
                seeds=seeds,
                encoder=options.encoder,
                projections=options.projections,
                readouts=readouts,
                **describe_cross_validation(options),
            ),
            "records": to_records(results.frame),
            "differences": to_records(differences),
            "confusions": to_records(results.confusions()),
            "leaks": leaks.to_config(),
        }
        sections.append(leak_section(leaks))
        model = "Projections of encoder" if options.projections else "Encoder"
        lead = f"{model} {options.encoder}, tracks {options.tracks}."
        publish(folder, "Probes", lead, sections, content, printed=printed)
        print_leaks(leaks, options.out is not None)
        return results


def _fine_tuned(
    models: ModelsBySeed,
    tracks: TrackTable,
    signals: Mapping[str, Labels],
    seconds: float,
    options: ProbeOptions,
    seeds: Sequence[int],
) -> Iterator[dict[str, Any]]:
    """Fine-tune each trainable model on each label column, and yield the scores as rows from `make_score_row`.

    `signals` are the labels of all tracks by column, `seconds` is the window length, and `seeds` are those of the
    fine-tuning.
    """
    for column, labels in signals.items():
        for fraction in options.label_fractions:
            for name, own in models.items():
                if not is_trainable(own[0]):
                    continue
                predictions = []
                for number, seed in enumerate(seeds):
                    tuned = finetune(
                        own[number % len(own)],
                        tracks,
                        column,
                        seconds,
                        labels=labels,
                        label_fraction=fraction,
                        steps=options.finetune_steps,
                        seed=seed,
                        **options.readout,
                    )
                    embeddings = embed_tracks(tuned.model, tracks, seconds, progress=False, **options.readout)
                    predictions.append(tuned.probe.predict(embeddings, tracks))
                score = measure(predictions)
                yield make_score_row(
                    score, model=name, task=column, method=FINETUNE, label_fraction=fraction, seed=seeds[0]
                )
