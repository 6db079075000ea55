"""Any module with an output of fixed width as an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.log_mel import LogMel


class EncoderAdapter(Encoder):
    """A module of others as an encoder: over the waveform, or over a mel spectrogram as an image.

    What the module gives is read so: (N, dim) is one frame, the whole input; (N, frames, dim) is framewise
    features; (N, dim, bands, frames), the feature map of an image backbone, is averaged over the bands; of
    a tuple the first element counts, of a list of layers the one that `layer` names, of a dictionary or data class (a
    ModelOutput of Hugging Face) its `last_hidden_state`, or its `hidden_states[layer]` for a `layer` other than -1,
    where 0 is what enters the first layer. Embeddings are the mean over the frames.

    Shapes do not tell other layouts from these: (N, dim, frames), an image of (N, bands, frames, dim), or the
    tokens of a vision transformer, where the class token counts as one frame more. Give `embedding_dim`, which
    is checked, and for those a module that puts the axes in order.

    Args:
        module: takes (N, samples), or (N, image_channels, bands, frames) if there is a `log_mel`.
        sample_rate: hertz of the waveforms it expects.
        log_mel: front end of an image backbone, of the same sample rate; None for a module over waveforms.
        image_channels: how often an image backbone gets the spectrogram, 1 or 3.
        method: which method of the module to call.
        layer: which of a list of layers, or of `hidden_states`, to take, -1 for the last.
        minimum_samples: shortest waveform that gives an embedding; one second if None.
        embedding_dim: width of the output, for a check; found by embedding `minimum_samples` of silence.

    Raises:
        ValueError: for another number of image channels, or more than 1 without `log_mel`; a `log_mel` of
            another rate; a method or layer that the module does not have; a module that fails on silence;
            or if the width is not `embedding_dim`.
        TypeError: if `module` or `log_mel` is of another type, or the module gives something else.

    Shape:
        - output: (N, embedding_dim) or (items, views, embedding_dim); with `frames=True`
          (..., frames, embedding_dim)

    Examples:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 24, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> encoder = EncoderAdapter(backbone, sample_rate=16000, log_mel=LogMel(16000), image_channels=3)
        >>> encoder.embedding_dim, encoder(torch.randn(4, 2, 1, 48000)).shape
        (24, torch.Size([4, 2, 24]))

        A pipeline of torchaudio, by its fourth layer:
        `EncoderAdapter(bundle.get_model(), sample_rate=bundle.sample_rate, method="extract_features", layer=3)`.
    """

    def __init__(
        self,
        module: nn.Module,
        sample_rate: int,
        *,
        log_mel: LogMel | None = None,
        image_channels: int = 1,
        method: str = "forward",
        layer: int = -1,
        minimum_samples: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(f"module: expected an nn.Module, got {module!r}")
        if log_mel is not None and not isinstance(log_mel, LogMel):
            raise TypeError(f"log_mel: expected a LogMel or None, got {log_mel!r}")
        if not callable(getattr(module, method, None)):
            raise ValueError(f"method: {type(module).__name__} has no method {method!r}")
        if image_channels not in (1, 3):
            raise ValueError(f"image_channels: expected 1 or 3, got {image_channels}")
        if image_channels != 1 and log_mel is None:
            raise ValueError(f"image_channels: {image_channels} are for a backbone over a log_mel, and there is none")
        super().__init__(
            embedding_dim=1 if embedding_dim is None else embedding_dim,  # until it is found
            sample_rate=sample_rate,
            minimum_samples=sample_rate if minimum_samples is None else minimum_samples,
        )
        if log_mel is not None and log_mel.sample_rate != self.sample_rate:
            raise ValueError(f"log_mel: it is for {log_mel.sample_rate} Hz, and sample_rate is {self.sample_rate} Hz")
        self.module = module
        self.log_mel = log_mel
        self.image_channels = image_channels
        self.method = method
        self.layer = layer
        width = self._probe()
        if embedding_dim is not None:
            self._check_width(width)
        self.embedding_dim = width

    def encode_frames(self, signals: Tensor) -> Tensor:
        features = self._framewise(self._call(self._input(signals)))
        self._check_width(features.shape[1])
        return features

    def gradient_checkpointing_(self, enabled: bool = True) -> Self:
        """Not for an adapter.

        Raises:
            ValueError: if enabled, for only the module knows its stages; many have such a switch of their own.
        """
        if enabled:
            raise ValueError(f"enabled: the stages of {type(self.module).__name__} are not known; use its own switch")
        return self

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Not for an adapter.

        Raises:
            ValueError: always, for a folder cannot say how to build the module; save its `state_dict`.
        """
        raise ValueError(
            f"encoder: an adapter of {type(self.module).__name__} cannot be saved as a folder that rebuilds it; "
            "save its state_dict() and make the adapter anew"
        )

    def _check_width(self, width: int) -> None:
        if width != self.embedding_dim:
            raise ValueError(f"embedding_dim: expected {self.embedding_dim}, the module gives {width}")

    def _input(self, signals: Tensor) -> Tensor:
        values = signals
        if self.log_mel is not None:
            values = self.log_mel(signals)[:, None].expand(-1, self.image_channels, -1, -1)
        weights = (parameter for parameter in self.module.parameters() if parameter.is_floating_point())
        return values.to(next(weights, values).dtype)

    def _call(self, values: Tensor) -> Any:
        function = self.module if self.method == "forward" else getattr(self.module, self.method)
        settings = getattr(self.module, "config", None)
        if self.layer != -1 and hasattr(settings, "output_hidden_states"):  # a model of Hugging Face
            return function(values, output_hidden_states=True)
        return function(values)

    def _framewise(self, output: Any) -> Tensor:
        output = self._chosen(output)
        if not isinstance(output, Tensor) or output.dim() not in (2, 3, 4):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(
                "module: expected it to give (N, dim), (N, frames, dim) or (N, dim, bands, frames), "
                f"or a tuple or list of such, or a dictionary with last_hidden_state, got {got}"
            )
        if output.dim() == 2:
            return output[..., None]
        return output.transpose(1, 2) if output.dim() == 3 else output.mean(dim=2)

    def _chosen(self, output: Any) -> Any:
        if not isinstance(output, Tensor) and _entry(output, "last_hidden_state", "hidden_states") is not None:
            if self.layer == -1:
                last = _entry(output, "last_hidden_state")
                return _entry(output, "hidden_states")[-1] if last is None else last
            output = list(_entry(output, "hidden_states") or ())
        elif isinstance(output, tuple):
            output = output[0]
        if not isinstance(output, list) and self.layer == -1:
            return output
        if not isinstance(output, list) or not output:
            raise ValueError(
                f"layer: expected -1, because {type(self.module).__name__} gives the output of one layer alone "
                f"(neither a list of layers nor hidden_states), got {self.layer}"
            )
        if not -len(output) <= self.layer < len(output):
            raise ValueError(f"layer: expected one of {len(output)} layers, 0 for the first, got {self.layer}")
        return output[self.layer]

    @torch.no_grad()
    def _probe(self) -> int:
        modes = {part: part.training for part in self.modules()}
        parameter = next(self.module.parameters(), torch.zeros(()))
        silence = torch.zeros(1, self.minimum_samples, device=parameter.device)
        self.eval()
        try:
            return self._framewise(self._probed(silence)).shape[1]
        finally:
            for part, mode in modes.items():
                part.training = mode

    def _probed(self, silence: Tensor) -> Any:
        values = self._input(silence)
        try:
            return self._call(values)
        except Exception as error:  # whatever a module of others raises
            reason = " ".join(str(error).split())
            raise ValueError(
                f"module: {type(self.module).__name__}.{self.method} fails on silence of shape {tuple(values.shape)}, "
                f"which log_mel, image_channels and minimum_samples decide: {reason}"
            ) from error


def _entry(output: Any, *names: str) -> Any:
    """The first of some entries of a dictionary, or attributes of an object, that is there and not None."""
    found = (output.get(name) if isinstance(output, Mapping) else getattr(output, name, None) for name in names)
    return next((value for value in found if value is not None), None)
