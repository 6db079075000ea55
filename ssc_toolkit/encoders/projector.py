"""The head between the representation and the loss, and the two together."""

from __future__ import annotations

import itertools
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from ssc_toolkit.checks import check_whole

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
"""Normalisations by name."""


class Projector(nn.Sequential):
    """Linear layers with ReLU between them: 512 to 512 to 128 without bias in SimCLR, CLMR and SemiSupCon.

    Args:
        input_dim: width of the representation.
        hidden_dim: width between the layers; `input_dim` if None.
        output_dim: width that the loss sees.
        depth: number of linear layers; 1 is a linear map without ReLU.
        bias: whether the linear layers add one.
        norm: "batch" or "layer" for a normalisation after each linear layer but the last, before its ReLU.

    Shape:
        - input: (..., input_dim); batch normalisation takes all leading dimensions as one batch
        - output: (..., output_dim)

    Raises:
        ValueError: for a width or depth that is no positive integer, or another normalisation.

    References:
        Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020.

    Examples:
        >>> import torch
        >>> Projector(512)(torch.randn(4, 2, 512)).shape
        torch.Size([4, 2, 128])
        >>> Projector(512, 2048, 256, depth=3, norm="batch")(torch.randn(4, 2, 512)).shape
        torch.Size([4, 2, 256])
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int | None = None,
        output_dim: int = 128,
        *,
        depth: int = 2,
        bias: bool = False,
        norm: Literal["batch", "layer"] | None = None,
    ) -> None:
        input_dim, output_dim = check_whole("input_dim", input_dim), check_whole("output_dim", output_dim)
        depth = check_whole("depth", depth)
        hidden_dim = input_dim if hidden_dim is None else check_whole("hidden_dim", hidden_dim)
        if norm not in (None, *NORMS):
            raise ValueError(f"norm: expected None, {' or '.join(map(repr, NORMS))}, got {norm!r}")
        widths = [input_dim, *[hidden_dim] * (depth - 1)]
        layers: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise(widths):
            layers.append(nn.Linear(width_in, width_out, bias=bias))
            if norm is not None:
                layers.append(NORMS[norm](width_out))
            layers.append(nn.ReLU())
        super().__init__(*layers, nn.Linear(widths[-1], output_dim, bias=bias))
        self.input_dim = input_dim
        self.output_dim = output_dim

    def forward(self, representation: Tensor) -> Tensor:
        """Project representations."""
        rows = representation.reshape(-1, representation.shape[-1])
        return super().forward(rows).view(*representation.shape[:-1], self.output_dim)


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
        projector: any module from embeddings to projections; `Projector(encoder.embedding_dim)` if None, for
            encoders that have an `embedding_dim`.

    Raises:
        TypeError: if one of them is no module.
        ValueError: for a `Projector` of another width than the encoder's, or none to an encoder without
            `embedding_dim`.

    Examples:
        >>> import torch
        >>> from ssc_toolkit.encoders import MelCNN
        >>> model = ContrastiveModel(MelCNN())
        >>> output = model(torch.randn(4, 2, 1, 48000))                # (items, views, channels, samples)
        >>> output.representation.shape, output.projection.shape
        (torch.Size([4, 2, 256]), torch.Size([4, 2, 128]))
    """

    def __init__(self, encoder: nn.Module, projector: nn.Module | None = None) -> None:
        super().__init__()
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"encoder: expected a module, as MelCNN() is, got {encoder!r}")
        width: int | None = getattr(encoder, "embedding_dim", None)
        if projector is None:
            if width is None:
                raise ValueError(
                    f"projector: expected one, for {type(encoder).__name__} has no embedding_dim; "
                    "EncoderAdapter gives it one"
                )
            projector = Projector(width)
        if not isinstance(projector, nn.Module):
            raise TypeError(f"projector: expected a module or None, got {projector!r}")
        if isinstance(projector, Projector) and width not in (None, projector.input_dim):
            raise ValueError(
                f"projector: expected an input_dim of {width}, as the encoder gives, got {projector.input_dim}"
            )
        self.encoder: Any = encoder
        self.projector = projector

    def forward(self, waveforms: Tensor) -> ModelOutput:
        """Embed waveforms; shapes and errors as for the encoder."""
        representation = self.encoder(waveforms)
        return ModelOutput(representation, self.projector(representation))
