"""Any module with an output of fixed width as an encoder."""

from __future__ import annotations

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
    a tuple the first element counts, of a list of layers the one that `layer` names. Embeddings are the
    mean over the frames.

    Args:
        module: takes (N, samples), or (N, image_channels, bands, frames) if there is a `log_mel`.
        sample_rate: hertz of the waveforms it expects.
        log_mel: front end of an image backbone; None for a module over waveforms.
        image_channels: how often an image backbone gets the spectrogram, 1 or 3.
        method: which method of the module to call.
        layer: which of a list of layers to take, -1 for the last.
        minimum_samples: shortest waveform that gives an embedding; one second if None.
        embedding_dim: width of the output; if None, found by embedding `minimum_samples` of silence.

    Raises:
        ValueError: for another number of image channels, or if the width is not `embedding_dim`.
        TypeError: if the module gives something else.

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
        if image_channels not in (1, 3):
            raise ValueError(f"image_channels: expected 1 or 3, got {image_channels}")
        super().__init__(
            embedding_dim=0 if embedding_dim is None else embedding_dim,
            sample_rate=sample_rate,
            minimum_samples=sample_rate if minimum_samples is None else minimum_samples,
        )
        self.module = module
        self.log_mel = log_mel
        self.image_channels = image_channels
        self.method = method
        self.layer = layer
        if embedding_dim is None:
            self.embedding_dim = self._probe()

    def encode_frames(self, signals: Tensor) -> Tensor:
        features = self._framewise(self._call(self._input(signals)))
        if self.embedding_dim not in (0, features.shape[1]):
            raise ValueError(f"embedding_dim: expected {self.embedding_dim}, the module gives {features.shape[1]}")
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

    def _input(self, signals: Tensor) -> Tensor:
        if self.log_mel is None:
            return signals
        image = self.log_mel(signals)[:, None].expand(-1, self.image_channels, -1, -1)
        parameter = next(self.module.parameters(), image)
        return image.to(parameter.dtype)

    def _call(self, values: Tensor) -> Any:
        return getattr(self.module, self.method)(values) if self.method != "forward" else self.module(values)

    def _framewise(self, output: Any) -> Tensor:
        if isinstance(output, tuple):
            output = output[0]
        if isinstance(output, list):
            output = output[self.layer]
        if not isinstance(output, Tensor) or output.dim() not in (2, 3, 4):
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise TypeError(
                "module: expected it to give (N, dim), (N, frames, dim) or (N, dim, bands, frames), "
                f"or a tuple or list of such, got {got}"
            )
        if output.dim() == 2:
            return output[..., None]
        return output.transpose(1, 2) if output.dim() == 3 else output.mean(dim=2)

    @torch.no_grad()
    def _probe(self) -> int:
        modes = {part: part.training for part in self.modules()}
        parameter = next(self.module.parameters(), torch.zeros(()))
        self.eval()
        silence = torch.zeros(1, self.minimum_samples, dtype=parameter.dtype, device=parameter.device)
        width = self.encode_frames(silence).shape[1]
        for part, mode in modes.items():
            part.training = mode
        return width
