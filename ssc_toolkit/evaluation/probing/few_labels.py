"""Scores as a function of the number of labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ssc_toolkit.checks import check_fractions
from ssc_toolkit.data.labels import Kind
from ssc_toolkit.data.track_table import Tracks, as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.metrics.scores import Score, measure
from ssc_toolkit.evaluation.probing.probe import fit_probe

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Default fractions of the labeled training tracks."""


def few_label_curve(
    embeddings: np.ndarray,
    tracks: Tracks,
    column: str | Sequence[str],
    method: str = "linear",
    *,
    label_fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = (0, 1, 2),
    kind: Kind | None = None,
) -> dict[float, Score]:
    """Score a head that is fitted to increasing fractions of the training labels.

    For each seed, the training tracks are ordered once, with a track of every class at the beginning. A fraction takes
    the first tracks of this order, so the tracks of 1 % are among those of 5 %. The whole validation set is used at
    every fraction. Each score is the mean over the seeds, with an interval over test groups and seeds.

    Args:
        embeddings: as for `fit_probe`.
        tracks: as for `fit_probe`.
        column: as for `fit_probe`.
        method: as for `fit_probe`.
        kind: as for `fit_probe`.
        label_fractions: fractions of the labeled training tracks, each in (0, 1].
        seeds: seeds of the order and of the head.

    Returns:
        Score on the test set by fraction.

    Raises:
        InputError: as `fit_probe`, if there is no fraction or no seed, or if a fraction is not in (0, 1].

    Examples:
        >>> random = np.random.default_rng(0)
        >>> import pandas as pd
        >>> tracks = pd.DataFrame({"split": ["train"] * 60 + ["valid"] * 20 + ["test"] * 20,
        ...                        "genre": ["jazz", "rock"] * 50})
        >>> embeddings = random.normal(size=(100, 4)) + np.where(tracks["genre"] == "jazz", 5, -5)[:, None]
        >>> curve = few_label_curve(embeddings, tracks, "genre", "prototypes", label_fractions=(0.1, 1.0))
        >>> [score.headline.value > 0.9 for score in curve.values()]
        [True, True]
    """
    tracks = as_track_table(tracks)
    check_fractions("label_fractions", label_fractions)
    if not len(seeds):
        raise InputError("seeds: expected at least one, got none")
    return {
        share: measure(
            [
                fit_probe(embeddings, tracks, column, method, kind=kind, label_fraction=share, seed=seed).predict(
                    embeddings, tracks
                )
                for seed in seeds
            ]
        )
        for share in label_fractions
    }


def prototypes(
    embeddings: np.ndarray,
    tracks: Tracks,
    column: str,
    *,
    label_fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict[float, Score]:
    """Score prototype classification, which trains no weights, for increasing fractions of the training labels.

    Each test track is assigned to the class with the most similar prototype. The prototype of a class is the mean of
    the unit embeddings of its labeled training tracks (`heads.fit_prototypes` has the equation). The embeddings may be
    representations or projections. For projections, pass
    `as_model(lambda x: model.projector(model.encoder(x)), sample_rate)` to `embed_tracks`.

    Args:
        embeddings: as for `few_label_curve`.
        tracks: as for `few_label_curve`.
        column: as for `few_label_curve`.
        label_fractions: as for `few_label_curve`.
        seeds: as for `few_label_curve`.

    Raises:
        InputError: as `few_label_curve`, or if the column holds numbers.
    """
    return few_label_curve(embeddings, tracks, column, "prototypes", label_fractions=label_fractions, seeds=seeds)
