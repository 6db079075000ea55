"""Computation of the embeddings of tracks and of their windows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.encoders import Readout
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.audio_loader import AudioLoader
from ssc_toolkit.evaluation.embedding.cache import EmbeddingCache
from ssc_toolkit.evaluation.embedding.eval_mode import eval_mode
from ssc_toolkit.evaluation.embedding.fixed_corruption import FixedCorruption
from ssc_toolkit.evaluation.embedding.models import (
    WaveformModel,
    choose_window_seconds,
    compute_embeddings,
    find_device,
    fused_if_equal,
)
from ssc_toolkit.evaluation.embedding.readout import check_frames, choose_readout
from ssc_toolkit.evaluation.embedding.windows import (
    count_padded,
    find_window_pooling,
)
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)


class NoTrackDecoded(InputError):
    """Error if none of several tracks could be decoded."""


def embed_tracks(
    model: WaveformModel,
    tracks: Tracks,
    window_seconds: float | None = None,
    *,
    window_pooling: str = "mean",
    frame_pooling: str = "default",
    layers: str | Sequence[str] | None = None,
    corruption: Augmentation | FixedCorruption | None = None,
    seed: int = 0,
    batch_size: int = 32,
    max_unusable: float = 0.1,
    cache: str | Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Compute one embedding per track, by default the mean of the embeddings of its windows.

    A track is cut into non-overlapping windows, and a partial window at the end is dropped. At most 64 windows are
    used, which are spread evenly over the track. A track that is shorter than a window is padded with zeros at its end,
    and a warning states the number of such tracks. Windows whose peak is below -80 dB of full scale are left out of the
    pooling, unless all windows of the track are silent. The peak is that of the clean audio, so that clean and
    corrupted embeddings of a track use the same windows. If the model is an `nn.Module`, it runs in eval mode, and its
    previous mode is restored.

    Args:
        model: an encoder, or any callable from waveforms (N, 1, samples) to embeddings (N, dim) that has an attribute
            `sample_rate` in hertz. `as_model` adds this attribute to a function or module.
        tracks: track table, data frame or path of a table, with the columns `path` and `seconds` (duration). The tables
            from `check_audio` and `AudioStore.tracks` have both columns.
        window_seconds: length of a window in seconds. By default, the model's attribute `window_seconds`, or 3 if the
            model has none.
        window_pooling: pooling of the window embeddings of a track: "mean", "max" or "mean_std" (concatenated).
        frame_pooling: pooling of the frames of a window: "mean", "max", "mean_std" (concatenated), "unit_mean_std"
            (each divided by its norm) or "scaled_mean_std" (also by the square root of its
            width). "default" is the pooling of `Encoder.readout`, for a new encoder that of the architecture. Only for
            encoders.
        layers: layers whose frames are pooled and concatenated: "last", "all" or a list of names from
            `Encoder.layer_names`. None is for the layers of `Encoder.readout`, for a new encoder the last. Only for
            encoders.
        corruption: transform that corrupts each track before the track is cut into windows. The random values of an
            `Augmentation` for a track depend only on `seed` and the row of the track. A `FixedCorruption` uses its
            stored random values.
        seed: seed of the corruption.
        batch_size: number of tracks processed at once.
        max_unusable: maximum fraction of tracks that may fail to decode.
        cache: folder of the embedding cache. Its keys depend on the settings and weights of the model, on the readout
            and on the content of the audio files. None stores nothing.
        progress: whether to show a progress bar.

    Returns:
        (tracks, dim) float32 embeddings. If a track cannot be decoded, its row is NaN, and a warning names the track.

    Raises:
        InputError: if a pooling or layer is unknown, if a readout is given for a model that is not an `Encoder`, if the
            deviation over the frames would always be 0, if all tracks failed to decode, or if the fraction of tracks
            that failed to decode exceeds `max_unusable`.
    """
    (embeddings,) = embed_models(
        {"": model},
        tracks,
        window_seconds,
        window_pooling=window_pooling,
        frame_pooling=frame_pooling,
        layers=layers,
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
    frame_pooling: str = "default",
    layers: str | Sequence[str] | None = None,
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
        frame_pooling: as for `embed_tracks`. It applies to all models. `LogMelStatistics` and `MFCCStatistics` keep
            their own readout.
        layers: as for `embed_tracks`. They apply to all models. `LogMelStatistics` and `MFCCStatistics` keep
            their own readout.
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
    readouts = _readouts(models, seconds, frame_pooling, layers)
    found: dict[str, np.ndarray] = {}
    for name, model in models.items():
        kept = None if store is None else store.get(model, seconds[name], readouts[name])
        if kept is not None:
            found[name] = kept
    wanted = {name: model for name, model in models.items() if name not in found}
    if wanted:
        vectors = _by_row(
            wanted, tracks, seconds, readouts, pool, fixed,
            batch_size=batch_size, max_unusable=max_unusable, progress=progress,
        )  # fmt: skip
        for name, rows in vectors.items():
            nothing = np.full_like(next(iter(rows.values())), np.nan)
            found[name] = np.stack([rows.get(row, nothing) for row in range(len(tracks))])
            if store is not None:
                store.put(wanted[name], seconds[name], found[name], readouts[name])
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
    frame_pooling: str = "default",
    layers: str | Sequence[str] | None = None,
    batch_size: int = 32,
    max_unusable: float = 0.1,
    progress: bool = True,
) -> WindowEmbeddings:
    """Compute one embedding per window of each track, without pooling over the windows.

    The arguments and errors are the same as for `embed_tracks`. All whole windows of a track are included, also silent
    ones and those of tracks with more than 64 windows, so that the windows of a track are evenly spaced. If a track
    cannot be decoded, the result contains no windows of this track, and a warning names the track.
    """
    tracks = as_track_table(tracks)
    seconds = choose_window_seconds(model, window_seconds)
    readouts = _readouts({"": model}, {"": seconds}, frame_pooling, layers)
    (by_row,) = _by_row(
        {"": model}, tracks, {"": seconds}, readouts, None, None,
        batch_size=batch_size, max_unusable=max_unusable, progress=progress,
    ).values()  # fmt: skip
    rows = sorted(by_row)
    counts = [len(by_row[row]) for row in rows]
    step = round(seconds * model.sample_rate) / model.sample_rate
    starts = np.concatenate([np.arange(count) for count in counts]) * step
    return WindowEmbeddings(np.concatenate([by_row[row] for row in rows]), np.repeat(rows, counts), starts)


