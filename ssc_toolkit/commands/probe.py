"""The command `ssc-toolkit probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ssc_toolkit.checks import check_fractions, check_whole
from ssc_toolkit.commands.inputs import (
    FINETUNE,
    check_methods,
    open_model_for,
    open_tracks,
    others,
    output_folder,
    with_baselines,
)
from ssc_toolkit.data.labels import Kind
from ssc_toolkit.evaluation.embedding.extract import embed_models, embed_tracks
from ssc_toolkit.evaluation.embedding.models import WaveformModel, is_trainable, window_seconds_of
from ssc_toolkit.evaluation.metrics.records import Record, to_records
from ssc_toolkit.evaluation.metrics.scores import Predictions, Score, measure
from ssc_toolkit.evaluation.probing.finetuning import finetune
from ssc_toolkit.evaluation.probing.heads import HEADS
from ssc_toolkit.evaluation.probing.probe import fit_probe
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.retrieval.geometry import embedding_geometry
from ssc_toolkit.options.probe import ProbeOptions
from ssc_toolkit.reports.page import Section, table, write_report

Scores = dict[tuple[str, str, str, float], Score]
"""Scores by model, label, method and fraction of the training labels."""


def probe(options: ProbeOptions) -> Scores:
    """Score an encoder, a random encoder and log-mel statistics by probes for each label, and print the scores.

    Args:
        options: options, as on the command line.

    Returns:
        Scores by model, label, method and fraction of the training labels.

    Raises:
        InputError: if an option or a file is invalid; it is raised before the work starts.
    """
    options.check()
    encoder, labels, tracks, root = options.encoder, options.labels, options.tracks, options.root
    variant, methods, numbers, label_shares = options.variant, options.methods, options.numbers, options.label_shares
    repeats, window_seconds, finetune_steps, cache = (
        options.repeats,
        options.window_seconds,
        options.finetune_steps,
        options.cache,
    )
    out, most_skipped, seed = options.out, options.most_skipped, options.seed
    with output_folder(out) as folder:
        check_methods(methods, (*HEADS, FINETUNE))
        _check(label_shares, repeats, finetune_steps, seed)
        model = open_model_for(encoder, cache)
        seeds = range(seed, seed + repeats)
        models = with_baselines(model, seeds, window_seconds)
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
            label_shares=label_shares,
            seed=seed,
        )
        seconds = window_seconds_of(model, window_seconds)
        embeddings = embed_all(models, kept, seconds, cache)
        kinds: dict[str, Kind | None] = {column: "number" if column in numbers else None for column in labels}
        scores: Scores = {}
        for column in labels:
            for method in methods:
                for share in label_shares:
                    for name, candidates in models.items():
                        if method == FINETUNE:
                            found = _finetuned(
                                candidates, kept, column, seconds, kinds[column], share, seeds, finetune_steps
                            )
                        else:
                            found = _predictions(embeddings[name], kept, column, method, kinds[column], share, seeds)
                        if found:
                            scores[name, column, method, share] = measure(found)
        sections = [_section(scores), _geometry_section(embeddings, kept)]
        for section in sections:
            print(table(section.header, section.rows) + "\n")
        if folder is not None:
            told = provenance_of(kept, window_seconds=seconds, seeds=seeds, encoder=encoder)
            content = {"provenance": told, "records": records_of(scores, seeds)}
            write_report(folder, "Probes", f"Encoder {encoder}, tracks {tracks}.", sections, content)
        return scores


def embed_all(
    models: Mapping[str, Sequence[WaveformModel]], tracks: pd.DataFrame, seconds: float, cache: str | None
) -> dict[str, list[np.ndarray]]:
    """Compute the embeddings under every model in one pass, as a list for each name and in the order of its models."""
    flat = {f"{name} {number}": model for name, own in models.items() for number, model in enumerate(own)}
    found = embed_models(flat, tracks, seconds, cache=cache)
    return {name: [found[f"{name} {number}"] for number in range(len(own))] for name, own in models.items()}


def records_of(scores: Scores, seeds: Sequence[int]) -> list[Record]:
    """Return the scores as records."""
    return [
        record
        for (name, column, method, share), score in scores.items()
        for record in to_records(
            score, model=name, task=column, method=method, label_share=share, seed=seed_of(score, seeds)
        )
    ]


def seed_of(score: Score, seeds: Sequence[int]) -> int | None:
    """Return the seed of a score, or None for a mean over several seeds."""
    return seeds[0] if score.seeds == 1 else None


def _check(label_shares: Sequence[float], repeats: int, finetune_steps: int, seed: int) -> None:
    for argument, number, least in (("repeats", repeats, 1), ("finetune_steps", finetune_steps, 1), ("seed", seed, 0)):
        check_whole(argument, number, least)
    check_fractions("label_shares", label_shares)


def _predictions(
    embeddings: Sequence[np.ndarray],
    tracks: pd.DataFrame,
    column: str,
    method: str,
    kind: Kind | None,
    share: float,
    seeds: Sequence[int],
) -> list[Predictions]:
    """Return the test predictions of each seed, or of the first seed only if the seed has no effect."""
    varies = len(embeddings) > 1 or method == "mlp" or share < 1
    return [
        fit_probe(own, tracks, column, method, kind=kind, label_share=share, seed=seed).predict(own, tracks)
        for seed in (seeds if varies else seeds[:1])
        for own in [embeddings[(seed - seeds[0]) % len(embeddings)]]
    ]


def _finetuned(
    models: Sequence[WaveformModel],
    tracks: pd.DataFrame,
    column: str,
    seconds: float,
    kind: Kind | None,
    share: float,
    seeds: Sequence[int],
    steps: int,
) -> list[Predictions]:
    """Return the test predictions of each seed after fine-tuning; an empty list if the model has no weights."""
    if not is_trainable(models[0]):
        return []
    found = []
    for seed in seeds:
        model = models[(seed - seeds[0]) % len(models)]
        tuned = finetune(model, tracks, column, seconds, kind=kind, label_share=share, steps=steps, seed=seed)
        found.append(tuned.probe.predict(embed_tracks(tuned.model, tracks, seconds, progress=False), tracks))
    return found


def _section(scores: Scores) -> Section:
    rows = [
        [
            name,
            column,
            method,
            f"{100 * share:g} %",
            score.metric,
            str(score.headline),
            others(score),
            str(score.tracks),
        ]
        for (name, column, method, share), score in scores.items()
    ]
    header = ["model", "label", "method", "labels used", "metric", "test score", "other metrics", "tracks"]
    return Section("Probes", header=header, rows=rows)


def _geometry_section(embeddings: Mapping[str, Sequence[np.ndarray]], tracks: pd.DataFrame) -> Section:
    test = (tracks["split"] == "test").to_numpy()
    rows = []
    for name, own in embeddings.items():
        vectors = own[0][test]
        usable = int(np.isfinite(vectors).all(axis=1).sum())
        if usable > 1:
            found = embedding_geometry(vectors, min(10, usable - 1))
            numbers = (found.hub_skewness, found.robin_hood, found.anti_hubs, found.mean_cosine, found.effective_rank)
            rows.append([name, *(f"{number:.3f}" for number in numbers)])
    header = ["model", "hub skewness", "Robin Hood index", "anti-hubs", "mean cosine", "effective rank"]
    return Section("Hubness and anisotropy of the test embeddings", header=header, rows=rows)
