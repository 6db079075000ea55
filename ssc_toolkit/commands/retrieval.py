"""The command `ssc-toolkit retrieval`."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd

from ssc_toolkit.checks import check_whole
from ssc_toolkit.commands.inputs import open_model_for, open_tracks, others, output_folder, with_baselines
from ssc_toolkit.commands.probe import embed_all
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import window_seconds_of
from ssc_toolkit.evaluation.metrics.records import to_records
from ssc_toolkit.evaluation.metrics.scores import Score
from ssc_toolkit.evaluation.probing.probe import label_signal
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.retrieval import ranking
from ssc_toolkit.options.retrieval import RetrievalOptions
from ssc_toolkit.reports.page import Section, table, write_report


def retrieval(options: RetrievalOptions) -> dict[str, dict[str, Score]]:
    """Rank tracks by cosine similarity for each query, and compute and print mAP, recall@k and precision@k by label.

    Args:
        options: options, as on the command line.

    Returns:
        Scores by model and label.

    Raises:
        InputError: if an option or a file is invalid; it is raised before the work starts.
    """
    options.check()
    encoder, labels, tracks, root = options.encoder, options.labels, options.tracks, options.root
    variant, split, database, database_root = options.variant, options.split, options.database, options.database_root
    other_groups_only, cutoffs, window_seconds, cache = (
        options.other_groups_only,
        options.cutoffs,
        options.window_seconds,
        options.cache,
    )
    out, most_skipped, seed = options.out, options.most_skipped, options.seed
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
                column: ranking.retrieval(
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
        raise InputError(f"split: expected tracks in the split {split!r}, got none")
    return chosen


def _groups(tracks: pd.DataFrame) -> np.ndarray | None:
    return tracks["group"].to_numpy() if "group" in tracks else None


def _ids(tracks: pd.DataFrame) -> np.ndarray:
    """Return an identifier of each track that is the same in every table."""
    return np.array([os.path.realpath(path) for path in tracks["path"]])


def _section(scores: dict[str, dict[str, Score]]) -> Section:
    rows = [
        [name, column, str(score.headline), others(score), str(score.tracks)]
        for name, own in scores.items()
        for column, score in own.items()
    ]
    return Section("Retrieval", header=["model", "label", "mAP", "other metrics", "queries"], rows=rows)
