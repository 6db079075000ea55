"""Scores of probes as a function of the fraction of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ssc_toolkit.checks import check_fractions
from ssc_toolkit.data.cells import Kind
from ssc_toolkit.data.track_table import Tracks
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.metrics.scores import Score, measure
from ssc_toolkit.evaluation.probing.probe import check_layer_widths, fit_head, label_signal

FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Default fractions of the labeled training tracks that probes are fitted to."""


def few_label_curve(
    embeddings: np.ndarray,
    tracks: Tracks,
    column: str | Sequence[str],
    method: str = "linear",
    *,
    label_fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = (0, 1, 2),
    kind: Kind | None = None,
    layer_widths: Mapping[str, int] | None = None,
) -> dict[float, Score]:
    """Score probes that are fitted to increasing fractions of the labeled training tracks.

    For each seed, the labeled training tracks are put in a random order that begins with one track of every class. Each
    fraction uses the first tracks of this order. A larger fraction therefore contains all tracks of a smaller fraction.
    Every fraction uses the whole validation set. Each score is the mean over the seeds. Its interval is over the groups
    of test tracks and over the seeds.

    Args:
        embeddings: as for `fit_probe`.
        tracks: as for `fit_probe`.
        column: as for `fit_probe`.
        method: as for `fit_probe`.
        kind: as for `fit_probe`.
        layer_widths: as for `fit_probe`.
        label_fractions: fractions of the labeled training tracks, each in (0, 1].
        seeds: seeds of the random order and of the weights of the probe.

    Returns:
        A dictionary from fraction to the `Score` on the test set.

    Raises:
        InputError: in the same cases as `fit_probe`, if there is no fraction or no seed, or if a fraction is not in
            (0, 1].

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
        raise InputError("seeds: expected at least one seed, got none")
    check_layer_widths(method, layer_widths)
    labels = label_signal(tracks, column, kind)

    def score(fraction: float) -> Score:
        probes = [fit_head(embeddings, tracks, labels, column, method, fraction, seed, layer_widths) for seed in seeds]
        return measure([probe.predict(embeddings, tracks) for probe in probes])

    return {fraction: score(fraction) for fraction in label_fractions}


def prototypes(
    embeddings: np.ndarray,
    tracks: Tracks,
    column: str,
    *,
    label_fractions: Sequence[float] = FRACTIONS,
    seeds: Sequence[int] = (0, 1, 2),
) -> dict[float, Score]:
    """Score classification by prototypes for increasing fractions of the labeled training tracks.

    The prototype of a class is the mean of the normalized embeddings of its labeled training tracks. Each test track is
    assigned to the class whose prototype has the highest cosine similarity (see `heads.fit_prototypes`). No weights are
    trained. The embeddings can be outputs of the encoder or of the projector. For outputs of the projector, call
    `embed_tracks` with `as_model(lambda x: model.projector(model.encoder(x)), sample_rate)`.

    Args:
        embeddings: as for `few_label_curve`.
        tracks: as for `few_label_curve`.
        column: as for `few_label_curve`.
        label_fractions: as for `few_label_curve`.
        seeds: as for `few_label_curve`.

    Returns:
        A dictionary from fraction to the `Score` on the test set.

    Raises:
        InputError: in the same cases as `few_label_curve`, or if the column holds numbers.
    """
    return few_label_curve(embeddings, tracks, column, "prototypes", label_fractions=label_fractions, seeds=seeds)
