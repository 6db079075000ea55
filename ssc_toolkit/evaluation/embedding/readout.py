"""Readouts of the models of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ssc_toolkit.encoders import Encoder, Readout
from ssc_toolkit.encoders.readout import DEFAULT
from ssc_toolkit.errors import InputError

SINGLE = "embedding"
"""Name of the only layer of a model that gives no frames."""


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
    layers = layers or None
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
        InputError: if the pooling is "mean_std", and each layer has only one frame in a window.
    """
    if readout is None or readout.frame_pooling != "mean_std" or window < model.min_samples:
        return
    if all(frames.shape[1] == 1 for frames in _silence_frames(model, readout, window).values()):
        raise InputError(
            f"frame_pooling: expected mean or max, got mean_std; a window of {window / model.sample_rate:.2f} s has a "
            f"single frame in {type(model).__name__}, whose deviation is 0; choose longer windows or earlier layers"
        )


def count_widths(model: Any, readout: Readout | None, dim: int) -> dict[str, int]:
    """Return the number of columns of each layer in the embeddings of a model.

    Args:
        model: the model.
        readout: its readout.
        dim: number of columns of the embeddings.
    """
    if readout is None:
        return {SINGLE: dim}
    factor = 2 if readout.frame_pooling == "mean_std" else 1
    found = _silence_frames(model, readout, model.min_samples)
    widths = {name: factor * frames.shape[2] for name, frames in found.items()}
    return widths if sum(widths.values()) == dim else {SINGLE: dim}


def apply_readout(model: Any, waveforms: Tensor, readout: Readout | None) -> Any:
    """Return the embeddings of waveforms by a readout. None calls the model itself."""
    if readout is None or readout == Readout():
        return model(waveforms)
    return model.embed_waveforms(waveforms, readout.frame_pooling, readout.layers)


def describe_readouts(readouts: Mapping[str, Readout | None]) -> dict[str, Any]:
    """Return the readouts of models as plain data for provenance. Models without a readout are left out."""
    return {name: readout.to_config() for name, readout in readouts.items() if readout is not None}


def _silence_frames(model: Encoder, readout: Readout, samples: int) -> dict[str, Tensor]:
    weight = next(model.parameters(), torch.zeros(()))
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        with torch.inference_mode():
            return model.layer_frames(torch.zeros(1, samples, device=weight.device), readout.layers)
    finally:
        for part, mode in modes.items():
            part.training = mode
