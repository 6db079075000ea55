"""Options of the command `ssc-toolkit retrieval`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_integer
from ssc_toolkit.options.evaluation import EncoderOptions
from ssc_toolkit.options.names import CUTOFFS
from ssc_toolkit.options.tracks import TrackSource, as_source, source_named


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(EncoderOptions):
    """Options of `retrieval`, which ranks tracks by cosine similarity for each query and scores the rankings by label.

    The scores are mAP, hit rate@k and precision@k. No probe is trained. The command prints a table with 95 % intervals
    (bootstrap over groups of queries) for the encoder, a random encoder, MFCC statistics and log-mel
    statistics. Each track in the split that you choose with `split` is a query.

    Args:
        labels: label columns. Tracks with the same class as the query, or with a label in common, are relevant.
        split: split of the queries. Without a `split` column, all tracks are queries.
        database: tracks to rank, in any form that `tracks` accepts; by default the queries themselves. A query is never
            in its own ranking. `--database=FOLDER` is the same as `--database.tracks=FOLDER`.
        other_groups_only: remove tracks with the same `group` as the query, such as the same tune or artist, from its
            ranking.
        cutoffs: values of k for hit rate@k and precision@k.
        seed: seed of the random encoder.
    """

    split: Literal["train", "valid", "test", "all"] = "test"
    database: str | TrackSource | None = None
    other_groups_only: bool = False
    cutoffs: tuple[int, ...] = CUTOFFS

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        for k in self.cutoffs or (0,):
            check_integer("cutoffs", k, 1)
        super().check()
        if self.database is not None:
            with source_named("database"):
                as_source(self.database).check()
