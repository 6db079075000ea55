"""Disk cache for the predictions of probes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ssc_toolkit import __version__
from ssc_toolkit.caches import read_entry, write_entry
from ssc_toolkit.data import Labels, TrackTable
from ssc_toolkit.evaluation.metrics.scores import Predictions
from ssc_toolkit.evaluation.probing.cross_validation import CrossValidatedProbe, fit_folds
from ssc_toolkit.evaluation.probing.folds import CrossValidation, Folds
from ssc_toolkit.evaluation.probing.probe import Probe, find_groups, fit_head
from ssc_toolkit.evaluation.tasks import Task
from ssc_toolkit.hashing import new_digest
from ssc_toolkit.npz_files import read_arrays


class ProbeSettings(NamedTuple):
    """Settings of a probe.

    Attributes:
        column: name of the label column.
        method: method of `fit_probe`, such as "linear".
        label_fraction: fraction of the labeled training tracks that the probe is fitted to, in (0, 1].
        seed: seed of the weights of the probe and of the selection of labeled tracks.
    """

    column: str
    method: str = "linear"
    label_fraction: float = 1.0
    seed: int = 0


class CachedProbes:
    """Probes of one model whose predictions are stored in a folder. A probe is fitted only if predictions are missing.

    The key of stored predictions is a hash of the embeddings that the probe is fitted to, the embeddings that it takes
    as input, the labels, the splits, the settings of the probe, and the version of this library.

    Args:
        embeddings: (tracks, dim) embeddings of clean audio, which the probes are fitted to.
        tracks: table of the tracks.
        signals: labels of all tracks, by label column.
        folder: folder of the cache. None stores nothing.
        layer_widths: as for `fit_probe`.
        plan: settings of cross-validation. None fits probes to the training set of the table.
        progress: as for `fit_folds`.
    """

    def __init__(
        self,
        embeddings: np.ndarray,
        tracks: TrackTable,
        signals: Mapping[str, Labels],
        folder: Path | None = None,
        layer_widths: Mapping[str, int] | None = None,
        plan: CrossValidation | None = None,
        *,
        progress: bool = False,
    ) -> None:
        self._embeddings = embeddings
        self._tracks = tracks
        self._signals = signals
        self._folder = folder
        self._layer_widths = layer_widths
        self._plan = plan
        self._progress = progress
        self._probes: dict[ProbeSettings, Probe | CrossValidatedProbe] = {}
        self._folds: dict[tuple[str, int], Folds] = {}

    def predict(self, embeddings: np.ndarray, task: Task, settings: ProbeSettings) -> Predictions:
        """Predict the labels of the test tracks of a task, or load predictions that are stored.

        In cross-validation, each track is predicted by the probe that was not fitted to its fold.

        Args:
            embeddings: (tracks, dim) embeddings that the probe takes as input. Only the rows of test tracks are used.
            task: prediction task, which gives the label column.
            settings: settings of the probe, with the label column of the task.

        Returns:
            Predictions and true labels of the test tracks.
        """
        labels = self._signals[task.column]
        path = None
        if self._folder is not None:
            path = self._folder / f"{self._key(embeddings, task, labels, settings)}.npz"
        stored = None if path is None else read_entry(path, _read)
        folds = self._find_folds(settings)
        if stored is None:
            probe = self._probe(settings)
            if isinstance(probe, CrossValidatedProbe):
                found = probe.predict(embeddings, task.subset)
            else:
                found = probe.predict(embeddings, self._tracks, task.subset)
            if path is not None:
                write_entry(path, lambda temporary: _write(temporary, found))
            return found
        outputs, rows = stored
        truth = labels.values.numpy()[rows]
        if folds is None:
            return Predictions(outputs, truth, rows, find_groups(self._tracks)[rows], labels.kind, labels.names)
        places = folds.places_of(rows)
        groups, fold = folds.groups[places], folds.fold[places]
        return Predictions(outputs, truth, rows, groups, labels.kind, labels.names, fold)

    def _find_folds(self, settings: ProbeSettings) -> Folds | None:
        """Return the folds for the label column and the seed of a probe. None if there is no cross-validation."""
        if self._plan is None:
            return None
        column, seed = settings.column, settings.seed
        if (column, seed) not in self._folds:
            self._folds[column, seed] = self._plan.assign(self._tracks, self._signals[column], column, seed)
        return self._folds[column, seed]

    def _probe(self, settings: ProbeSettings) -> Probe | CrossValidatedProbe:
        if settings not in self._probes:
            column, method, fraction, seed = settings
            labels, folds, widths = self._signals[column], self._find_folds(settings), self._layer_widths
            self._probes[settings] = (
                fit_head(self._embeddings, self._tracks, labels, column, method, fraction, seed, widths)
                if folds is None
                else fit_folds(
                    self._embeddings, labels, column, folds, method, fraction, seed, widths, progress=self._progress
                )
            )
        return self._probes[settings]

    def _key(self, embeddings: np.ndarray, task: Task, labels: Labels, settings: ProbeSettings) -> str:
        widths = None if self._layer_widths is None else list(self._layer_widths.items())
        is_test = (self._tracks["split"] == "test").to_numpy()
        parts = [self._fitted_to, labels.values.numpy(), labels.labeled.numpy(), embeddings[is_test]]
        if task.subset is not None:
            parts.append(task.subset)
        folds = self._find_folds(settings)
        if folds is not None:
            parts += [folds.rows, folds.fold, folds.groups]
        digest = new_digest(repr((__version__, *settings[1:], labels.names, widths)).encode())
        for part in parts:
            digest.update(str(part.shape).encode() + np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    @cached_property
    def _fitted_to(self) -> np.ndarray:
        """Hash of the embeddings that the probes are fitted to, and of the splits of the tracks."""
        digest = new_digest("|".join(self._tracks["split"].astype(str)).encode())
        digest.update(np.ascontiguousarray(self._embeddings).tobytes())
        return np.frombuffer(digest.digest(), dtype=np.uint8)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    stored = read_arrays(path)
    return stored["outputs"], stored["rows"]


def _write(path: Path, found: Predictions) -> None:
    with path.open("wb") as file:
        np.savez(file, outputs=found.outputs, rows=found.rows)
