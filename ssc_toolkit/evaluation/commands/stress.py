"""`ssc-toolkit robustness`."""

from __future__ import annotations

from typing import Any

from ssc_toolkit.augmentations import Augmentation, corruption, semisupcon_chain
from ssc_toolkit.augmentations.presets import CORRUPTIONS
from ssc_toolkit.checks import check_whole
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.commands.opening import (
    check_methods,
    open_model_for,
    open_tracks,
    output_folder,
    with_baselines,
)
from ssc_toolkit.evaluation.commands.stored_draws import stored_corruptions
from ssc_toolkit.evaluation.commands.stress_report import Scores, records_of, relative_drops, sections_of
from ssc_toolkit.evaluation.corrupted import SEVERITIES, Task, robustness_of_models
from ssc_toolkit.evaluation.embed import embed_models
from ssc_toolkit.evaluation.models import window_seconds_of
from ssc_toolkit.evaluation.probing import fit_probe
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.report import table, write_report

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
) -> Scores:
    """Probe an encoder on clean audio, then score the probes on corrupted test tracks.

    Prints a table of test scores with 95 % intervals (bootstrap over groups of tracks), beside an untrained encoder
    and no encoder at all, and the share of the clean score that is lost.

    Args:
        encoder: folder of a saved encoder, or module:function that gives a model.
        labels: label columns to predict.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset; splits as for `probe`.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        methods: some of linear, mlp, knn (nearest neighbours) and prototypes (zero-shot).
        numbers: those of the labels that are numbers to predict; the others are classes.
        corruptions: "chain" for the whole augmentation chain, or one alone: its stages gain, polarity_inversion,
            colored_noise, filter, pitch_shift, delay; or time_stretch, splice_out, reverb, chorus, distortion,
            compression, reverse, bitcrush, mp3.
        severities: 0 (clean) to 2.5; clean audio is always scored as well.
        omit: stages to leave out of the chain; leave out pitch_shift where labels speak of key or pitch.
        draws: folder of stored corruptions; what it holds is used, what it lacks is drawn and added. Give it again for
            another model, and both hear the same. Without it they follow from the seed, and are stored in the output
            folder.
        window_seconds: an embedding is the mean over non-overlapping windows of this length; by default that of the
            views the encoder was trained on, if their settings lie beside it, otherwise 3.
        cache: folder for embeddings, found again by the content of model, audio and corruption.
        out: folder for report.json, report.md and report.html, which are replaced; nothing is written by default.
        most_skipped: share of the files that may be unreadable or shorter than a window.
        seed: of the corruptions, the heads, the random encoder and the split.

    Returns:
        Scores by corruption, model, task and severity.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
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
        scores: Scores = {}
        for name, by_severity in fixed.items():
            found = robustness_of_models(
                models, probes, tasks, kept, seconds, by_severity.__getitem__, list(by_severity), cache=cache
            )
            scores[name] = {m: {task: clean[m][task] | own[task] for task in own} for m, own in found.items()}
        drops = relative_drops(scores)
        sections = sections_of(scores, drops)
        for section in sections:
            print(table(section.header, section.rows) + "\n")
        if folder is not None:
            told = provenance_of(kept, window_seconds=seconds, seeds=(seed,), encoder=encoder, omit=list(omit))
            content = {"provenance": told, "records": records_of(scores, drops, questions, seed)}
            write_report(folder, "Robustness", f"Encoder {encoder}, tracks {tracks}.", sections, content)
        return scores


def _transforms(
    sample_rate: int, names: tuple[str, ...], severities: tuple[float, ...], omit: tuple[str, ...]
) -> dict[str, dict[float, Augmentation]]:
    """Every corruption at every severity above 0."""
    for name in names or ("",):
        if name not in (CHAIN, *CORRUPTIONS):
            raise InputError(f"corruptions: expected some of {CHAIN}, {', '.join(CORRUPTIONS)}, got {name!r}")
    if not any(severity != 0 for severity in severities):
        raise InputError("severities: expected at least one above 0")
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
