"""What every encoder promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from torch import Tensor, nn

CLASS_KEY = "encoder_class"
"""Key of the saved configuration that names the encoder's class."""


MODEL_CARD = """---
{{ card_data }}
---

An audio encoder of ssc_toolkit. Load it with

    from ssc_toolkit.encoders import load_encoder
    encoder = load_encoder("path/to/this/folder")
"""


class Encoder(nn.Module, PyTorchModelHubMixin, ABC, library_name="ssc_toolkit", model_card_template=MODEL_CARD):
    """Waveforms in, one embedding each out.

    A subclass defines `encode`; its constructor passes the numbers below. It is saved and loaded in the
    model-hub format, `save_pretrained(folder)` and `from_pretrained(folder)`: a JSON file with the
    arguments of its constructor and a safetensors file; `load_encoder` finds the class by itself.

    Args:
        embedding_dim: width of the embedding.
        sample_rate: hertz of the waveforms it expects.
        minimum_samples: shortest waveform that gives an embedding.

    Shape:
        - input: (N, samples), (N, channels, samples) or (items, views, channels, samples); the
          channels are averaged
        - output: (N, embedding_dim) or (items, views, embedding_dim)
    """

    def __init__(self, *, embedding_dim: int, sample_rate: int, minimum_samples: int) -> None:
        super().__init__()
        if not sample_rate > 0:
            raise ValueError(f"sample_rate: expected a positive number of hertz, got {sample_rate}")
        self.embedding_dim = embedding_dim
        self.sample_rate = sample_rate
        self.minimum_samples = minimum_samples

    @abstractmethod
    def encode(self, signals: Tensor) -> Tensor:
        """Embed mono signals, (N, samples) to (N, embedding_dim)."""

    def forward(self, waveforms: Tensor) -> Tensor:
        """Embed waveforms.

        Raises:
            ValueError: for another shape, or fewer samples than `minimum_samples`.
            TypeError: if the waveforms are not floating point.
        """
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
        if waveforms.dim() == 2:
            return self.encode(waveforms)
        mono = waveforms.mean(dim=-2)
        return self.encode(mono.reshape(-1, samples)).view(*mono.shape[:-1], self.embedding_dim)

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> str | None:
        """Write `config.json` and `model.safetensors` to a folder; see huggingface_hub for the options."""
        arguments: Any = self._hub_mixin_config or {}
        config = {**arguments, CLASS_KEY: type(self).__name__}
        return super().save_pretrained(save_directory, config=config, **kwargs)
