"""The command `ssc-toolkit retrieval`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ssc_toolkit.commands.inputs import (
    THIS,
    ModelsBySeed,
    check_readouts,
    encoder_and_baselines,
    kept_labels,
    label_signals,
    load_for,
    optional_folder,
    publish,
)
from ssc_toolkit.commands.leaks import load_pretraining, print_leaks, retrieval_leaks
from ssc_toolkit.data import Labels
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.data.validation import check_all_audio
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.extract import embed_models
from ssc_toolkit.evaluation.provenance import provenance_of
from ssc_toolkit.evaluation.results import Results, make_score_row, to_records
from ssc_toolkit.evaluation.retrieval import ranking
from ssc_toolkit.options.retrieval import RetrievalOptions
from ssc_toolkit.options.tracks import as_source, source_named
from ssc_toolkit.reports.evaluation_sections import query_section
from ssc_toolkit.reports.leak_section import leak_section


def retrieval(options: RetrievalOptions) -> Results:
    """Rank tracks by their cosine similarity to each query, and print mAP, hit rate@k and precision@k by label.

    Args:
        options: options of the command, as on the command line.

    Returns:
        All scores. `Results.frame` is a table of them.

    Raises:
        InputError: if an option or a file is invalid. The error is raised before the work starts.
    """
    options.check()
    with optional_folder(options.out) as folder:
        listed, seconds = encoder_and_baselines(
            options.encoder, options.cache, options.window_seconds, (options.seed,), allow_code=options.allow_code
        )
        readouts = check_readouts(listed, dict.fromkeys(listed, seconds), **options.readout)
        models = {name: own[0] for name, own in listed.items()}
        pretraining = load_pretraining({THIS: options.encoder})
        found = load_for(listed, options)
        signals = label_signals(found, options.labels)
        items = _database(options, listed)
        tables = {"tracks": found} if items is None else {"tracks": found, "database": items.tracks}
        usable, *usable_items = check_all_audio(tables, max_unusable=options.max_unusable)
        queries = _of_split(usable, kept_labels(found, usable, signals), options.split)
        if items is not None:
            items = _Side(usable_items[0], kept_labels(items.tracks, usable_items[0], items.signals))
        if options.other_groups_only and not all("group" in side.tracks for side in (queries, items) if side):
            raise InputError("other_groups_only: expected a column 'group' in the tracks, got none")
        database = None if items is None else items.tracks
        leaks = retrieval_leaks(queries.tracks, database, pretraining, options.other_groups_only, options.cache)
        asked = embed_models(models, queries.tracks, seconds, cache=options.cache, **options.readout)
        ranked = (
            None
            if items is None
            else embed_models(models, items.tracks, seconds, cache=options.cache, **options.readout)
        )
        rows = []
        for name in models:
            for column in options.labels:
                sides = queries.arguments(column)
                if items is not None and ranked is not None:
                    sides |= {"database": ranked[name], **items.arguments(column, "database_")}
                score = ranking.retrieval(
                    asked[name], **sides, other_groups_only=options.other_groups_only, cutoffs=options.cutoffs
                )
                rows.append(make_score_row(score, model=name, task=column, method="retrieval", seed=options.seed))
        results = Results.of(rows)
        provenance = provenance_of(
            queries.tracks,
            window_seconds=seconds,
            seeds=(options.seed,),
            encoder=options.encoder,
            readouts=readouts,
            database=None if items is None else provenance_of(items.tracks, window_seconds=seconds, seeds=()),
            other_groups_only=options.other_groups_only,
        )
        content = {"provenance": provenance, "records": to_records(results.frame), "leaks": leaks.to_config()}
        lead = f"Encoder {options.encoder}, queries {options.tracks}."
        sections = [query_section(results.frame), leak_section(leaks)]
        publish(folder, "Retrieval", lead, sections, content, printed=1)
        print_leaks(leaks, options.out is not None)
        return results


@dataclass(frozen=True)
class _Side:
    """Tracks that are the queries or the database of a retrieval, and their labels by column."""

    tracks: TrackTable
    signals: Mapping[str, Labels]

    def arguments(self, column: str, prefix: str = "") -> dict[str, Any]:
        """Return labels of a column, groups and ids as arguments of the function `retrieval`, by name.

        `prefix` begins the names. The id of a track is the path of its file without symbolic links.
        """
        return {
            f"{prefix}labels": self.signals[column],
            f"{prefix}groups": self.tracks["group"].to_numpy() if "group" in self.tracks else None,
            f"{prefix}ids": np.array([os.path.realpath(path) for path in self.tracks["path"]]),
        }


def _database(options: RetrievalOptions, models: ModelsBySeed) -> _Side | None:
    """Return the tracks of the option `database`, which are ranked, or None if the queries themselves are ranked.

    Their audio is not checked yet.
    """
    if options.database is None:
        return None
    source = as_source(options.database)
    with source_named("database"):
        items = load_for(models, source)
    signals = label_signals(items, options.labels)
    return _Side(items, signals)


def _of_split(tracks: TrackTable, signals: Mapping[str, Labels], split: str) -> _Side:
    if split == "all" or "split" not in tracks:
        return _Side(tracks, signals)
    rows = torch.tensor((tracks["split"] == split).to_numpy(dtype=bool))
    if not rows.any():
        raise InputError(f"split: expected tracks in the split {split!r}, got none")
    return _Side(tracks.select(rows), {column: signal[rows] for column, signal in signals.items()})
