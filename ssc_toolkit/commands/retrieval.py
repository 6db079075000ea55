"""The command `ssc-toolkit retrieval`."""

from __future__ import annotations

import os
from typing import Literal

import numpy as np

from ssc_toolkit.checks import check_whole
from ssc_toolkit.commands.inputs import open_model_for, open_tracks, others, output_folder, with_baselines
from ssc_toolkit.commands.probe import embed_all
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import window_seconds_of
from ssc_toolkit.evaluation.metrics.records import to_records
from ssc_toolkit.evaluation.metrics.scores import Score
from ssc_toolkit.evaluation.probing.probe import label_signal
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.retrieval.ranking import CUTOFFS, retrieval
from ssc_toolkit.reports.page import Section, table, write_report


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
    """Rank tracks by cosine similarity for each query, and compute mAP, recall@k and precision@k by label.

    No head is trained, so any label column can be used. The command prints a table with 95 % intervals (bootstrap over
    groups of queries) for the encoder, a random encoder and log-mel statistics.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        labels: label columns; tracks with the same class, or with a label in common, are relevant.
        tracks: the queries: "scores" for the default corpus, a CSV file with a `path` column, a folder of audio, a
            store that `ssc-toolkit prepare` made, or the name of a dataset.
        root: folder that the paths in the CSV file are relative to (by default its own folder), or folder of the
            dataset.
        variant: variant of the dataset, which determines its labels and splits.
        split: split of the queries; without a `split` column, all tracks are queries.
        database: tracks to rank, in any form that `tracks` accepts; by default the queries themselves. A query that is
            also in the database is removed from its own ranking.
        database_root: as `root`, for the database.
        other_groups_only: remove tracks of the query's own `group`, such as its tune or artist, from its ranking.
        cutoffs: the values of k for recall@k and precision@k.
        window_seconds: length of the non-overlapping windows that are averaged into an embedding, in seconds. By
            default the view length of the encoder's training, if its settings are next to it, or else 3.
        cache: folder of the embedding cache, whose keys depend on the content of model and audio.
        out: folder for report.json, report.md and report.html, which are replaced; by default no report is written.
        most_skipped: maximum fraction of files that are unreadable or shorter than a window.
        seed: seed of the random encoder.

    Returns:
        Scores by model and label.

    Raises:
        InputError: if an argument or a file is invalid; it is raised before the work starts.
    """
    with output_folder(out) as folder:
        for k in cutoffs or (0,):
            check_whole("cutoffs", k, 1)
        if database is None and database_root is not None:
            raise InputError("database_root: expected database as well, got None")
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
            raise InputError("other_groups_only: expected a column 'group' in the tracks, got none")
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


def _of_split(tracks: TrackTable, split: str) -> TrackTable:
    if split == "all" or "split" not in tracks:
        return tracks
    chosen = tracks.select(tracks["split"] == split)
    if not len(chosen):
        raise InputError(f"split: expected tracks in the split {split!r}, got none")
    return chosen


def _groups(tracks: TrackTable) -> np.ndarray | None:
    return tracks["group"].to_numpy() if "group" in tracks else None


def _ids(tracks: TrackTable) -> np.ndarray:
    """Return an identifier of each track that is the same in every table."""
    return np.array([os.path.realpath(path) for path in tracks["path"]])


def _section(scores: dict[str, dict[str, Score]]) -> Section:
    rows = [
        [name, column, str(score.headline), others(score), str(score.tracks)]
        for name, own in scores.items()
        for column, score in own.items()
    ]
    return Section("Retrieval", header=["model", "label", "mAP", "other metrics", "queries"], rows=rows)
