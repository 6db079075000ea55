"""Scores of probes on corrupted audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data.track_table import Tracks, TrackTable, as_track_table
from ssc_toolkit.evaluation.embedding.extract import embed_models
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import WaveformModel
from ssc_toolkit.evaluation.metrics.scores import Score, measure
from ssc_toolkit.evaluation.probing.probe import Probe
from ssc_toolkit.evaluation.provenance import track_names
from ssc_toolkit.evaluation.tasks import Task

SEVERITIES = (0.0, 1.0, 2.0)

Corruption = Callable[[float], Augmentation | FixedCorruption]
"""Function of a severity above 0 that returns the corruption of the test tracks."""


def robustness(
    model: WaveformModel,
    probes: Mapping[str, Probe | Sequence[Probe]],
    tasks: Sequence[Task],
    tracks: Tracks,
    window_seconds: float | None,
    corruption: Corruption,
    severities: Sequence[float] = SEVERITIES,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, dict[float, Score]]:
    """Score probes, fitted on clean audio, on test tracks at several severities of a corruption.

    Every model receives the same corrupted audio. The draw for a track depends only on the seed, the severity and the
    row of the track; a `FixedCorruption` uses its stored draws.

    Args:
        model: an encoder.
        probes: probes fitted on clean embeddings of the model, by label column or any other key. Several probes for one
            key are those of several seeds.
        tasks: tasks to score.
        tracks: the table that the probes were fitted on.
        window_seconds: length of a window in seconds, as in `embed_tracks`.
        corruption: function that returns the transform of a severity, such as
            `lambda severity: semisupcon_chain(16000, severity, omit=("pitch_shift",))`.
        severities: severities to score; 0 is clean audio.
        seed: seed of the corruption.
        cache: folder of the embedding cache, as in `embed_tracks`.
        progress: show progress bars.

    Returns:
        Scores by task name and severity.
    """
    return robustness_of_models(
        {"": model},
        {"": probes},
        tasks,
        tracks,
        window_seconds,
        corruption,
        severities,
        seed=seed,
        cache=cache,
        progress=progress,
    )[""]


def robustness_of_models(
    models: Mapping[str, WaveformModel],
    probes: Mapping[str, Mapping[str, Probe | Sequence[Probe]]],
    tasks: Sequence[Task],
    tracks: Tracks,
    window_seconds: float | None,
    corruption: Corruption,
    severities: Sequence[float] = SEVERITIES,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, dict[str, dict[float, Score]]]:
    """Compute `robustness` for several models in one pass; audio is decoded and corrupted once for all models.

    Args:
        models: models by name.
        probes: probes by model, then as for `robustness`.
        tasks: as for `robustness`.
        tracks: as for `robustness`.
        window_seconds: as for `robustness`.
        corruption: as for `robustness`.
        severities: as for `robustness`.
        seed: as for `robustness`.
        cache: as for `robustness`.
        progress: as for `robustness`.

    Returns:
        Scores by model, task name and severity.
    """
    tracks = as_track_table(tracks)
    is_test = (tracks["split"] == "test").to_numpy()
    test = split_under_test(tracks)
    scores: dict[str, dict[str, dict[float, Score]]] = {model: {task.name: {} for task in tasks} for model in models}
    for severity in severities:
        transform = corruption(severity) if severity > 0 else None
        embedded = embed_models(
            models, test, window_seconds, corruption=transform, seed=seed, cache=cache, progress=progress
        )
        for model, vectors in embedded.items():
            everywhere = np.full((len(tracks), vectors.shape[1]), np.nan, dtype=np.float32)
            everywhere[is_test] = vectors
            for task in tasks:
                predicted = [p.predict(everywhere, tracks, task.subset) for p in _several(probes[model][task.column])]
                scores[model][task.name][severity] = measure(predicted)
    return scores


def split_under_test(tracks: TrackTable) -> TrackTable:
    """Return the test set of a table, with the name of each track in the whole table as its `track_id`."""
    return tracks.assign(track_id=track_names(tracks)).select(tracks["split"] == "test")


def _several(probes: Probe | Sequence[Probe]) -> Sequence[Probe]:
    return [probes] if isinstance(probes, Probe) else probes
