"""The command `ssc-toolkit robustness`."""

from __future__ import annotations

import pandas as pd

from ssc_toolkit.commands.inputs import (
    THIS,
    check_readouts,
    encoder_and_baselines,
    load_for,
    make_tasks,
    optional_folder,
    probed_labels,
    publish,
    stored_conditions,
    usable_probed_tracks,
)
from ssc_toolkit.commands.leaks import load_pretraining, print_leaks, probe_leaks
from ssc_toolkit.evaluation.comparison import compare_models
from ssc_toolkit.evaluation.conditions import conditions_for
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.results import Results, to_records
from ssc_toolkit.options.robustness import RobustnessOptions
from ssc_toolkit.reports.comparison_sections import drop_section, robustness_section
from ssc_toolkit.reports.leak_section import leak_section


def robustness(options: RobustnessOptions) -> Results:
    """Fit probes to an encoder on clean audio, then score the probes on corrupted test tracks, and print the scores.

    Args:
        options: options of the command, as on the command line.

    Returns:
        All scores. `Results.frame` is a table of them.

    Raises:
        InputError: if an option or a file is invalid. The error is raised before the work starts.
    """
    options.check()
    with optional_folder(options.out) as folder:
        tasks = make_tasks(options.labels)
        seeds = (options.seed,)
        models, seconds = encoder_and_baselines(
            options.encoder, options.cache, options.window_seconds, seeds, allow_code=options.allow_code
        )
        readouts = check_readouts(models, dict.fromkeys(models, seconds), **options.readout, methods=options.methods)
        rate = models[THIS][0].sample_rate
        conditions = conditions_for(options.corruptions, options.severities, rate, options.omit)
        pretraining = load_pretraining({THIS: options.encoder})
        found = load_for(models, options, options.seed)
        signals = probed_labels(found, options.labels, options.numbers, options.methods)
        tracks, signals = usable_probed_tracks(found, options.max_unusable, signals)
        stored = stored_conditions(conditions, rate, tracks, options.seed, options.draws, folder)
        leaks = probe_leaks(tracks, pretraining, options.cache)
        results = compare_models(
            models,
            tracks,
            tasks,
            stored,
            options.cache,
            labels=signals,
            window_seconds=seconds,
            methods=options.methods,
            seeds=seeds,
            **options.readout,
        ).results
        drops = results.relative_drops()
        sections = [*(robustness_section(results.frame, task.name) for task in tasks), drop_section(drops)]
        content = {
            "provenance": provenance_of(
                tracks,
                window_seconds=seconds,
                seeds=seeds,
                encoder=options.encoder,
                omit=list(options.omit),
                readouts=readouts,
            ),
            "records": to_records(pd.concat([results.frame, drops])),
            "leaks": leaks.to_config(),
        }
        sections.append(leak_section(leaks))
        lead = f"Encoder {options.encoder}, tracks {options.tracks}."
        publish(folder, "Robustness", lead, sections, content, printed=len(sections) - 1)
        print_leaks(leaks, options.out is not None)
        return results
