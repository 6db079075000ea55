"""`ssc-toolkit probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from ssc_toolkit.checks import check_fractions, check_whole
from ssc_toolkit.data.labels import Kind
from ssc_toolkit.evaluation.commands.opening import (
    FINETUNE,
    check_methods,
    open_model_for,
    open_tracks,
    others,
    output_folder,
    with_baselines,
)
from ssc_toolkit.evaluation.embed import embed_models, embed_tracks
from ssc_toolkit.evaluation.finetuning import finetune
from ssc_toolkit.evaluation.geometry import embedding_geometry
from ssc_toolkit.evaluation.heads import HEADS
from ssc_toolkit.evaluation.models import WaveformModel, is_trainable, window_seconds_of
from ssc_toolkit.evaluation.probing import fit_probe
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.records import Record, to_records
from ssc_toolkit.evaluation.report import Section, table, write_report
from ssc_toolkit.evaluation.scores import Predictions, Score, measure

Scores = dict[tuple[str, str, str, float], Score]
"""By model, label, method and label share."""


def probe(
    encoder: str,
    labels: tuple[str, ...],
    tracks: str = "scores",
    root: str | None = None,
    variant: str | None = None,
    methods: tuple[str, ...] = ("linear",),
    numbers: tuple[str, ...] = (),
    label_shares: tuple[float, ...] = (1.0,),
    repeats: int = 1,
    window_seconds: float | None = None,
    finetune_steps: int = 1000,
    cache: str | None = None,
    out: str | None = None,
    most_skipped: float = 0.1,
    seed: int = 0,
) -> Scores:
    """Probe an encoder for each label, beside an untrained one and no encoder at all.

    Prints a table of test scores with 95 % intervals (bootstrap over groups of tracks, and over seeds if there are
    several).

    Args:
        encoder: folder of a saved encoder, or module:function that gives a model.
        labels: label columns to predict.
        tracks: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a store that
            `ssc-toolkit prepare` made, or the name of a dataset. A `split` column (train, valid, test) is used if
            there is one; otherwise tracks are split at random, 70/10/20, a `group` together.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        methods: some of linear, mlp, knn (nearest neighbours), prototypes (zero-shot) and finetune (the whole encoder).
        numbers: those of the labels that are numbers to predict; the others are classes.
        label_shares: shares of the labelled training tracks to use, above 0 to 1, one score each; smaller ones are
            part of larger ones.
        repeats: seeds, from `seed` on; a score is the mean over them.
        window_seconds: an embedding is the mean over non-overlapping windows of this length; by default that of the
            views the encoder was trained on, if their settings lie beside it, otherwise 3.
        finetune_steps: steps of fine-tuning at most.
        cache: folder for embeddings, found again by the content of model and audio.
        out: folder for report.json, report.md and report.html, which are replaced; nothing is written by default.
        most_skipped: share of the files that may be unreadable or shorter than a window.
        seed: the first: of heads, random encoders, label shares and the split.

    Returns:
        Scores by model, label, method and label share.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
    """
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
    """Embeddings under every model, in one pass: a list for each name, as long as its list of models."""
    flat = {f"{name} {number}": model for name, own in models.items() for number, model in enumerate(own)}
    found = embed_models(flat, tracks, seconds, cache=cache)
    return {name: [found[f"{name} {number}"] for number in range(len(own))] for name, own in models.items()}


def records_of(scores: Scores, seeds: Sequence[int]) -> list[Record]:
    """The scores as records."""
    return [
        record
        for (name, column, method, share), score in scores.items()
        for record in to_records(
            score, model=name, task=column, method=method, label_share=share, seed=seed_of(score, seeds)
        )
    ]


def seed_of(score: Score, seeds: Sequence[int]) -> int | None:
    """The seed of a score, None for the mean over several."""
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
    """Test predictions of each seed; of one seed alone where another would change nothing."""
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
    """Test predictions of each seed; none for what has no weights to train."""
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
    return Section("Hubs and directions of the test embeddings", header=header, rows=rows)
