"""The head between the representation and the loss, and the two together."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ssc_toolkit.encoders.base import Encoder


class Projector(nn.Sequential):
    """Two linear layers without bias, ReLU between them: 512 to 512 to 128 in the paper.

    Args:
        input_dim: width of the representation.
        hidden_dim: width between the layers; `input_dim` if None.
        output_dim: width that the loss sees.

    Examples:
        >>> import torch
        >>> Projector(512)(torch.randn(4, 2, 512)).shape
        torch.Size([4, 2, 128])
    """

    def __init__(self, input_dim: int, hidden_dim: int | None = None, output_dim: int = 128) -> None:
        hidden_dim = input_dim if hidden_dim is None else hidden_dim
        super().__init__(
            nn.Linear(input_dim, hidden_dim, bias=False), nn.ReLU(), nn.Linear(hidden_dim, output_dim, bias=False)
        )


class ModelOutput(NamedTuple):
    """What a contrastive model returns.

    Attributes:
        representation: output of the encoder, what downstream tasks use, (..., embedding_dim).
        projection: output of the projector, what the loss sees, (..., output_dim).
    """

    representation: Tensor
    projection: Tensor


class ContrastiveModel(nn.Module):
    """An encoder and its projector.

    Args:
        encoder: any module from waveforms to embeddings.
        projector: `Projector(encoder.embedding_dim)` if None.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.encoders import MelCNN
        >>> model = ContrastiveModel(MelCNN())
        >>> output = model(torch.randn(4, 2, 1, 48000))                # (items, views, channels, samples)
        >>> output.representation.shape, output.projection.shape
        (torch.Size([4, 2, 256]), torch.Size([4, 2, 128]))
    """

    def __init__(self, encoder: Encoder, projector: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = Projector(encoder.embedding_dim) if projector is None else projector

    def forward(self, waveforms: Tensor) -> ModelOutput:
        """Embed waveforms; shapes and errors as for the encoder."""
        representation = self.encoder(waveforms)
        return ModelOutput(representation, self.projector(representation))
