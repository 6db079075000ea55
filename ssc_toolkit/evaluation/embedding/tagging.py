"""Probabilities of classes of tracks, by models that tag music."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from ssc_toolkit.data.track_table import Tracks
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.encoders import MusiCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.extract import NoTrackDecoded, embed_tracks
from ssc_toolkit.evaluation.embedding.models import hash_model, open_model
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)

TRACKS_AT_ONCE = 128
"""Number of tracks whose probabilities are stored together in the cache."""
_TOLERANCE = 1e-5
"""Distance from the range 0 to 1 of probabilities that are subject to rounding."""


class Tagger(nn.Module):
    """Model that computes the probabilities of classes, for `tag_tracks`.

    Args:
        model: a `MusiCNN`, or a callable from waveforms (N, 1, samples) to probabilities (N, classes). It has the
            attributes `sample_rate` in hertz and `classes`, a list of names in the order of the probabilities. The
            attribute `window_seconds`, the length of a window in seconds, is optional. `as_model` adds a sample rate to
            a function.

    Attributes:
        classes: names of the classes.
        sample_rate: sample rate of the waveforms in hertz.

    Raises:
        InputError: if the model has no sample rate or no classes; when the tagger is called, if the model does not
            return a probability for each class.

    Examples:
        >>> import torch
        >>> class Loudness(nn.Module):
        ...     sample_rate, classes = 16000, ("loud", "soft")
        ...     def forward(self, waveforms):
        ...         loud = waveforms.square().mean(dim=(1, 2)).sqrt().clamp(max=1)
        ...         return torch.stack([loud, 1 - loud], dim=1)
        >>> Tagger(Loudness())(torch.ones(1, 1, 16000) / 2)
        tensor([[0.5000, 0.5000]])
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        rate = getattr(model, "sample_rate", None)
        if not callable(model) or not isinstance(rate, int):
            raise InputError(f"model: expected a callable with a sample_rate, got {type(model).__name__}")
        self.model = model
        self.classes = _check_classes(model)
        self.sample_rate = rate
        self.window_seconds = getattr(model, "window_seconds", None)
        self.min_samples = getattr(model, "min_samples", 1)
        self.identity: str | None = None

    def forward(self, waveforms: Tensor) -> Tensor:
        found = self._compute(waveforms)
        expected = (len(waveforms), len(self.classes))
        if not isinstance(found, Tensor) or tuple(found.shape) != expected:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise InputError(f"model: expected probabilities {expected}, one for each class, got {shape}")
        if not bool(((found >= -_TOLERANCE) & (found <= 1 + _TOLERANCE)).all()):
            raise InputError(
                "model: expected probabilities from 0 to 1, got other values or NaN; apply a sigmoid or softmax to the "
                "outputs"
            )
        return found.clamp(0, 1)

    def _compute(self, waveforms: Tensor) -> Any:
        if isinstance(self.model, MusiCNN):
            return self.model.taggram(waveforms).mean(dim=-2)
        try:
            return self.model(waveforms)
        except InputError:
            raise
        except Exception as error:  # the code of the user may raise any exception
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(f"model: expected probabilities of {len(waveforms)} windows, got {reason}") from error


def open_tagger(source: str, *, allow_code: bool = False) -> Tagger:
    """Open a published tagger, or a model with classes that a Python function creates.

    Args:
        source: "MTT_musicnn", "MSD_musicnn", or "module:function". The function takes no arguments and returns a model,
            as for `Tagger`.
        allow_code: allow "module:function", which imports and runs code.

    Raises:
        InputError: as for `open_model` and `Tagger`.
    """
    try:
        model = open_model(source, allow_code=allow_code)
    except InputError as error:
        name, _, rest = str(error).partition(":")
        raise InputError(f"model:{rest}" if name == "encoder" else str(error)) from error
    return Tagger(model)


def tag_tracks(
    model: Any,
    tracks: Tracks,
    window_seconds: float | None = None,
    *,
    batch_size: int = 32,
    max_unusable: float = 0.1,
    cache: str | Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Compute the probability of each class for each track, the mean over the windows of the track.

    The windows are those of `embed_tracks`: silent windows are left out, and at most 64 windows of a track are used.

    Args:
        model: a `Tagger`, or a model as for `Tagger`.
        tracks: track table, data frame or path of a table, with the columns `path` and `seconds` (duration), as
            `check_audio` returns it.
        window_seconds: length of a window in seconds. By default, the model's attribute `window_seconds`, or 3 if the
            model has none.
        batch_size: number of tracks processed at once.
        max_unusable: maximum fraction of tracks that may fail to decode.
        cache: folder that stores the probabilities of 128 tracks at a time, so that an interrupted call can be resumed.
            None stores nothing.
        progress: whether to show a progress bar.

    Returns:
        (tracks, classes) float32 probabilities. If a track cannot be decoded, its row is NaN, and a warning names the
        track.

    Raises:
        InputError: if the model is invalid, if it does not return probabilities, if it is a function without an
            `identity` and `cache` is given, or if too many tracks fail to decode.

    Examples:
        >>> import tempfile, pathlib, soundfile
        >>> from ssc_toolkit.data import check_audio
        >>> from ssc_toolkit.encoders import MusiCNN
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> soundfile.write(folder / "a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 32000), 16000)
        >>> tracks = check_audio(folder, progress=False)
        >>> tag_tracks(MusiCNN(["piano", "drums"]).eval(), tracks, window_seconds=1.0, progress=False).shape
        (1, 2)
    """
    tagger = model if isinstance(model, Tagger) else Tagger(model)
    tracks = as_track_table(tracks)
    if cache is not None:
        tagger.identity = hash_model(tagger.model)
    found = np.full((len(tracks), len(tagger.classes)), np.nan, dtype=np.float32)
    with progress_bar(total=len(tracks), desc="tagging", unit="track", disable=not progress) as bar:
        for rows in np.split(np.arange(len(tracks)), range(TRACKS_AT_ONCE, len(tracks), TRACKS_AT_ONCE)):
            try:
                found[rows] = embed_tracks(
                    tagger, tracks.select(rows), window_seconds,
                    batch_size=batch_size, max_unusable=1.0, cache=cache, progress=False,
                )  # fmt: skip
            except NoTrackDecoded as error:
                logger.warning("%s", error)
            failed = int(np.isnan(found[: rows[-1] + 1, 0]).sum())
            if failed > max_unusable * len(tracks) or failed == len(tracks):
                raise InputError(f"tracks: expected at most {max_unusable:.0%} unusable files, got {failed} or more")
            bar.update(len(rows))
    return found


def _check_classes(model: Any) -> tuple[str, ...]:
    classes = model.tags if isinstance(model, MusiCNN) else getattr(model, "classes", None)
    if classes is None:
        raise InputError(
            f"model: expected a model with probabilities of classes, which has a list of names `classes`, got "
            f"{type(model).__name__} without one"
        )
    names = tuple(classes) if isinstance(classes, Sequence) and not isinstance(classes, str) else ()
    if not names or not all(isinstance(name, str) and name.strip() for name in names) or len(set(names)) < len(names):
        raise InputError(f"model: expected different names in its attribute classes, got {classes!r:.200}")
    return names
