"""Computation of the embeddings of tracks and of their windows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import rearrange
from torch import Tensor

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data.track_table import Tracks, TrackTable, as_track_table
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.audio_loader import AudioLoader
from ssc_toolkit.evaluation.embedding.cache import EmbeddingCache
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import (
    WaveformModel,
    choose_window_seconds,
    compute_embeddings,
    eval_mode,
    find_device,
    fused_if_equal,
)
from ssc_toolkit.evaluation.embedding.windows import count_windows, find_window_pooling
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)


def embed_tracks(
    model: WaveformModel,
    tracks: Tracks,
    window_seconds: float | None = None,
    *,
    window_pooling: str = "mean",
    corruption: Augmentation | FixedCorruption | None = None,
    seed: int = 0,
    batch_size: int = 32,
    max_unusable: float = 0.1,
    cache: str | Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Compute one embedding per track, by default the mean of the embeddings of its windows.

    A track is cut into non-overlapping windows. A partial window at the end is dropped, and at most the first 64
    windows are used. If the model is an `nn.Module`, it runs in eval mode, and its previous mode is restored.

    Args:
        model: an encoder, or any callable from waveforms (N, 1, samples) to embeddings (N, dim) that has an attribute
            `sample_rate` in hertz. `as_model` adds this attribute to a function or module.
        tracks: track table, data frame or path of a table, with the columns `path` and `seconds` (duration). The tables
            from `check_audio` and `AudioStore.tracks` have both columns.
        window_seconds: length of a window in seconds. By default, the model's attribute `window_seconds`, or 3 if the
            model has none.
        window_pooling: pooling of the window embeddings of a track: "mean", "max" or "mean+std" (concatenated).
        corruption: transform that corrupts each track before the track is cut into windows. It is applied to at most
            the first 192 s, or to more if the windows cover more. The random values of an `Augmentation` for a track
            depend only on `seed` and the row of the track. A `FixedCorruption` uses its stored random values.
        seed: seed of the corruption.
        batch_size: number of tracks processed at once.
        max_unusable: maximum fraction of tracks that may fail to decode.
        cache: folder of the embedding cache. Its keys depend on the settings and weights of the model and on the
            content of the audio files. None stores nothing.
        progress: whether to show a progress bar.

    Returns:
        (tracks, dim) float32 embeddings. If a track cannot be decoded, its row is NaN, and a warning names the track.

    Raises:
        InputError: if a track is shorter than a window, if all tracks failed to decode, or if the fraction of tracks
            that failed to decode exceeds `max_unusable`.
    """
    (embeddings,) = embed_models(
        {"": model},
        tracks,
        window_seconds,
        window_pooling=window_pooling,
        corruption=corruption,
        seed=seed,
        batch_size=batch_size,
        max_unusable=max_unusable,
        cache=cache,
        progress=progress,
    ).values()
    return embeddings


