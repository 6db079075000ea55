"""The command `ssc-toolkit robustness`."""

from __future__ import annotations

from typing import Any

from ssc_toolkit.augmentations import Augmentation, corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS
from ssc_toolkit.checks import check_whole
from ssc_toolkit.commands.inputs import check_methods, open_model_for, open_tracks, output_folder, with_baselines
from ssc_toolkit.commands.robustness_report import ScoresBySeverity, drops_by_severity, robustness_records, sections_of
from ssc_toolkit.commands.stored_draws import stored_corruptions
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.corrupted import robustness_of_models
from ssc_toolkit.evaluation.embedding.extract import embed_models
from ssc_toolkit.evaluation.embedding.models import window_seconds_of
from ssc_toolkit.evaluation.probing.probe import fit_probe
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.options.robustness import RobustnessOptions
from ssc_toolkit.reports.page import table, write_report

CHAIN = "chain"


def robustness(options: RobustnessOptions) -> ScoresBySeverity:
    """Fit probes to an encoder on clean audio, then score the probes on corrupted test tracks, and print the scores.

    Args:
        options: options, as on the command line.

    Returns:
        Scores by corruption, model, task and severity.

    Raises:
        InputError: if an option or a file is invalid; it is raised before the work starts.
    """
    options.check()
    encoder, labels, tracks, root = options.encoder, options.labels, options.tracks, options.root
    variant, methods, numbers, corruptions = options.variant, options.methods, options.numbers, options.corruptions
    severities, omit, draws, window_seconds = options.severities, options.omit, options.draws, options.window_seconds
    cache, out, most_skipped, seed = options.cache, options.out, options.most_skipped, options.seed
    check_whole("seed", seed, 0)
    with output_folder(out) as folder:
        check_methods(methods)
        model = open_model_for(encoder, cache)
        transforms = _transforms(model.sample_rate, corruptions, severities, omit)
        models = {name: candidates[0] for name, candidates in with_baselines(model, (seed,), window_seconds).items()}
        store = folder / "draws" if draws is None and folder is not None else draws
        kept = open_tracks(
            model,
            tracks,
            root,
            variant,
            window_seconds,
            most_skipped,
            labels=labels,
            numbers=numbers,
            methods=methods,
            seed=seed,
        )
        fixed = stored_corruptions(store, transforms, model.sample_rate, kept, seed, replace=draws is None)
        seconds = window_seconds_of(model, window_seconds)
        questions = {f"{label}, {method}": (label, method) for label in labels for method in methods}
        probes = {
            name: {
                key: fit_probe(own, kept, label, method, kind="number" if label in numbers else None, seed=seed)
                for key, (label, method) in questions.items()
            }
            for name, own in embed_models(models, kept, seconds, cache=cache).items()
        }
        tasks = [Task(key, key) for key in questions]
        clean = robustness_of_models(models, probes, tasks, kept, seconds, _nothing, (0.0,), cache=cache)
        scores: ScoresBySeverity = {}
        for name, by_severity in fixed.items():
            found = robustness_of_models(
                models, probes, tasks, kept, seconds, by_severity.__getitem__, list(by_severity), cache=cache
            )
            scores[name] = {m: {task: clean[m][task] | own[task] for task in own} for m, own in found.items()}
        drops = drops_by_severity(scores)
        sections = sections_of(scores, drops)
        for section in sections:
            print(table(section.header, section.rows) + "\n")
        if folder is not None:
            told = provenance_of(kept, window_seconds=seconds, seeds=(seed,), encoder=encoder, omit=list(omit))
            content = {"provenance": told, "records": robustness_records(scores, drops, questions, seed)}
            write_report(folder, "Robustness", f"Encoder {encoder}, tracks {tracks}.", sections, content)
        return scores


def _transforms(
    sample_rate: int, names: tuple[str, ...], severities: tuple[float, ...], omit: tuple[str, ...]
) -> dict[str, dict[float, Augmentation]]:
    """Return every corruption at every severity above 0."""
    for name in names or ("",):
        if name not in (CHAIN, *CORRUPTIONS):
            raise InputError(f"corruptions: expected some of {CHAIN}, {', '.join(CORRUPTIONS)}, got {name!r}")
    if not any(severity != 0 for severity in severities):
        raise InputError("severities: expected at least one above 0, got none")
    try:
        return {
            name: {
                severity: semisupcon_chain(sample_rate, severity, omit)
                if name == CHAIN
                else corruption(name, sample_rate, severity)
                for severity in sorted(set(severities) - {0.0})
            }
            for name in names
        }
    except ValueError as error:
        raise InputError(str(error)) from error


def _nothing(severity: float) -> Any:
    raise AssertionError(f"clean audio has no severity {severity}")
