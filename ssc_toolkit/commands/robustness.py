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
from ssc_toolkit.evaluation.corrupted import SEVERITIES, robustness_of_models
from ssc_toolkit.evaluation.embedding.extract import embed_models
from ssc_toolkit.evaluation.embedding.models import window_seconds_of
from ssc_toolkit.evaluation.probing.probe import fit_probe
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.reports.page import table, write_report

CHAIN = "chain"


def stress(
    encoder: str,
    labels: tuple[str, ...],
    tracks: str = "scores",
    root: str | None = None,
    variant: str | None = None,
    methods: tuple[str, ...] = ("linear",),
    numbers: tuple[str, ...] = (),
    corruptions: tuple[str, ...] = (CHAIN,),
    severities: tuple[float, ...] = SEVERITIES,
    omit: tuple[str, ...] = (),
    draws: str | None = None,
    window_seconds: float | None = None,
    cache: str | None = None,
    out: str | None = None,
    most_skipped: float = 0.1,
    seed: int = 0,
) -> ScoresBySeverity:
    """Fit probes to an encoder on clean audio, then score the probes on corrupted test tracks.

    The command prints a table of test scores with 95 % intervals (bootstrap over groups of tracks) for the encoder, a
    random encoder and log-mel statistics, and a table of the fractions of the clean score that are lost.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        labels: label columns to predict.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset; splits as for `probe`.
        root: folder that the paths in the CSV file are relative to (by default its own folder), or folder of the
            dataset.
        variant: variant of the dataset, which determines its labels and splits.
        methods: some of linear, mlp, knn (nearest neighbors) and prototypes (zero-shot).
        numbers: those of the label columns that hold numbers; the others hold classes.
        corruptions: "chain" for the whole augmentation chain, or names of single corruptions: its stages gain,
            polarity_inversion, colored_noise, filter, pitch_shift, delay; or time_stretch, splice_out, reverb, chorus,
            distortion, compression, reverse, bitcrush, mp3.
        severities: severities from 0 (clean) to 2.5; clean audio is always scored as well.
        omit: stages of the chain to omit; omit pitch_shift if labels depend on key or pitch.
        draws: folder of stored corruptions. Corruptions in the folder are used; missing ones are drawn and added. Pass
            the same folder for another model to give both the same corrupted audio. By default corruptions are drawn
            from the seed and stored in the output folder.
        window_seconds: length of the non-overlapping windows that are averaged into an embedding, in seconds. By
            default the view length of the encoder's training, if its settings are next to it, or else 3.
        cache: folder of the embedding cache, whose keys depend on the content of model, audio and corruption.
        out: folder for report.json, report.md and report.html, which are replaced; by default no report is written.
        most_skipped: maximum fraction of files that are unreadable or shorter than a window.
        seed: seed of the corruptions, the heads, the random encoder and the split.

    Returns:
        Scores by corruption, model, task and severity.

    Raises:
        InputError: if an argument or a file is invalid; it is raised before the work starts.
    """
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