def embed_models(
    models: Mapping[str, WaveformModel],
    tracks: Tracks,
    window_seconds: float | None = None,
    *,
    window_pooling: str = "mean",
    corruption: Augmentation | FixedCorruption | None = None,
    seed: int = 0,
    batch_size: int = 32,
    max_unusable: float = 0.1,
    cache: str | Path | None = None,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Compute the embeddings of several models, and decode and corrupt the audio only once for all models.

    Args:
        models: models by name.
        tracks: as for `embed_tracks`.
        window_seconds: length of a window in seconds for all models. By default, each model uses its own window length,
            as in `embed_tracks`.
        window_pooling: as for `embed_tracks`.
        corruption: as for `embed_tracks`. If the models have different sample rates, it must be a `FixedCorruption`,
            which has its own sample rate.
        seed: as for `embed_tracks`.
        batch_size: as for `embed_tracks`.
        max_unusable: as for `embed_tracks`.
        cache: as for `embed_tracks`.
        progress: as for `embed_tracks`.

    Returns:
        A dictionary from model name to embeddings (tracks, dim) in float32.

    Raises:
        InputError: in the same cases as `embed_tracks`, or if the models have different sample rates and
            `corruption` is an `Augmentation`.
    """
    tracks = as_track_table(tracks)
    pool = find_window_pooling(window_pooling)
    fixed = _fixed(corruption, models, tracks, seed)
    store = None if cache is None else EmbeddingCache(Path(cache), tracks, window_pooling, fixed)
    seconds = {name: choose_window_seconds(model, window_seconds) for name, model in models.items()}
    found: dict[str, np.ndarray] = {}
    for name, model in models.items():
        kept = None if store is None else store.get(model, seconds[name])
        if kept is not None:
            found[name] = kept
    wanted = {name: model for name, model in models.items() if name not in found}
    if wanted:
        vectors = _by_row(
            wanted, tracks, seconds, pool, fixed, batch_size=batch_size, max_unusable=max_unusable, progress=progress
        )
        for name, rows in vectors.items():
            nothing = np.full_like(next(iter(rows.values())), np.nan)
            found[name] = np.stack([rows.get(row, nothing) for row in range(len(tracks))])
            if store is not None:
                store.put(wanted[name], seconds[name], found[name])
    return {name: found[name] for name in models}


def expand_rows(vectors: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Expand the embeddings of selected tracks to one row per track of a table. The other rows are NaN.

    Args:
        vectors: (selected, dim) embeddings of the selected tracks, in the order of the table.
        where: (tracks,) bool, True for the selected tracks.

    Returns:
        (tracks, dim) float32.

    Examples:
        >>> expand_rows(np.array([[1.0], [2.0]]), np.array([True, False, True])).ravel().tolist()
        [1.0, nan, 2.0]
    """
    everywhere = np.full((len(where), vectors.shape[1]), np.nan, dtype=np.float32)
    everywhere[where] = vectors
    return everywhere


@dataclass(frozen=True)
class WindowEmbeddings:
    """Embeddings of all windows of several tracks.

    Attributes:
        embeddings: (windows, dim) float32 embedding of each window.
        rows: (windows,) row number of the track that contains the window.
        seconds: (windows,) start time of the window in its track, in seconds.
    """

    embeddings: np.ndarray
    rows: np.ndarray
    seconds: np.ndarray


def embed_windows(
    model: WaveformModel,
    tracks: Tracks,
    window_seconds: float | None = None,
    *,
    batch_size: int = 32,
    max_unusable: float = 0.1,
    progress: bool = True,
) -> WindowEmbeddings:
    """Compute one embedding per window of each track, without pooling.

    The arguments and errors are the same as for `embed_tracks`.

    Returns:
        The embeddings of all windows. There are none for a track that cannot be decoded, and a warning names it.
    """
    tracks = as_track_table(tracks)
    seconds = choose_window_seconds(model, window_seconds)
    (by_row,) = _by_row(
        {"": model}, tracks, {"": seconds}, lambda windows: windows, None, batch_size=batch_size,
        max_unusable=max_unusable, progress=progress,
    ).values()  # fmt: skip
    rows = sorted(by_row)
    counts = [len(by_row[row]) for row in rows]
    starts = np.concatenate([np.arange(count) for count in counts]) * seconds
    return WindowEmbeddings(np.concatenate([by_row[row] for row in rows]), np.repeat(rows, counts), starts)


def _by_row(
    models: Mapping[str, WaveformModel],
    tracks: TrackTable,
    seconds: Mapping[str, float],
    pool: Callable[[Tensor], Tensor],
    corruption: FixedCorruption | None,
    *,
    batch_size: int,
    max_unusable: float,
    progress: bool,
) -> dict[str, dict[int, np.ndarray]]:
    """Compute pooled embeddings of the tracks that can be decoded, as a dictionary by row number for each model name.

    Args:
        models: models by name.
        tracks: track table.
        seconds: length of a window in seconds, by model name.
        pool: function that pools the embeddings of the windows of a track.
        corruption: corruption of the tracks. None: clean audio.
        batch_size: as for `embed_tracks`.
        max_unusable: as for `embed_tracks`.
        progress: as for `embed_tracks`.
    """
    sizes = {name: round(seconds[name] * model.sample_rate) for name, model in models.items()}
    needs = np.stack(
        [count_windows(tracks, model.sample_rate, sizes[name]) * sizes[name] for name, model in models.items()], axis=1
    )
    rates = [model.sample_rate for model in models.values()]
    loader = AudioLoader(tracks, rates, needs, corruption, batch_size, max_unusable)
    vectors: dict[str, dict[int, np.ndarray]] = {name: {} for name in models}
    fused: dict[str, WaveformModel] = {}
    device = find_device(next(iter(models.values())))
    with (
        eval_mode(*models.values()),
        progress_bar(total=len(tracks), desc="embedding", unit="track", disable=not progress) as bar,
    ):
        for looked_at, rows, waveforms in loader.batches(device):
            for place, (name, model) in enumerate(models.items() if rows else ()):
                segments = waveforms[model.sample_rate][..., : int(needs[rows[0], place])].to(find_device(model))
                cut = "tracks channels (windows samples) -> (tracks windows) channels samples"
                windows = rearrange(segments, cut, samples=sizes[name])
                if name not in fused:
                    fused[name] = fused_if_equal(model, windows)
                embedded = compute_embeddings(fused[name], windows)
                embedded = rearrange(embedded, "(tracks windows) dim -> tracks windows dim", tracks=len(rows))
                vectors[name].update(zip(rows, pool(embedded).cpu().numpy(), strict=True))
            bar.update(looked_at)
    for problem in loader.problems:
        logger.warning("not embedded: %s", problem)
    if any(not rows for rows in vectors.values()):
        raise InputError(f"tracks: no track could be decoded; the first problem is {loader.problems[0]}")
    return vectors


def _fixed(
    corruption: Augmentation | FixedCorruption | None,
    models: Mapping[str, WaveformModel],
    tracks: TrackTable,
    seed: int,
) -> FixedCorruption | None:
    """Return a corruption with fixed random values for each track, drawn from `seed` if they are not fixed yet.

    Return None for clean audio.
    """
    if corruption is None or isinstance(corruption, FixedCorruption):
        return corruption
    rates = {model.sample_rate for model in models.values()}
    if len(rates) > 1:
        raise InputError(
            f"corruption: expected a FixedCorruption, which has a sample rate, got {type(corruption).__name__}; the "
            f"models have different sample rates, {', '.join(map(str, sorted(rates)))} Hz"
        )
    return FixedCorruption.draw(corruption, rates.pop(), tracks, seed)
