"""What every encoder promises."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

from ssc_toolkit.encoders.checkpointing import checkpointed
from ssc_toolkit.encoders.fusion import fuse_layers

CLASS_KEY = "encoder_class"
"""Key of the saved configuration that names the encoder's class."""

_CPU_SLICE = 8  # clips at once in a fused encoder, so that activations stay in cache


MODEL_CARD = """---
{{ card_data }}
---

An audio encoder of ssc_toolkit. Load it with

    from ssc_toolkit.encoders import load_encoder
    encoder = load_encoder("path/to/this/folder")
"""


class Encoder(nn.Module, PyTorchModelHubMixin, ABC, library_name="ssc_toolkit", model_card_template=MODEL_CARD):
    """Waveforms in, one embedding each out, or one for each frame.

    A subclass defines `encode_frames`; its constructor passes the numbers below. It is saved and loaded in
    the model-hub format, `save_pretrained(folder)` and `from_pretrained(folder)`: a JSON file with the
    arguments of its constructor and a safetensors file; `load_encoder` finds the class by itself.

    Args:
        embedding_dim: width of the embedding.
        sample_rate: hertz of the waveforms it expects.
        minimum_samples: shortest waveform that gives an embedding.
        receptive_field_samples: how many samples one frame depends on, zero padding included; None if a
            frame sees the whole input, or if it is not known.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples); the
          channels are averaged
        - output: (N, embedding_dim) or (items, views, embedding_dim); with `frames=True`
          (..., frames, embedding_dim)
    """

    def __init__(
        self,
        *,
        embedding_dim: int,
        sample_rate: int,
        minimum_samples: int,
        receptive_field_samples: int | None = None,
    ) -> None:
        super().__init__()
        if not sample_rate > 0:
            raise ValueError(f"sample_rate: expected a positive number of hertz, got {sample_rate}")
        self.embedding_dim = embedding_dim
        self.sample_rate = sample_rate
        self.minimum_samples = minimum_samples
        self.receptive_field_samples = receptive_field_samples
        self.fused = False
        self.gradient_checkpointing = False

    @abstractmethod
    def encode_frames(self, signals: Tensor) -> Tensor:
        """Framewise features of mono signals, (N, samples) to (N, embedding_dim, frames)."""

    def pool(self, features: Tensor) -> Tensor:
        """Embeddings of framewise features, (N, embedding_dim, frames) to (N, embedding_dim): their mean."""
        return features.mean(dim=-1)

    def forward(self, waveforms: Tensor, frames: bool = False) -> Tensor:
        """Embed waveforms.

        Args:
            waveforms: floating point, -1 to 1.
            frames: give the framewise features, not their pooled embedding.

        Raises:
            ValueError: for another shape, or fewer samples than `minimum_samples`.
            TypeError: if the waveforms are not floating point.
        """
        self._check(waveforms)
        mono = waveforms if waveforms.dim() == 2 else waveforms.mean(dim=-2)
        features = self._features(mono.reshape(-1, mono.shape[-1]))
        if frames:
            return features.transpose(1, 2).unflatten(0, mono.shape[:-1])
        return self.pool(features).unflatten(0, mono.shape[:-1])

    def fuse(self) -> Self:
        """A copy for inference: batch norms folded into convolutions, layouts and slices that suit the processor.

        Its embeddings equal those of this encoder in eval mode within rounding. It stays in eval mode, its
        parameters ask for no gradients, and it cannot be saved.
        """
        fused = copy.deepcopy(self).eval().requires_grad_(False)
        fuse_layers(fused)
        fused.fused, fused.gradient_checkpointing = True, False
        return fused

    def gradient_checkpointing_(self, enabled: bool = True) -> Self:
        """Keep only the input of each stage for the backward pass, which computes the rest once more.

        Output, gradients and running statistics are those without it; a step takes about a third longer.
        """
        self.gradient_checkpointing = enabled
        return self

    def stage(self, layers: nn.Module, *inputs: Tensor) -> Tensor:
        """Apply layers whose inside need not be kept for the backward pass; `encode_frames` calls it."""
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpointed(layers, *inputs)
        return layers(*inputs)

    def train(self, mode: bool = True) -> Self:
        """Set training mode; a fused encoder stays in eval mode."""
        return super().train(mode and not self.fused)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write `config.json` and `model.safetensors` to a folder; see huggingface_hub for the options.

        Raises:
            ValueError: for a fused encoder, whose layers are not those of its class.
        """
        if self.fused:
            raise ValueError("encoder: a fused encoder cannot be saved; save the encoder that it was made from")
        arguments: Any = self._hub_mixin_config or {}
        config = {**arguments, CLASS_KEY: type(self).__name__}
        return super().save_pretrained(save_directory, config=config, **kwargs)

    def _features(self, signals: Tensor) -> Tensor:
        if not self.fused or signals.device.type != "cpu" or torch.compiler.is_compiling():
            return self.encode_frames(signals)
        return torch.cat([self.encode_frames(part) for part in signals.split(_CPU_SLICE)])

    def _check(self, waveforms: Tensor) -> None:
        if waveforms.dim() not in (2, 3, 4):
            raise ValueError(
                "waveforms: expected (N, samples), (N, channels, samples) or (items, views, channels, samples), "
                f"got {tuple(waveforms.shape)}"
            )
        if not waveforms.is_floating_point():
            raise TypeError(f"waveforms: expected floating point, -1 to 1, got {waveforms.dtype}")
        samples = waveforms.shape[-1]
        if samples < self.minimum_samples:
            raise ValueError(
                f"waveforms: {type(self).__name__} needs at least {self.minimum_samples} samples "
                f"({self.minimum_samples / self.sample_rate:.2f} s at {self.sample_rate} Hz), got {samples}"
            )
