"""The command `ssc-toolkit retrieval`."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from ssc_toolkit.commands.inputs import (
    encoder_and_baselines,
    label_signals,
    load_for,
    optional_folder,
    publish,
    usable_tracks,
)
from ssc_toolkit.data import check_audio, load_tracks
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.extract import embed_models
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.results import Results, records, scored
from ssc_toolkit.evaluation.retrieval import ranking
from ssc_toolkit.options.retrieval import RetrievalOptions
from ssc_toolkit.reports.evaluation_sections import query_section


def retrieval(options: RetrievalOptions) -> Results:
    """Rank tracks by cosine similarity for each query, and compute and print mAP, recall@k and precision@k by label.

    Args:
        options: options, as on the command line.

    Returns:
        All scores.

    Raises:
        InputError: if an option or a file is invalid; it is raised before the work starts.
    """
    options.check()
    with optional_folder(options.out) as folder:
        listed, seconds = encoder_and_baselines(options.encoder, options.cache, options.window_seconds, (options.seed,))
        models = {name: own[0] for name, own in listed.items()}
        found = load_for(listed, options)
        label_signals(found, options.labels)
        queries = _of_split(usable_tracks(found, seconds, options.most_skipped), options.split)
        items = _database(options, seconds)
        if options.other_groups_only and ("group" not in queries or (items is not None and "group" not in items)):
            raise InputError("other_groups_only: expected a column 'group' in the tracks, got none")
        asked = embed_models(models, queries, seconds, cache=options.cache)
        ranked = None if items is None else embed_models(models, items, seconds, cache=options.cache)
        rows = []
        for name in models:
            for column in options.labels:
                sides: dict[str, Any] = _side(queries, column, "")
                if items is not None and ranked is not None:
                    sides |= {"database": ranked[name], **_side(items, column, "database_")}
                score = ranking.retrieval(
                    asked[name], **sides, other_groups_only=options.other_groups_only, cutoffs=options.cutoffs
                )
                rows.append(scored(score, model=name, task=column, method="retrieval", seed=options.seed))
        results = Results.of(rows)
        provenance = provenance_of(
            queries,
            window_seconds=seconds,
            seeds=(options.seed,),
            encoder=options.encoder,
            database=None if items is None else provenance_of(items, window_seconds=seconds, seeds=()),
            other_groups_only=options.other_groups_only,
        )
        content = {"provenance": provenance, "records": records(results.frame)}
        lead = f"Encoder {options.encoder}, queries {options.tracks}."
        publish(folder, "Retrieval", lead, [query_section(results.frame)], content)
        return results


def _database(options: RetrievalOptions, seconds: float) -> TrackTable | None:
    """Return the tracks to rank, or None for the queries themselves."""
    if options.database is None:
        return None
    items = load_tracks(options.database, options.database_root)
    label_signals(items, options.labels)
    return check_audio(items, seconds, options.most_skipped)


def _of_split(tracks: TrackTable, split: str) -> TrackTable:
    if split == "all" or "split" not in tracks:
        return tracks
    chosen = tracks.select(tracks["split"] == split)
    if not len(chosen):
        raise InputError(f"split: expected tracks in the split {split!r}, got none")
    return chosen


def _side(tracks: TrackTable, column: str, prefix: str) -> dict[str, Any]:
    """Return the labels, groups and ids of queries or of a database, as arguments of `ranking.retrieval`.

    The id of a track is the same in every table.
    """
    return {
        f"{prefix}labels": label_signals(tracks, [column])[column],
        f"{prefix}groups": tracks["group"].to_numpy() if "group" in tracks else None,
        f"{prefix}ids": np.array([os.path.realpath(path) for path in tracks["path"]]),
    }