def _by_row(
    models: Mapping[str, WaveformModel],
    tracks: TrackTable,
    seconds: Mapping[str, float],
    readouts: Mapping[str, Readout | None],
    pool: Callable[[Tensor], Tensor] | None,
    corruption: FixedCorruption | None,
    *,
    batch_size: int,
    max_unusable: float,
    progress: bool,
) -> dict[str, dict[int, np.ndarray]]:
    """Return a dictionary from model name to a dictionary from row number to the embedding of the track.

    `pool` maps window embeddings (1, windows, dim) to (1, dim). If it is None, the values are the embeddings of all
    windows (windows, dim).
    """
    sizes = {name: round(seconds[name] * model.sample_rate) for name, model in models.items()}
    rates = [model.sample_rate for model in models.values()]
    loader = AudioLoader(
        tracks, rates, list(sizes.values()), corruption, batch_size, max_unusable, all_windows=pool is None
    )
    _report_padded(tracks, {(model.sample_rate, sizes[name]) for name, model in models.items()})
    parts: dict[str, dict[int, list[np.ndarray]]] = {name: {} for name in models}
    fused: dict[str, WaveformModel] = {}
    device = find_device(next(iter(models.values())))
    with (
        eval_mode(*models.values()),
        progress_bar(total=len(tracks), desc="embedding", unit="track", disable=not progress) as bar,
    ):
        for count, rows, loaded, audible in loader.batches(device):
            for windows, found, (name, model) in zip(loaded, audible, models.items() if rows else (), strict=True):
                kept = torch.ones_like(found) if pool is None else found
                chosen = (windows.flatten(0, 1) if kept.all() else windows[kept])[:, None].to(find_device(model))
                if name not in fused:
                    fused[name] = fused_if_equal(model, chosen, readouts[name])
                embedded = compute_embeddings(fused[name], chosen, readouts[name])
                for row, part in zip(rows, embedded.split(kept.sum(1).tolist()), strict=True):
                    pooled = (part if pool is None else pool(part[None])[0]).cpu().numpy()
                    parts[name].setdefault(row, []).append(pooled)
            bar.update(count)
    for problem in loader.problems:
        logger.warning("not embedded: %s", problem)
    vectors = {
        name: {row: np.concatenate(own) for row, own in found.items() if row not in loader.failed}
        for name, found in parts.items()
    }
    if any(not rows for rows in vectors.values()):
        raise NoTrackDecoded(f"tracks: no track could be decoded; the first problem is {loader.problems[0]}")
    return vectors


def _readouts(
    models: Mapping[str, WaveformModel],
    seconds: Mapping[str, float],
    frame_pooling: str,
    layers: str | Sequence[str] | None,
) -> dict[str, Readout | None]:
    """Return the readout of each model, after checking that it can be computed."""
    readouts = {name: choose_readout(model, frame_pooling, layers) for name, model in models.items()}
    for name, model in models.items():
        check_frames(model, readouts[name], round(seconds[name] * model.sample_rate))
    return readouts


def _report_padded(tracks: TrackTable, windows: Iterable[tuple[int, int]]) -> None:
    """Log the number of tracks that are shorter than a window, for windows of several sample rates and lengths."""
    for seconds, rate, size in sorted((size / rate, rate, size) for rate, size in windows):
        if padded := count_padded(tracks, rate, size):
            logger.warning(
                "%d of %d tracks are shorter than a window of %.2f s and are padded with zeros",
                padded, len(tracks), seconds,
            )  # fmt: skip


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
