"""`ssc-toolkit retrieval`."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np
import pandas as pd

from ssc_toolkit.checks import check_whole
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.commands.opening import open_model_for, open_tracks, others, output_folder, with_baselines
from ssc_toolkit.evaluation.commands.probe import embed_all
from ssc_toolkit.evaluation.models import window_seconds_of
from ssc_toolkit.evaluation.probing import label_signal
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.ranking import CUTOFFS, retrieval
from ssc_toolkit.evaluation.records import to_records
from ssc_toolkit.evaluation.report import Section, table, write_report
from ssc_toolkit.evaluation.scores import Score


def retrieve(
    encoder: str,
    labels: tuple[str, ...],
    tracks: str = "scores",
    root: str | None = None,
    variant: str | None = None,
    split: Literal["train", "valid", "test", "all"] = "test",
    database: str | None = None,
    database_root: str | None = None,
    other_groups_only: bool = False,
    cutoffs: tuple[int, ...] = CUTOFFS,
    window_seconds: float | None = None,
    cache: str | None = None,
    out: str | None = None,
    most_skipped: float = 0.1,
    seed: int = 0,
) -> dict[str, dict[str, Score]]:
    """Rank tracks by cosine for each query, and see where those with the same label are: mAP, recall@k, precision@k.

    Nothing is trained, so the labels may be any. Prints a table with 95 % intervals (bootstrap over groups of queries),
    beside an untrained encoder and no encoder at all.

    Args:
        encoder: folder of a saved encoder, or module:function that gives a model.
        labels: label columns; tracks with the same class, or a label in common, are relevant.
        tracks: the queries: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a
            store that `ssc-toolkit prepare` made, or the name of a dataset.
        root: folder that the paths in the CSV file start from (its own folder by default), or where the dataset lies.
        variant: of the dataset: which labels and which split.
        split: which of the tracks are queries; all, where the table has no splits.
        database: what is ranked, given as the tracks are; the queries themselves by default. A track that is among both
            is not its own answer.
        database_root: as root, for the database.
        other_groups_only: leave out of a ranking what has the query's own `group`, such as its tune or artist.
        cutoffs: each k of recall@k and precision@k.
        window_seconds: an embedding is the mean over non-overlapping windows of this length; by default that of the
            views the encoder was trained on, if their settings lie beside it, otherwise 3.
        cache: folder for embeddings, found again by the content of model and audio.
        out: folder for report.json, report.md and report.html, which are replaced; nothing is written by default.
        most_skipped: share of the files that may be unreadable or shorter than a window.
        seed: of the random encoder.

    Returns:
        Scores by model and label.

    Raises:
        InputError: for anything in the arguments or the files that cannot work, before the long work.
    """
    with output_folder(out) as folder:
        for k in cutoffs or (0,):
            check_whole("cutoffs", k, 1)
        if database is None and database_root is not None:
            raise InputError("database_root: a folder for which tracks? give database")
        model = open_model_for(encoder, cache)
        models = with_baselines(model, (seed,), window_seconds)
        seconds = window_seconds_of(model, window_seconds)
        queries = _of_split(
            open_tracks(model, tracks, root, variant, window_seconds, most_skipped, labels=labels, split=False), split
        )
        items = None
        if database is not None:
            items = load_tracks(database, database_root)
            for column in labels:
                label_signal(items, column)
            items = check_audio(items, seconds, most_skipped)
        if other_groups_only and ("group" not in queries or (items is not None and "group" not in items)):
            raise InputError("other_groups_only: the tracks have no 'group' column")
        asked = embed_all(models, queries, seconds, cache)
        ranked = None if items is None else embed_all(models, items, seconds, cache)
        scores = {
            name: {
                column: retrieval(
                    asked[name][0],
                    label_signal(queries, column),
                    groups=_groups(queries),
                    ids=_ids(queries),
                    database=None if ranked is None else ranked[name][0],
                    database_labels=None if items is None else label_signal(items, column),
                    database_groups=None if items is None else _groups(items),
                    database_ids=None if items is None else _ids(items),
                    other_groups_only=other_groups_only,
                    cutoffs=cutoffs,
                )
                for column in labels
            }
            for name in models
        }
        section = _section(scores)
        print(table(section.header, section.rows))
        if folder is not None:
            told = provenance_of(
                queries,
                window_seconds=seconds,
                seeds=(seed,),
                encoder=encoder,
                database=None if items is None else provenance_of(items, window_seconds=seconds, seeds=()),
                other_groups_only=other_groups_only,
            )
            records = [
                record
                for name, own in scores.items()
                for column, score in own.items()
                for record in to_records(score, model=name, task=column, method="retrieval", seed=seed)
            ]
            content = {"provenance": told, "records": records}
            write_report(folder, "Retrieval", f"Encoder {encoder}, queries {tracks}.", [section], content)
        return scores


def _of_split(tracks: pd.DataFrame, split: str) -> pd.DataFrame:
    if split == "all" or "split" not in tracks:
        return tracks
    chosen = tracks[tracks["split"] == split].reset_index(drop=True)
    if not len(chosen):
        raise InputError(f"split: no track is in the {split} split")
    return chosen


def _groups(tracks: pd.DataFrame) -> np.ndarray | None:
    return tracks["group"].to_numpy() if "group" in tracks else None


def _ids(tracks: pd.DataFrame) -> np.ndarray:
    """What tells a track from others, in whichever table."""
    return np.array([os.path.realpath(path) for path in tracks["path"]])


def _section(scores: dict[str, dict[str, Score]]) -> Section:
    rows = [
        [name, column, str(score.headline), others(score), str(score.tracks)]
        for name, own in scores.items()
        for column, score in own.items()
    ]
    return Section("Retrieval", header=["model", "label", "mAP", "other metrics", "queries"], rows=rows)
