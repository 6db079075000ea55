"""Framewise features of the layers of an encoder, and embeddings by a readout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ssc_toolkit.encoders.readout import DEFAULT, FRAME_POOLINGS, LAST, Readout, capture_outputs
from ssc_toolkit.errors import InputError
from ssc_toolkit.tracing import is_traced

CPU_SLICE = 8
"""Number of clips that a fused encoder embeds at once, so that activations fit in the cache."""

_READ_SLICE = 32  # number of clips whose layers are read at once outside of training, to limit the memory


class LayeredEncoder(nn.Module, ABC):
    """Part of `Encoder` that reads the frames of layers, and computes embeddings from them.

    Attributes:
        sample_rate: as for `Encoder`.
        min_samples: as for `Encoder`.
        fused: whether the encoder is a copy that `fuse` made.
        gradient_checkpointing: whether gradient checkpointing is enabled.
    """

    sample_rate: int
    min_samples: int
    fused: bool
    gradient_checkpointing: bool

    fixed_readout: ClassVar[bool] = False
    """Whether `frame_pooling` and `layers` of an evaluation do not apply, because the encoder itself is a readout."""

    _readout: Readout = Readout()

    @abstractmethod
    def encode_frames(self, signals: Tensor) -> Tensor:
        """Compute framewise features of mono signals (N, samples).

        Returns:
            (N, embedding_dim, frames) features.

        The signals have the dtype of the waveforms that were passed to `forward`. A subclass casts them to the dtype of
        its first layer.
        """

    def pool_frames(self, features: Tensor) -> Tensor:
        """Compute embeddings (N, embedding_dim) as the mean of framewise features (N, embedding_dim, frames)."""
        return features.mean(dim=-1)

    @property
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers whose frames can be read, from the input to the output.

        A subclass lists paths of submodules, as for `get_submodule`, with outputs (N, width, frames) or
        (N, width, bands, frames). The last one is the output of `encode_frames`. By default, only this output can be
        read, by the name "last".
        """
        return (LAST,)

    @property
    def output_layer(self) -> str:
        """Name of the layer that is the output of `encode_frames`."""
        return self.layer_names[-1]

    @property
    def readout(self) -> Readout:
        """Default readout of `embed_waveforms` and of the evaluation. `save_pretrained` saves it."""
        return self._readout

    def set_readout(self, frame_pooling: str = DEFAULT, layers: str | Sequence[str] = LAST) -> Self:
        """Set the default readout of `embed_waveforms` and of the evaluation. `forward` does not change.

        Args:
            frame_pooling: as for `Readout`.
            layers: as for `Readout`.

        Raises:
            InputError: as for `Readout`, or if the encoder has no layer with a given name.
        """
        readout = Readout(frame_pooling, layers)
        self.select_layers(readout.layers)
        self._readout = readout
        return self

    def choose_readout(self, frame_pooling: str = DEFAULT, layers: str | Sequence[str] | None = None) -> Readout:
        """Return a readout of this encoder, after checking the names of the layers.

        Args:
            frame_pooling: as for `Readout`. "default" is the pooling of `readout`.
            layers: as for `Readout`. None is for the layers of `readout`.

        Raises:
            InputError: as for `set_readout`.
        """
        own = self.readout
        chosen = Readout(
            own.frame_pooling if frame_pooling == DEFAULT else frame_pooling, own.layers if layers is None else layers
        )
        if chosen.layers != LAST:
            self.select_layers(chosen.layers)
        return chosen

    def select_layers(self, layers: str | Sequence[str]) -> list[str]:
        """Return the names of layers, for "last", "all" or a list of names.

        Raises:
            InputError: as for `set_readout`.
        """
        return Readout(layers=layers).select(self.layer_names, self.output_layer, type(self).__name__)

    def layer_frames(self, waveforms: Tensor, layers: str | Sequence[str] = "all") -> dict[str, Tensor]:
        """Compute the frames of layers.

        Feature maps (N, width, bands, frames) are averaged over the bands.

        Args:
            waveforms: as for `forward`.
            layers: "all", "last" or a list of names from `layer_names`.

        Returns:
            Frames (..., frames, width) by name of the layer. Width and number of frames differ between layers.

        Raises:
            InputError: if the encoder has no layer with a given name.
            ValueError: as for `forward`.
        """
        signals, shape = self._signals(waveforms)
        found = self._read(signals, self.select_layers(layers), lambda frames: frames)
        return {name: frames.transpose(1, 2).unflatten(0, shape) for name, frames in found.items()}

    def embed_waveforms(
        self, waveforms: Tensor, frame_pooling: str = DEFAULT, layers: str | Sequence[str] | None = None
    ) -> Tensor:
        """Compute embeddings by a readout: pool the frames of each layer, and concatenate the results.

        Args:
            waveforms: as for `forward`.
            frame_pooling: name of a pooling, as for `choose_readout`.
            layers: "last", "all", a list of names from `layer_names`, or None, as for `choose_readout`.

        Returns:
            Embeddings (N, dim) or (items, views, dim). With the default readout of a new encoder, they equal the result
            of `forward`.

        Raises:
            InputError: as for `choose_readout`.
            ValueError: as for `forward`.
        """
        readout = self.choose_readout(frame_pooling, layers)
        if readout == Readout():
            return self(waveforms)
        signals, shape = self._signals(waveforms)
        pool = self.pool_frames if readout.frame_pooling == DEFAULT else FRAME_POOLINGS[readout.frame_pooling]
        pooled = self._read(signals, self.select_layers(readout.layers), pool)
        return torch.cat(list(pooled.values()), dim=1).unflatten(0, shape)

    def encode_layers(
        self, signals: Tensor, names: Sequence[str], function: Callable[[Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """Apply a function to the frames (N, width, frames) of layers, and return the results by name.

        Gradient checkpointing does not apply, because a checkpointed stage returns only its output.

        Args:
            signals: mono signals (N, samples).
            names: names from `layer_names`.
            function: function of the frames of one layer, such as a pooling.

        Raises:
            InputError: if `encode_frames` does not call one of the layers.
        """
        inner, checkpointing = [name for name in names if name != self.output_layer], self.gradient_checkpointing
        self.gradient_checkpointing = checkpointing and not inner
        try:
            with capture_outputs(self, inner, function) as found:
                output = self.encode_frames(signals)
        finally:
            self.gradient_checkpointing = checkpointing
        if self.output_layer in names:
            found[self.output_layer] = function(output)
        if missing := [name for name in names if name not in found]:
            raise InputError(f"layers: expected layers that {type(self).__name__} calls, got {', '.join(missing)}")
        return {name: found[name] for name in names}

    def _read(self, signals: Tensor, names: Sequence[str], function: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
        """Apply `encode_layers`, outside of training to a few clips at a time."""
        if self.training or torch.is_grad_enabled() or is_traced() or not len(signals):
            return self.encode_layers(signals, names, function)
        size = CPU_SLICE if self.fused and signals.device.type == "cpu" else _READ_SLICE
        parts = [self.encode_layers(part, names, function) for part in signals.split(size)]
        return {name: torch.cat([part[name] for part in parts]) for name in names}

    def _signals(self, waveforms: Tensor) -> tuple[Tensor, torch.Size]:
        """Return mono signals (N, samples), and the shape of the waveforms without channels and samples."""
        self._check(waveforms)
        mono = waveforms if waveforms.dim() == 2 else waveforms.mean(dim=-2)
        return mono.reshape(-1, mono.shape[-1]), mono.shape[:-1]

    def _check(self, waveforms: Tensor) -> None:
        if not isinstance(waveforms, Tensor):
            raise TypeError(f"waveforms: expected a tensor, got {type(waveforms).__name__}")
        if waveforms.dim() not in (2, 3, 4):
            raise ValueError(
                "waveforms: expected (N, samples), (N, channels, samples) or (items, views, channels, samples), "
                f"got {tuple(waveforms.shape)}"
            )
        if not waveforms.is_floating_point():
            raise TypeError(f"waveforms: expected floating point, -1 to 1, got {waveforms.dtype}")
        if waveforms.dim() > 2 and not waveforms.shape[-2]:
            raise ValueError(f"waveforms: expected at least one channel, got {tuple(waveforms.shape)}")
        samples = waveforms.shape[-1]
        if samples < self.min_samples:
            hundredths = -(-100 * self.min_samples // self.sample_rate)  # rounded up, so that this length is sufficient
            raise ValueError(
                f"waveforms: expected at least {self.min_samples} samples for {type(self).__name__} "
                f"({hundredths / 100:.2f} s at {self.sample_rate} Hz), got {samples}"
            )
