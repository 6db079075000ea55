"""Probes on corrupted audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.evaluation.draws import FixedCorruption
from ssc_toolkit.evaluation.embed import embed_models
from ssc_toolkit.evaluation.models import WaveformModel
from ssc_toolkit.evaluation.probing import Probe
from ssc_toolkit.evaluation.provenance import track_names
from ssc_toolkit.evaluation.scores import Score, measure

SEVERITIES = (0.0, 1.0, 2.0)

Corruption = Callable[[float], Augmentation | FixedCorruption]
"""From a severity above 0 to what the test tracks go through."""


@dataclass(frozen=True)
class Task:
    """What is asked of the test tracks.

    Attributes:
        name: as a report calls it.
        column: key of the probes that answer it, such as a label column.
        subset: (tracks,) bool, the tracks of the table that count; all test tracks if None.
    """

    name: str
    column: str
    subset: np.ndarray | None = None


def robustness(
    model: WaveformModel,
    probes: Mapping[str, Probe | Sequence[Probe]],
    tasks: Sequence[Task],
    tracks: pd.DataFrame,
    window_seconds: float | None,
    corruption: Corruption,
    severities: Sequence[float] = SEVERITIES,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, dict[float, Score]]:
    """Scores of probes, fitted on clean audio, on test tracks corrupted ever more.

    Every model hears the same corrupted audio: what is drawn for a track depends on the seed, the severity
    and the track's place in the table alone; a `FixedCorruption` keeps even that.

    Args:
        model: an encoder.
        probes: fitted on clean embeddings of it, by label column or any other key; several for one key are those of
            several seeds.
        tasks: what to score.
        tracks: the table that the probes were fitted on.
        window_seconds: length of a window, as in `embed_tracks`.
        corruption: severity to transform, such as
            `lambda severity: semisupcon_chain(16000, severity, omit=("pitch_shift",))`.
        severities: 0 is clean audio.
        seed: of the corruption.
        cache: folder for embeddings, as in `embed_tracks`.
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
    tracks: pd.DataFrame,
    window_seconds: float | None,
    corruption: Corruption,
    severities: Sequence[float] = SEVERITIES,
    *,
    seed: int = 0,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, dict[str, dict[float, Score]]]:
    """The same for several models in one pass: each condition is decoded and corrupted once for all of them.

    Args:
        models: by name.
        probes: by model, then as for `robustness`.
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


def split_under_test(tracks: pd.DataFrame) -> pd.DataFrame:
    """The test split of a table, each track with the name that it has in the whole table as its `track_id`."""
    named = tracks.assign(track_id=track_names(tracks))
    named.attrs = tracks.attrs
    return named[named["split"] == "test"].reset_index(drop=True)


def _several(probes: Probe | Sequence[Probe]) -> Sequence[Probe]:
    return [probes] if isinstance(probes, Probe) else probes
