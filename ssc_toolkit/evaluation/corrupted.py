"""Probes on corrupted audio."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.evaluation.embed import WaveformModel, embed_tracks
from ssc_toolkit.evaluation.probing import Probe, Score

SEVERITIES = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Task:
    """What is asked of the test tracks.

    Attributes:
        name: as a report calls it.
        column: label column.
        subset: (tracks,) bool, the tracks of the table that count; all test tracks if None.
    """

    name: str
    column: str
    subset: np.ndarray | None = None


def robustness(
    model: WaveformModel,
    probes: Mapping[str, Probe],
    tasks: Sequence[Task],
    tracks: pd.DataFrame,
    window_seconds: float,
    corruption: Callable[[float], Augmentation],
    severities: Sequence[float] = SEVERITIES,
    *,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, dict[float, Score]]:
    """Scores of probes, fitted on clean audio, on test tracks corrupted ever more.

    Every model hears the same corrupted audio: what is drawn for a track depends on the seed, the severity
    and the track's place in the table alone.

    Args:
        model: an encoder.
        probes: fitted on clean embeddings of it, by label column.
        tasks: what to score.
        tracks: the table that the probes were fitted on.
        window_seconds: length of a window, as in `embed_tracks`.
        corruption: severity to transform, such as
            `lambda severity: semisupcon_chain(16000, severity, omit=("pitch_shift",))`.
        severities: 0 is clean audio.
        seed: of the corruption.
        progress: show progress bars.

    Returns:
        Scores by task name and severity.
    """
    is_test = (tracks["split"] == "test").to_numpy()
    test = tracks[is_test].reset_index(drop=True)
    scores: dict[str, dict[float, Score]] = {task.name: {} for task in tasks}
    for severity in severities:
        transform = corruption(severity) if severity > 0 else None
        embedded = embed_tracks(model, test, window_seconds, corruption=transform, seed=seed, progress=progress)
        everywhere = np.full((len(tracks), embedded.shape[1]), np.nan, dtype=np.float32)
        everywhere[is_test] = embedded
        for task in tasks:
            scores[task.name][severity] = probes[task.column].score(everywhere, tracks, task.subset)
    return scores
