"""Disk cache for the predictions of probes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from ssc_toolkit import __version__
from ssc_toolkit.caches import read_entry, write_entry
from ssc_toolkit.data import Labels, TrackTable
from ssc_toolkit.evaluation.metrics.scores import Predictions
from ssc_toolkit.evaluation.probing.probe import Probe, fit_probe, groups_of
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.hashing import new_digest


class CachedProbes:
    """Probes of one model, fitted only when their predictions are not in the cache.

    The key of a prediction is a hash of the embeddings that the probe is fitted to, the embeddings that it predicts
    for, the labels, the splits, the method, and the version of this library.

    Args:
        embeddings: (tracks, dim) embeddings of clean audio.
        tracks: table of the tracks.
        folder: folder of the cache.
        signals: labels of all tracks, by column.
        method: method of the probes, as for `fit_probe`.
        seed: seed of the probes.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        tracks: TrackTable,
        folder: Path,
        signals: Mapping[str, Labels],
        method: str = "linear",
        seed: int = 0,
    ) -> None:
        self._embeddings = embeddings
        self._tracks = tracks
        self._folder = folder
        self._signals = signals
        self._method, self._seed = method, seed
        self._probes: dict[str, Probe] = {}

    def predict(self, embeddings: np.ndarray, task: Task) -> Predictions:
        """Predict the labels of the test tracks of a task.

        Args:
            embeddings: (tracks, dim) embeddings to predict for; only the rows of the test set are used.
            task: the task.
        """
        labels = self._signals[task.column]
        path = self._folder / f"{self._key(embeddings, task, labels)}.npz"
        stored = read_entry(path, _read)
        if stored is None:
            found = self._probe(task.column).predict(embeddings, self._tracks, task.subset)
            write_entry(path, lambda temporary: _write(temporary, found))
            return found
        outputs, rows = stored
        truth, groups = labels.values.numpy()[rows], groups_of(self._tracks)[rows]
        return Predictions(outputs, truth, rows, groups, labels.kind, labels.names)

    def _probe(self, column: str) -> Probe:
        if column not in self._probes:
            kind = self._signals[column].kind
            self._probes[column] = fit_probe(
                self._embeddings, self._tracks, column, self._method, kind=kind, seed=self._seed
            )
        return self._probes[column]

    def _key(self, embeddings: np.ndarray, task: Task, labels: Labels) -> str:
        is_test = (self._tracks["split"] == "test").to_numpy()
        parts = [self._fitted_to, labels.values.numpy(), labels.labeled.numpy(), embeddings[is_test]]
        if task.subset is not None:
            parts.append(task.subset)
        digest = new_digest(repr((__version__, self._method, self._seed, labels.names)).encode())
        for part in parts:
            digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @cached_property
    def _fitted_to(self) -> np.ndarray:
        """Return a hash of the clean embeddings and the splits."""
        digest = new_digest("|".join(self._tracks["split"].astype(str)).encode())
        digest.update(np.ascontiguousarray(self._embeddings).tobytes())
        return np.frombuffer(digest.digest(), dtype=np.uint8)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path) as stored:
        return stored["outputs"], stored["rows"]


def _write(path: Path, found: Predictions) -> None:
    with path.open("wb") as file:
        np.savez(file, outputs=found.outputs, rows=found.rows)
