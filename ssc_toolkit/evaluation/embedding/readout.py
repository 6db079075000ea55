"""Readouts of the models of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ssc_toolkit.encoders import Encoder, Readout
from ssc_toolkit.encoders.readout import DEFAULT
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.eval_mode import eval_mode

WITH_DEVIATION = ("mean_std", "unit_mean_std", "scaled_mean_std")
"""Poolings that contain the standard deviation over the frames."""


def choose_readout(
    model: Any, frame_pooling: str = DEFAULT, layers: str | Sequence[str] | None = None
) -> Readout | None:
    """Return the readout of a model. None if the model is a function, or an encoder with a fixed readout.

    Args:
        model: an encoder or another model, as for `embed_tracks`.
        frame_pooling: as for `embed_tracks`.
        layers: as for `embed_tracks`.

    Raises:
        InputError: if the pooling is unknown, if the encoder has no layer with a given name, or if a readout is given
            for a model that is not an `Encoder`.
    """
    given = Readout(frame_pooling) if layers is None else Readout(frame_pooling, layers)
    if isinstance(model, Encoder):
        return None if model.fixed_readout else model.choose_readout(frame_pooling, layers)
    if layers is not None or given != Readout():
        name, value = ("layers", given.layers) if layers is not None else ("frame_pooling", frame_pooling)
        raise InputError(
            f"{name}: expected no value, because {type(model).__name__} is not an Encoder and gives no frames, got "
            f"{value!r}; EncoderAdapter converts a module to an Encoder"
        )
    return None


def check_frames(model: Any, readout: Readout | None, window: int) -> None:
    """Check that the deviation over the frames is not always 0.

    Args:
        model: the model.
        readout: its readout.
        window: length of a window in samples.

    Raises:
        InputError: if the pooling contains the deviation, and each layer has only one frame in a window.
    """
    if readout is None or readout.frame_pooling not in WITH_DEVIATION or window < model.min_samples:
        return
    with eval_mode(model):
        found = model.layer_frames(_silence(model, window), readout.layers)
    if all(frames.shape[1] == 1 for frames in found.values()):
        raise InputError(
            f"frame_pooling: expected mean or max, got {readout.frame_pooling}; a window of "
            f"{window / model.sample_rate:.2f} s has a single frame in {type(model).__name__}, whose deviation is 0; "
            "choose longer windows or earlier layers"
        )


def layer_widths(
    model: Encoder, frame_pooling: str = DEFAULT, layers: str | Sequence[str] | None = None
) -> dict[str, int]:
    """Return the number of columns of each layer in the embeddings of an encoder, in their order.

    Args:
        model: the encoder.
        frame_pooling: as for `embed_tracks`.
        layers: as for `embed_tracks`.

    Raises:
        InputError: as for `embed_tracks`, or if the model is not an `Encoder` that gives frames.

    Examples:
        >>> from ssc_toolkit.encoders import MelCNN
        >>> layer_widths(MelCNN(), "mean_std", ["log_mel", "last"])
        {'log_mel': 192, 'temporal.5': 512}
    """
    readout = choose_readout(model, frame_pooling, layers)
    if readout is None:
        raise InputError(f"model: expected an Encoder that gives frames, got {type(model).__name__}")
    silence = _silence(model, model.min_samples)
    with eval_mode(model):
        return {
            name: model.embed_waveforms(silence, readout.frame_pooling, [name]).shape[1]
            for name in model.select_layers(readout.layers)
        }


def apply_readout(model: Any, waveforms: Tensor, readout: Readout | None) -> Any:
    """Return the embeddings of waveforms by a readout. None calls the model itself."""
    if readout is None or readout == Readout():
        return model(waveforms)
    return model.embed_waveforms(waveforms, readout.frame_pooling, readout.layers)


def _silence(model: Encoder, samples: int) -> Tensor:
    weight = next(model.parameters(), torch.zeros(()))
    return torch.zeros(1, samples, device=weight.device)
