"""Options of the command `ssc-toolkit retrieval`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction, check_integer
from ssc_toolkit.options.checks import check_choices, check_encoder, check_numbers, check_window
from ssc_toolkit.options.names import CUTOFFS
from ssc_toolkit.options.tracks import TrackSource, as_source, source_named


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(TrackSource):
    """Options of `retrieval`, which ranks tracks by cosine similarity for each query and scores the rankings by label.

    The scores are mAP, recall@k and precision@k. No head is trained, so any label column can be used. The command
    prints a table with 95 % intervals (bootstrap over groups of queries) for the encoder, a random encoder and log-mel
    statistics. The tracks are the queries.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        labels: label columns; tracks with the same class, or with a label in common, are relevant.
        split: split of the queries; without a `split` column, all tracks are queries.
        database: tracks to rank, in any form that `tracks` accepts; by default the queries themselves. A query that is
            also in the database is removed from its own ranking. `--database=FOLDER` is the same as
            `--database.tracks=FOLDER`.
        other_groups_only: remove tracks of the query's own `group`, such as its tune or artist, from its ranking.
        cutoffs: the values of k for recall@k and precision@k.
        window_seconds: length of the non-overlapping windows that are averaged into an embedding, in seconds. By
            default the view length of the encoder's training, if the folder above the encoder has the training's
            settings, or else 3.
        cache: folder of the embedding cache, whose keys depend on the content of model and audio.
        out: folder for report.json, report.md and report.html, which are replaced; by default no report is written.
        max_unusable: maximum fraction of files that are unreadable or shorter than a window.
        seed: seed of the random encoder.
    """

    encoder: str
    labels: tuple[str, ...]
    tracks: str = "scores"
    split: Literal["train", "valid", "test", "all"] = "test"
    database: str | TrackSource | None = None
    other_groups_only: bool = False
    cutoffs: tuple[int, ...] = CUTOFFS
    window_seconds: float | None = None
    cache: str | None = None
    out: str | None = None
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for an invalid option; nothing is loaded."""
        for k in self.cutoffs or (0,):
            check_integer("cutoffs", k, 1)
        check_fraction("max_unusable", self.max_unusable)
        check_integer("seed", self.seed, 0)
        check_choices(self)
        check_numbers(self.labels, ())
        check_window(self.window_seconds)
        super().check()
        if self.database is not None:
            with source_named("database"):
                as_source(self.database).check()
        check_encoder(self.encoder)
