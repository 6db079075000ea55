"""Options of the command `ssc-toolkit retrieval`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction, check_integer
from ssc_toolkit.options.checks import check_choices, check_encoder, check_layers, check_numbers, check_window
from ssc_toolkit.options.names import CUTOFFS
from ssc_toolkit.options.tracks import TrackSource, as_source, source_named


@dataclass(frozen=True, kw_only=True)
class RetrievalOptions(TrackSource):
    """Options of `retrieval`, which ranks tracks by cosine similarity for each query and scores the rankings by label.

    The scores are mAP, recall@k and precision@k. No probe is trained. The command prints a table with 95 % intervals
    (bootstrap over groups of queries) for the encoder, a random encoder, MFCC statistics and log-mel
    statistics. Each track in the split that you choose with `split` is a query.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        labels: label columns. Tracks with the same class as the query, or with a label in common, are relevant.
        split: split of the queries. Without a `split` column, all tracks are queries.
        database: tracks to rank, in any form that `tracks` accepts; by default the queries themselves. A query is never
            in its own ranking. `--database=FOLDER` is the same as `--database.tracks=FOLDER`.
        other_groups_only: remove tracks with the same `group` as the query, such as the same tune or artist, from its
            ranking.
        cutoffs: values of k for recall@k and precision@k.
        window_seconds: length of a window in seconds. The windows do not overlap, and the embedding of a track is the
            mean over its windows. The default is the view length of the encoder's training, which is read from the
            folder above the encoder, or 3 if it is not known.
        frame_pooling: how the frames of a window are combined: mean, max or mean_std (mean and standard deviation).
            "default" is the pooling that the encoder was saved with, or that of its architecture.
        layers: layers of the encoder whose frames are used: last, all, or a list of names. Their embeddings are
            concatenated. The default is the layers that the encoder was saved with, or the last.
        cache: folder of the embedding cache. An embedding is computed again if the model or the audio has changed.
        out: folder for report.json, report.md and report.html. Existing reports are replaced. By default no report is
            written.
        max_unusable: maximum fraction of the files that may be unreadable or silent. These files are left out.
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
    frame_pooling: Literal["default", "mean", "mean_std", "max"] = "default"
    layers: tuple[str, ...] = ()
    cache: str | None = None
    out: str | None = None
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        for k in self.cutoffs or (0,):
            check_integer("cutoffs", k, 1)
        check_fraction("max_unusable", self.max_unusable)
        check_integer("seed", self.seed, 0)
        check_choices(self)
        check_numbers(self.labels, ())
        check_window(self.window_seconds)
        check_layers(self.layers)
        super().check()
        if self.database is not None:
            with source_named("database"):
                as_source(self.database).check()
        check_encoder(self.encoder)
