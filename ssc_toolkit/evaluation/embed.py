"""Embeddings of tracks."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ssc_toolkit.augmentations import Augmentation
from ssc_toolkit.data import UnreadableAudio, read_audio
from ssc_toolkit.data.store import store_of
from ssc_toolkit.errors import InputError
from ssc_toolkit.progress import progress_bar
from ssc_toolkit.seeds import generator_for

logger = logging.getLogger(__name__)

MOST_WINDOWS = 64
"""Windows of a track that are used, from its beginning (the paper's rule)."""


class WaveformModel(Protocol):
    """Whatever embeds waveforms: (N, 1, samples) at `sample_rate` hertz to (N, dim)."""

    sample_rate: int

    def __call__(self, waveforms: Tensor) -> Tensor: ...


def embed_tracks(
    model: WaveformModel,
    tracks: pd.DataFrame,
    window_seconds: float,
    *,
    corruption: Augmentation | None = None,
    seed: int = 0,
    batch_size: int = 32,
    most_unreadable: float = 0.1,
    progress: bool = True,
) -> np.ndarray:
    """One embedding a track: the mean over its windows.

    A track is cut into non-overlapping windows; what remains at its end is dropped, and of a long track
    the first 64 windows are used. A model that is a module is run in eval mode and left as it was.

    Args:
        model: an encoder, or any callable from waveforms (N, 1, samples) to embeddings (N, dim) that has a
            `sample_rate`.
        tracks: table with `path` and `seconds`, as `check_audio` or `AudioStore.tracks` gives it.
        window_seconds: length of a window.
        corruption: applied to each whole track (up to its 64 windows) before it is cut. What it draws
            for a track depends on the seed and the track's row alone, so every model hears the same.
        seed: of the corruption.
        batch_size: tracks at once.
        most_unreadable: share of the tracks that may turn out not to be decodable before it is an error.
        progress: show a progress bar.

    Returns:
        (tracks, dim) float32. A track that cannot be decoded gets a row of NaN and is named in a warning.

    Raises:
        InputError: if a track is shorter than a window, or too many cannot be decoded.
    """
    window = round(window_seconds * model.sample_rate)
    lengths = window_counts(tracks, model.sample_rate, window) * window
    read = _reader(tracks, model.sample_rate)
    draw = None if corruption is None else corruption.draw(len(tracks), generator_for(seed, "corruption"))
    device = _device(model)
    vectors: dict[int, np.ndarray] = {}
    problems: list[str] = []
    with (
        _eval_mode(model),
        progress_bar(total=len(tracks), desc="embedding", unit="track", disable=not progress) as bar,
    ):
        for rows in _runs_of_equal_length(lengths, batch_size):
            decoded = _decode(read, rows, int(lengths[rows[0]]), problems)
            if len(problems) > most_unreadable * len(tracks):
                raise InputError(
                    f"tracks: {len(problems)} of {len(tracks)} could not be decoded, such as {problems[0]}. Mend or "
                    "remove them"
                )
            if decoded:
                waveforms = torch.from_numpy(np.stack(list(decoded.values())))[:, None].to(device)
                if corruption is not None and draw is not None:
                    waveforms = corruption.apply(waveforms, draw[torch.tensor(list(decoded))])
                embedded = model(waveforms.reshape(-1, 1, window)).unflatten(0, (len(decoded), -1)).mean(dim=1)
                if not embedded.isfinite().all():
                    raise InputError("encoder: gives embeddings that are not numbers; its training has diverged")
                vectors.update(zip(decoded, embedded.float().cpu().numpy(), strict=True))
            bar.update(len(rows))
    for problem in problems:
        logger.warning("not embedded: %s", problem)
    if not vectors:
        raise InputError(f"tracks: none could be decoded, such as {problems[0]}")
    nothing = np.full_like(next(iter(vectors.values())), np.nan)
    return np.stack([vectors.get(row, nothing) for row in range(len(tracks))])


def window_counts(tracks: pd.DataFrame, sample_rate: int, window: int) -> np.ndarray:
    """Windows that are used of each track, at most 64.

    Raises:
        InputError: if a track is shorter than a window.
    """
    # A hair more, because seconds are a rounded quotient.
    counts = np.floor(tracks["seconds"].to_numpy() * sample_rate / window + 1e-6).astype(int)
    if (counts < 1).any():
        short = tracks["path"].iloc[int((counts < 1).argmax())]
        raise InputError(
            f"tracks: {int((counts < 1).sum())} tracks are shorter than a window of {window / sample_rate:.2f} s, "
            f"such as {short}; leave them out (check_audio does) or choose a shorter window"
        )
    return np.minimum(counts, MOST_WINDOWS)


def _runs_of_equal_length(lengths: np.ndarray, most: int) -> Iterator[list[int]]:
    """Row numbers in order, in groups of at most `most` neighbours of the same length."""
    for _, group in itertools.groupby(range(len(lengths)), key=lambda row: lengths[row]):
        rows = list(group)
        yield from (rows[first : first + most] for first in range(0, len(rows), most))


def _reader(tracks: pd.DataFrame, sample_rate: int) -> Callable[[int, int], np.ndarray]:
    """From a row and a number of samples to the beginning of that track, from its store or its file."""
    paths = tracks["path"].tolist()
    store = store_of(tracks, sample_rate)
    if store is None:
        return lambda row, length: read_audio(paths[row], sample_rate, 0, length)
    rows = store.rows_of(paths).tolist()
    return lambda row, length: store.read([rows[row]], [0], length)[0].numpy()


def _decode(
    read: Callable[[int, int], np.ndarray], rows: list[int], length: int, problems: list[str]
) -> dict[int, np.ndarray]:
    """The first `length` samples of each track, by row; adds to `problems` what cannot be decoded."""
    decoded = {}
    for row in rows:
        try:
            decoded[row] = read(row, length)
        except UnreadableAudio as error:
            problems.append(str(error))
    return decoded


def _device(model: WaveformModel) -> torch.device:
    parameters = model.parameters() if isinstance(model, nn.Module) else ()
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


@contextmanager
def _eval_mode(model: WaveformModel) -> Iterator[None]:
    """Eval mode, without gradients; afterwards a module is back in the mode it was in."""
    was_training = isinstance(model, nn.Module) and model.training
    if isinstance(model, nn.Module):
        model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if isinstance(model, nn.Module):
            model.train(was_training)
