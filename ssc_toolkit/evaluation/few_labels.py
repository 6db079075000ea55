"""How scores grow with the labels that are used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ssc_toolkit.checks import check_fractions
from ssc_toolkit.data.labels import Kind
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.probing import fit_probe
from ssc_toolkit.evaluation.scores import Score, measure

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of the labelled training tracks."""


def few_label_curve(
    embeddings: np.ndarray,
    tracks: pd.DataFrame,
    column: str | Sequence[str],
    method: str = "linear",
    *,
    shares: Sequence[float] = SHARES,
    seeds: Sequence[int] = (0, 1, 2),
    kind: Kind | None = None,
) -> dict[float, Score]:
    """Test scores of a head that is given more and more of the training labels.

    For each seed the training tracks are put in one order that meets every class first; a share is its beginning, so
    1 % is part of 5 %. All of the validation split is used at every share. Each score is the mean over the seeds, with
    an interval over test groups and seeds.

    Args:
        embeddings: as for `fit_probe`.
        tracks: as for `fit_probe`.
        column: as for `fit_probe`.
        method: as for `fit_probe`.
        kind: as for `fit_probe`.
        shares: of the labelled training tracks, above 0 to 1.
        seeds: of the order, and of the head.

    Raises:
        InputError: as `fit_probe`, or without a share or seed, or for a share out of range.

    Examples:
        >>> random = np.random.default_rng(0)
        >>> tracks = pd.DataFrame({"split": ["train"] * 60 + ["valid"] * 20 + ["test"] * 20,
        ...                        "genre": ["jazz", "rock"] * 50})
        >>> embeddings = random.normal(size=(100, 4)) + np.where(tracks["genre"] == "jazz", 5, -5)[:, None]
        >>> curve = few_label_curve(embeddings, tracks, "genre", "prototypes", shares=(0.1, 1.0))
        >>> [score.headline.value > 0.9 for score in curve.values()]
        [True, True]
    """
    check_fractions("shares", shares)
    if not len(seeds):
        raise InputError("seeds: expected at least one")
    return {
        share: measure(
            [
                fit_probe(embeddings, tracks, column, method, kind=kind, label_share=share, seed=seed).predict(
                    embeddings, tracks
                )
                for seed in seeds
            ]
        )
        for share in shares
    }


def prototypes(
    embeddings: np.ndarray,
    tracks: pd.DataFrame,
    column: str,
    *,
    shares: Sequence[float] = SHARES,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict[float, Score]:
    """Zero-shot scores: test tracks go to the class whose labelled tracks they resemble, nothing is trained.

    A class's prototype is the mean of the unit embeddings of its labelled training tracks, of 1 % to 100 % of them
    (`heads.fit_prototypes` has the equation). The embeddings may be representations or projections: pass
    `as_model(lambda x: model.projector(model.encoder(x)), sample_rate)` to `embed_tracks` for the latter.

    Args:
        embeddings: as for `few_label_curve`.
        tracks: as for `few_label_curve`.
        column: as for `few_label_curve`.
        shares: as for `few_label_curve`.
        seeds: as for `few_label_curve`.

    Raises:
        InputError: as `few_label_curve`, or for numbers.
    """
    return few_label_curve(embeddings, tracks, column, "prototypes", shares=shares, seeds=seeds)
