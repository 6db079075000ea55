"""Search for leaks between pretraining music, training sets of probes and test tracks, shared by several commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.evaluation.leaks import (
    SHOWN_PAIRS,
    Leaks,
    TrackRecord,
    find_leaks,
    find_pretraining_record,
    record_tracks,
)
from ssc_toolkit.evaluation.probing.folds import CrossValidation

PRETRAINING = "pretraining music"
PROBE_TRAINING = "training set of the probes"
OTHER_GROUPS = "other groups of the cross-validation"
RANKED = "ranked tracks"


def load_pretraining(encoders: Mapping[str, str]) -> dict[str, TrackRecord | None]:
    """Load the records of the tracks that encoders were pretrained on.

    The record of an encoder is next to its folder, in the folder of its run, or in its own folder if it was exported.
    It is None for an encoder without a record, and for a model that a function returns.

    Args:
        encoders: folder of each encoder, or module:function, by the name of the model. The names are left out if there
            is only one.

    Returns:
        Records by a name for messages, such as "pretraining music of NAME".

    Raises:
        InputError: if a record is damaged.
    """
    records = {}
    for name, source in encoders.items():
        found = find_pretraining_record(source)
        records[PRETRAINING if len(encoders) == 1 else f"{PRETRAINING} of {name}"] = found
    return records


def probe_leaks(
    tracks: TrackTable,
    pretraining: Mapping[str, TrackRecord | None],
    cache: str | Path | None = None,
    plan: CrossValidation | None = None,
) -> Leaks:
    """Search for test tracks that are also in the training or validation set of the probes, or in pretraining music.

    In cross-validation, every track is a test track, and its probe may be trained on all other groups.

    Args:
        tracks: table of all tracks, with a column `split`.
        pretraining: result of `load_pretraining`.
        cache: folder of the cache of embeddings, in which fingerprints are stored too. None stores nothing.
        plan: settings of cross-validation, or None for a fixed test set.
    """
    record = record_tracks(tracks, cache)
    if plan is not None:
        record = replace(record, paths=plan.group_names(tracks))  # tracks of one group are never in different folds
        return find_leaks(record, {OTHER_GROUPS: record, **pretraining}, ranked=[OTHER_GROUPS])
    is_test = (tracks["split"] == "test").to_numpy(dtype=bool)
    return find_leaks(record.select(is_test), {PROBE_TRAINING: record.select(~is_test), **pretraining})


def retrieval_leaks(
    queries: TrackTable,
    database: TrackTable | None,
    pretraining: Mapping[str, TrackRecord | None],
    other_groups_only: bool,
    cache: str | Path | None = None,
) -> Leaks:
    """Search for queries that are also in pretraining music or, under another path, among the ranked tracks.

    Args:
        queries: table of the queries.
        database: table of the ranked tracks. None if the queries themselves are ranked.
        pretraining: result of `load_pretraining`.
        other_groups_only: whether tracks of the query's own group are never ranked.
        cache: as for `probe_leaks`.
    """
    record = record_tracks(queries, cache)
    ranked = record if database is None else record_tracks(database, cache)
    others = {RANKED: ranked, **pretraining}
    return find_leaks(record, others, ranked=[RANKED], groups=not other_groups_only, name="queries")


def print_leaks(leaks: Leaks, has_report: bool) -> None:
    """Print one line with the leaks, and the first pairs of each leak that has more than one.

    Args:
        leaks: result of `find_leaks`.
        has_report: whether a report was written.
    """
    print(f"\n{leaks.describe()}")
    for leak in leaks.found:
        if len(leak.pairs) > 1:
            shown = "; ".join(map(leak.describe_pair, leak.pairs[:SHOWN_PAIRS]))
            note = leak.describe_shown()
            if note and not has_report:
                note += ", which --out writes"
            print(f"  {leak.kind}, {leak.source}: {shown}{f' ({note})' if note else ''}")
