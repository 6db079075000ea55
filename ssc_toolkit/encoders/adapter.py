"""Adapter that turns any module with an output of fixed width into an encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from ssc_toolkit.checks import as_integer
from ssc_toolkit.encoders.base import Encoder
from ssc_toolkit.encoders.log_mel import LogMel


class EncoderAdapter(Encoder):
    """Encoder that wraps a module of another library, which takes a waveform or a mel spectrogram.

    The framewise features are selected from the output of the module by its type and shape:

    - (N, dim): the output is a single frame.
    - (N, frames, dim): the output contains one feature vector per frame.
    - (N, dim, bands, frames), the feature map of an image backbone: the output is averaged over the bands.
    - a tuple: its first element is used.
    - a list with one output per layer: the output with index `layer` is used.
    - a dictionary or data class (a ModelOutput of Hugging Face): its `last_hidden_state` is used, or its
      `hidden_states[layer]` if `layer` is not -1. Index 0 is the input of the first layer.

    The embedding is the mean over the frames. If the module returns a list or `hidden_states`, `layer_names` are
    "layer_0", "layer_1" and so on, in the order of the list.

    Outputs in some other layouts have the same number of axes and would be misinterpreted: (N, dim, frames), (N, bands,
    frames, dim), and the tokens of a vision transformer, whose class token would count as a frame. For such an output,
    wrap the module in a module that returns one of the layouts above. Pass `embedding_dim`, so that another width
    raises an error.

    Args:
        module: module that takes (N, samples), or (N, image_channels, bands, frames) if `log_mel` is given.
        sample_rate: sample rate in hertz of the waveforms that the module expects.
        log_mel: front end that computes the input of an image backbone, with the same sample rate. None if the module
            takes waveforms.
        image_channels: number of channels of the input of an image backbone, 1 or 3. All channels are equal.
        method: name of the method of `module` that computes the output.
        layer: index into a list of layers, or into `hidden_states`; -1 for the last layer.
        min_samples: minimum length of a waveform in samples; one second if None.
        embedding_dim: expected width of the output, dim. If None, it is measured on `min_samples` samples of silence.

    Raises:
        ValueError: if `image_channels` is not 1 or 3, or more than 1 without `log_mel`; if `log_mel` has a different
            sample rate; if the module has no such method or layer, or fails on silence; or if the width is not
            `embedding_dim`.
        TypeError: if `module` or `log_mel` has another type, or the output of the module is not in the list above.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples)
        - output: (N, embedding_dim) or (items, views, embedding_dim); with `frames=True`
          (..., frames, embedding_dim)

    Examples:
        >>> backbone = nn.Sequential(nn.Conv2d(3, 24, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> encoder = EncoderAdapter(backbone, sample_rate=16000, log_mel=LogMel(16000), image_channels=3)
        >>> encoder.embedding_dim, encoder(torch.randn(4, 2, 1, 48000)).shape
        (24, torch.Size([4, 2, 24]))

        To use the fourth layer of a model of a torchaudio bundle, write
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
        min_samples: int | None = None,
        embedding_dim: int | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise TypeError(f"module: expected an nn.Module, got {module!r}")
        if log_mel is not None and not isinstance(log_mel, LogMel):
            raise TypeError(f"log_mel: expected a LogMel or None, got {log_mel!r}")
        if not callable(getattr(module, method, None)):
            raise ValueError(f"method: expected a method of {type(module).__name__}, got {method!r}")
        if image_channels not in (1, 3):
            raise ValueError(f"image_channels: expected 1 or 3, got {image_channels}")
        if image_channels != 1 and log_mel is None:
            raise ValueError(f"image_channels: expected 1 without log_mel, got {image_channels}")
        super().__init__(
            embedding_dim=1 if embedding_dim is None else embedding_dim,  # replaced by the width of the output
            sample_rate=sample_rate,
            min_samples=sample_rate if min_samples is None else min_samples,
        )
        if log_mel is not None and log_mel.sample_rate != self.sample_rate:
            raise ValueError(f"log_mel: expected a sample rate of {self.sample_rate} Hz, got {log_mel.sample_rate} Hz")
        self.module = module
        self.log_mel = log_mel
        self.image_channels = image_channels
        self.method = method
        self.layer = as_integer("layer", layer)
        width = self._probe(lambda output: self._framewise(self._chosen(output)).shape[1])
        if embedding_dim is not None:
            self._check_width(width)
        self.embedding_dim = width

    def encode_frames(self, signals: Tensor) -> Tensor:
        features = self._framewise(self._chosen(self._call(self._input(signals))))
        self._check_width(features.shape[1])
        return features

    @cached_property
    def _layers(self) -> int:
        """Number of layers in the output of the module; 0 if it returns the output of a single layer."""
        try:
            return self._probe(lambda output: len(_list_layers(output) or ()), every=True)
        except ValueError:  # a wrapper has the configuration of a Hugging Face model, but not its arguments
            return 0

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers in the output of the module: "layer_0", "layer_1" and so on, or "last" for a single one.

        For a model of Hugging Face, "layer_0" is the input of the first layer.
        """
        return tuple(f"layer_{number}" for number in range(self._layers)) or super().layer_names

    @property
    def output_layer(self) -> str:
        """Name of the layer that is the output of the adapter, chosen by the argument `layer`."""
        return self.layer_names[self.layer]

    def encode_layers(
        self, signals: Tensor, names: Sequence[str], function: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        output = self._call(self._input(signals), every=self._layers > 0)
        layers, found = _list_layers(output) or [], {}
        for name in names:
            is_output = name == self.output_layer
            features = self._chosen(output) if is_output else layers[self.layer_names.index(name)]
            found[name] = function(self._framewise(features))
        return found

    def gradient_checkpointing_(self, enabled: bool = True) -> Self:
        """Do nothing if `enabled` is False. An adapter does not support gradient checkpointing.

        Raises:
            ValueError: if `enabled` is True, because the layers of the wrapped module are not known. Many modules have
                their own option for gradient checkpointing.
        """
        if enabled:
            raise ValueError(
                f"enabled: expected False, got {enabled}; use the checkpointing option of {type(self.module).__name__}"
            )
        return self

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Raise an error, because an adapter cannot be saved as a folder.

        Raises:
            ValueError: always, because a folder cannot describe how to construct the wrapped module. Save the
                `state_dict` of the module instead.
        """
        raise ValueError(
            f"encoder: an adapter of {type(self.module).__name__} cannot be saved as a folder; "
            "save its state_dict() and construct the adapter again to load it"
        )

    def _check_width(self, width: int) -> None:
        if width != self.embedding_dim:
            raise ValueError(f"embedding_dim: expected {self.embedding_dim}, got {width} from the module")

    def _input(self, signals: Tensor) -> Tensor:
        values = signals
        if self.log_mel is not None:
            values = self.log_mel(signals)[:, None].expand(-1, self.image_channels, -1, -1)
        weights = (parameter for parameter in self.module.parameters() if parameter.is_floating_point())
        return values.to(next(weights, values).dtype)

    def _call(self, values: Tensor, every: bool = False) -> Any:
        """Call the module. If `every` is True, a model of Hugging Face returns the output of every layer."""
        function = self.module if self.method == "forward" else getattr(self.module, self.method)
        settings = getattr(self.module, "config", None)
        if (every or self.layer != -1) and hasattr(settings, "output_hidden_states"):  # Hugging Face model
            return function(values, output_hidden_states=True)
        return function(values)

    def _framewise(self, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.dim() not in (2, 3, 4):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(
                "module: expected the output (N, dim), (N, frames, dim) or (N, dim, bands, frames), "
                f"a tuple or list of these, or a dictionary with last_hidden_state, got {got}"
            )
        if output.dim() == 2:
            return output[..., None]
        return output.transpose(1, 2) if output.dim() == 3 else output.mean(dim=2)

    def _chosen(self, output: Any) -> Any:
        """Return the output of the layer with the index `layer`."""
        layers = _list_layers(output)
        if self.layer == -1:
            last = None if isinstance(output, Tensor | tuple | list) else _entry(output, "last_hidden_state")
            if last is not None:
                return last
            return layers[-1] if layers else output[0] if isinstance(output, tuple) else output
        if not layers:
            raise ValueError(
                f"layer: expected -1, because {type(self.module).__name__} returns the output of a single layer "
                f"(neither a list of layers nor hidden_states), got {self.layer}"
            )
        if not -len(layers) <= self.layer < len(layers):
            raise ValueError(f"layer: expected one of {len(layers)} layers, 0 for the first, got {self.layer}")
        return layers[self.layer]

    @torch.no_grad()
    def _probe(self, function: Callable[[Any], int], every: bool = False) -> int:
        """Return a number that a function computes from the output of the module for silence."""
        modes = {part: part.training for part in self.modules()}
        parameter = next(self.module.parameters(), torch.zeros(()))
        silence = torch.zeros(1, self.min_samples, device=parameter.device)
        self.eval()
        try:
            return function(self._probed(silence, every))
        finally:
            for part, mode in modes.items():
                part.training = mode

    def _probed(self, silence: Tensor, every: bool) -> Any:
        values = self._input(silence)
        try:
            return self._call(values, every)
        except Exception as error:  # the module may raise any exception
            reason = " ".join(str(error).split())
            raise ValueError(
                f"module: {type(self.module).__name__}.{self.method} fails on silence of shape {tuple(values.shape)}, "
                f"which depends on log_mel, image_channels and min_samples: {reason}"
            ) from error


def _list_layers(output: Any) -> list[Any] | None:
    """Return the outputs of all layers: a list, the list in a tuple, or `hidden_states`. None if there are none."""
    if isinstance(output, tuple) and not hasattr(output, "hidden_states"):
        output = output[0]
    if isinstance(output, Tensor):
        return None
    if isinstance(output, list):
        return output
    states = _entry(output, "hidden_states")
    return None if states is None else list(states)


def _entry(output: Any, *names: str) -> Any:
    """Return the first value that is not None of the entries `names` of a dictionary, or attributes of an object."""
    found = (output.get(name) if isinstance(output, Mapping) else getattr(output, name, None) for name in names)
    return next((value for value in found if value is not None), None)
