"""Estimates of the time, memory and disk space of embeddings and comparisons, from a few timed tracks."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data import Labels
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.conditions import Condition
from ssc_toolkit.evaluation.embedding.audio_loader import make_reader
from ssc_toolkit.evaluation.embedding.extract import embed_models
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import WaveformModel, choose_window_seconds
from ssc_toolkit.evaluation.embedding.windows import MAX_WINDOWS, count_windows
from ssc_toolkit.evaluation.probing.folds import INNER_FOLDS
from ssc_toolkit.evaluation.probing.heads import WEIGHTED
from ssc_toolkit.evaluation.probing.probe import fit_probe
from ssc_toolkit.losses.gradient_cache import RandomState
from ssc_toolkit.preflight import Estimate, current_memory, format_audio, format_count, peak_memory

_TIMED_TRACKS = 16
_TRACKS_AT_ONCE = 4
_MIN_SECONDS = 1.0  # after which no more tracks are timed
_MAX_SECONDS = 10.0  # for the corruptions
_TIMED_ROWS = 600  # of a probe
_SEEDED = ("mlp", WEIGHTED)  # methods that are fitted for each seed
_PATH_BYTES = 200  # of a row in a file of embeddings, next to the embedding
_SPLITS = ["train"] * 7 + ["valid"] + ["test"] * 2  # of a probe that is timed for a cross-validation
_REPORT_BYTES = 4 * 2**20
_CLIP_BYTES = 13 * 2**10
_REPORT_SECONDS = 3.0
_CLIP_SECONDS = 0.02


def estimate_embedding(
    model: WaveformModel,
    tracks: TrackTable,
    window_seconds: float,
    out: Path,
    *,
    is_pooled: bool = True,
    cache: Path | None = None,
    **options: Any,
) -> Estimate:
    """Estimate the time, memory and disk space of the embedding of tracks, from a few tracks.

    Nothing is written, and the states of the random generators of PyTorch, NumPy and Python do not change.

    Args:
        model: as for `embed_tracks`.
        tracks: track table with the columns `path` and `seconds`.
        window_seconds: length of a window in seconds.
        out: path of the file of the embeddings. It need not exist.
        is_pooled: whether there is one embedding per track, and not one per window.
        cache: folder of the embedding cache, or None.
        options: other arguments of `embed_tracks`.
    """
    windows = _windows_of({"": model}, tracks, window_seconds)
    with _nothing_changed():
        seconds, widths = _time_clean({"": model}, tracks, window_seconds, windows, options)
    if not is_pooled:
        used, size = windows.sum(), round(window_seconds * model.sample_rate)
        windows = count_windows(tracks, model.sample_rate, size)  # all, and not at most 64 per track
        seconds *= float(windows.sum() / max(1, used))
    rows = len(tracks) if is_pooled else int(windows.sum())
    size = rows * 4 * sum(widths.values())
    disk = {out.absolute().parent: size + rows * _PATH_BYTES}
    contents = {"embeddings": size + rows * _PATH_BYTES}
    if cache is not None and is_pooled:
        disk[cache] = disk.get(cache, 0) + size
        contents["cache"] = size
    work = f"{format_audio(len(tracks), float(tracks['seconds'].sum()))}, {format_count(int(windows.sum()), 'window')}"
    return Estimate(work, seconds, max(peak_memory(), current_memory()) + 2 * size, disk, contents)


def estimate_comparison(
    models: Mapping[str, Sequence[WaveformModel]],
    tracks: TrackTable,
    signals: Mapping[str, Labels],
    conditions: Sequence[Condition],
    sample_rate: int,
    folder: Path,
    *,
    window_seconds: float | None,
    methods: Sequence[str],
    seeds: Sequence[int],
    folds: int = 1,
    audio_clips: int = 0,
    **options: Any,
) -> Estimate:
    """Estimate the time, memory and disk space of a comparison, without the results in its cache.

    A few tracks are embedded and corrupted, and each method is fitted to random embeddings. Nothing is written, and the
    states of the random generators of PyTorch, NumPy and Python do not change.

    Args:
        models: models by name, one or one for each seed.
        tracks: track table with the columns `path`, `seconds` and `split`.
        signals: labels of all tracks by column.
        conditions: clean audio and corruptions, as for `compare_models`.
        sample_rate: sample rate of the corruptions in hertz.
        folder: output folder. It need not exist.
        window_seconds: as for `compare_models`.
        methods: methods of the probes.
        seeds: seeds of the probes.
        folds: number of folds of a cross-validation, in which all tracks are corrupted, or 1 for a test set.
        audio_clips: number of tracks whose audio is in the report.
        options: readout of the models, as for `compare_models`.
    """
    flat = {f"{name} {number}": model for name, own in models.items() for number, model in enumerate(own)}
    windows = _windows_of(flat, tracks, window_seconds)
    is_test = np.ones(len(tracks), dtype=bool) if folds > 1 else (tracks["split"] == "test").to_numpy()
    with _nothing_changed():
        clean, widths = _time_clean(flat, tracks, window_seconds, windows, options)
        test = tracks.select(is_test)
        corrupted = _time_corrupted(flat, test, window_seconds, windows[is_test], conditions, sample_rate, options)
        divided = tracks if folds == 1 else tracks.assign(split=np.resize(_SPLITS, len(tracks)))
        by_method = _time_probes(widths, divided, signals, methods)
    repeated = 1 if folds == 1 else folds * INNER_FOLDS
    fits = {
        method: repeated
        * sum(len(seeds) if folds > 1 or len(own) > 1 or method in _SEEDED else 1 for own in models.values())
        for method in methods
    }
    fitting = sum(seconds * fits[method] for method, seconds in by_method.items())
    size = 4 * sum(widths.values()) * (len(tracks) + int(is_test.sum()) * (len(conditions) - 1))
    cached = sum(path.stat().st_size for path in (folder / "cache").glob("*.npy"))
    written = max(0, size - cached)
    report = _REPORT_BYTES + audio_clips * _CLIP_BYTES
    number = sum(condition.transform is not None for condition in conditions)
    work = (
        f"{format_audio(len(tracks), float(tracks['seconds'].sum()))}, "
        f"{format_count(len(flat), 'model')}, {format_count(number, 'corruption')} of "
        f"{format_count(int(is_test.sum()), 'track')}"
    )
    if (folder / "cache").is_dir():
        work += ", without cached results"
    return Estimate(
        work,
        clean + corrupted + fitting + _REPORT_SECONDS + audio_clips * _CLIP_SECONDS,
        max(peak_memory(), current_memory()) + 2 * size,
        {folder: written + report},
        {"embeddings": written, "report": report},
    )


def _windows_of(models: Mapping[str, WaveformModel], tracks: TrackTable, window_seconds: float | None) -> np.ndarray:
    """Return the number of windows of each track that are embedded, (tracks,), summed over the models."""
    counts = []
    for model in models.values():
        size = round(choose_window_seconds(model, window_seconds) * model.sample_rate)
        counts.append(np.minimum(count_windows(tracks, model.sample_rate, size), MAX_WINDOWS))
    return np.sum(counts, axis=0)


def _time_clean(
    models: Mapping[str, WaveformModel],
    tracks: TrackTable,
    window_seconds: float | None,
    windows: np.ndarray,
    options: Mapping[str, Any],
) -> tuple[float, dict[str, int]]:
    """Return the seconds to embed all tracks by all models, and the width of the embeddings of each model.

    The first track also fuses the encoders, and is timed only if there is no other.
    """
    places = _spread(len(tracks), _TIMED_TRACKS + 1)
    groups = np.split(places, range(1, len(places), _TRACKS_AT_ONCE))
    seconds, timed = 0.0, 0
    widths: dict[str, int] = {}
    for number, part in enumerate(groups):
        if number == 1:
            seconds, timed = 0.0, 0
        if seconds > _MIN_SECONDS:
            break
        few = tracks.select(part)
        for rate in {model.sample_rate for model in models.values()}:
            make_reader(few, rate)  # verifies the audio of a store, which is done once
        begin = time.monotonic()
        found = _embed(models, few, window_seconds, None, options)
        seconds += time.monotonic() - begin
        timed += int(windows[part].sum())
        widths |= {name: vectors.shape[1] for name, vectors in found.items()}
    return seconds / max(1, timed) * int(windows.sum()), widths


def _time_corrupted(
    models: Mapping[str, WaveformModel],
    test: TrackTable,
    window_seconds: float | None,
    windows: np.ndarray,
    conditions: Sequence[Condition],
    sample_rate: int,
    options: Mapping[str, Any],
) -> float:
    """Return the seconds to corrupt and embed the test tracks under all conditions.

    Each corruption is timed on one track at its highest severity. After ten seconds, the others count as the mean.
    """
    if not len(test):
        return 0.0
    strongest = {own.corruption: own for own in conditions if own.transform is not None}
    numbers = {name: sum(own.corruption == name for own in conditions) for name in strongest}
    place = np.array([int(np.argsort(windows, kind="stable")[len(windows) // 2])])
    few, begin = test.select(place), time.monotonic()
    times: dict[str, float] = {}
    for name, condition in strongest.items():
        if time.monotonic() - begin > _MAX_SECONDS:
            break
        transform = condition.transform
        if isinstance(transform, Augmentation):
            transform = FixedCorruption.draw(transform, sample_rate, few)
        started = time.monotonic()
        _embed(models, few, window_seconds, transform, options)
        times[name] = time.monotonic() - started
    mean = sum(times.values()) / max(1, len(times))
    per_track = sum(times.get(name, mean) * numbers[name] for name in strongest)
    return per_track / max(1, int(windows[place].sum())) * int(windows.sum())


def _time_probes(
    widths: Mapping[str, int], tracks: TrackTable, signals: Mapping[str, Labels], methods: Sequence[str]
) -> dict[str, float]:
    """Return the seconds to fit the probes of each method to the embeddings of a model, for one seed.

    Each method is fitted for each label column to random embeddings of the mean width. The duration is proportional to
    the numbers of tracks and columns of the embeddings.
    """
    width = max(1, round(sum(widths.values()) / max(1, len(widths))))
    rows = _spread(len(tracks), _TIMED_ROWS)
    few = tracks.select(rows)
    layers = {"first": width // 2, "second": width - width // 2}
    seconds = dict.fromkeys(methods, 0.0)
    for column, method in itertools.product(signals, methods):
        widths_of_layers = layers if method == WEIGHTED else None
        embeddings = _random_embeddings(signals[column], rows, width)
        begin = time.monotonic()
        try:
            fit_probe(embeddings, few, column, method, kind=signals[column].kind, layer_widths=widths_of_layers)
        except (InputError, ValueError):  # the few tracks lack a class, or a label in a split
            continue
        seconds[method] += (time.monotonic() - begin) * len(tracks) / len(rows)
    return seconds


def _random_embeddings(labels: Labels, rows: np.ndarray, width: int) -> np.ndarray:
    """Return random embeddings (rows, width) that depend on the labels of the rows."""
    random = np.random.default_rng(0)
    values = np.nan_to_num(labels.values.numpy()[rows].reshape(len(rows), -1).astype(np.float64))
    signal = values @ random.standard_normal((values.shape[1], width))
    noise = random.standard_normal((len(rows), width))
    return (noise + signal / max(1e-9, float(signal.std()))).astype(np.float32)


def _embed(
    models: Mapping[str, WaveformModel],
    tracks: TrackTable,
    window_seconds: float | None,
    corruption: FixedCorruption | None,
    options: Mapping[str, Any],
) -> dict[str, np.ndarray]:
    """Embed a few tracks. If none of them can be decoded, the result is empty, because others may be intact."""
    try:
        return embed_models(
            models, tracks, window_seconds, corruption=corruption, max_unusable=1.0, progress=False, **options
        )
    except InputError as error:
        if str(error).startswith("tracks: "):
            return {}
        raise


def _spread(count: int, most: int) -> np.ndarray:
    """Return up to `most` numbers below `count`, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


@contextmanager
def _nothing_changed() -> Iterator[None]:
    """Context manager that restores the states of the random generators on exit, and logs no messages of embeddings."""
    gpus = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    state = RandomState(gpus if torch.cuda.is_initialized() else [])
    logger = logging.getLogger("ssc_toolkit.evaluation.embedding.extract")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
        state.restore()
