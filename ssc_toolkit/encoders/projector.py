"""Projector between encoder and loss, and a model that consists of encoder and projector."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssc_toolkit.checks import MAX_PROJECTOR_DEPTH, check_bool, check_integer

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
"""Classes of normalization layers by the value of the argument `norm` of `Projector`."""


class Projector(nn.Sequential):
    """Module between encoder and loss that consists of linear layers with ReLU between them.

    SimCLR, CLMR and SemiSupCon use two layers without bias, with an input of width 512, a hidden width of 512 and an
    output of width 128.

    Args:
        input_dim: width of the representation.
        hidden_dim: width of the hidden layers; `input_dim` if None.
        output_dim: width of the projection.
        depth: number of linear layers, 1 to 100. With 1, the projector is linear.
        bias: whether the linear layers have a bias.
        norm: "batch" or "layer" for batch or layer normalization before each ReLU; None for no normalization.

    Shape:
        - input: (..., input_dim). For batch normalization, all leading dimensions are one batch
        - output: (..., output_dim)

    Raises:
        ValueError: if a width is not a positive integer, the depth is not an integer from 1 to 100, or the
            normalization is unknown.

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
        input_dim, output_dim = check_integer("input_dim", input_dim), check_integer("output_dim", output_dim)
        depth, bias = check_integer("depth", depth, 1, MAX_PROJECTOR_DEPTH), check_bool("bias", bias)
        hidden_dim = input_dim if hidden_dim is None else check_integer("hidden_dim", hidden_dim)
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
        sizes: dict[str, Any] = {"input_dim": input_dim, "hidden_dim": hidden_dim, "output_dim": output_dim}
        self.settings = {**sizes, "depth": depth, "bias": bias, "norm": norm}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Projector:
        """Create an untrained projector from the attribute `settings` of another one, which is plain data.

        Raises:
            TypeError: for an unknown name of a setting.
            ValueError: as for the constructor.
        """
        return Projector(**settings)

    def forward(self, representation: Tensor) -> Tensor:
        """Project representations (..., input_dim) to (..., output_dim)."""
        rows = representation.reshape(-1, representation.shape[-1])
        return super().forward(rows).view(*representation.shape[:-1], self.output_dim)


class DenseProjector(Projector):
    """Projector with a dense layer, batch norm and ReLU before it, as in `ShortChunkCNN_Res` of CLMR.

    Args:
        dense: the dense layer.
        norm: batch norm after the dense layer.
        projector: projector after the ReLU.
    """

    def __init__(self, dense: nn.Linear, norm: nn.BatchNorm1d, projector: Projector) -> None:
        nn.Sequential.__init__(self, dense, norm, nn.ReLU(), *projector)
        self.input_dim = dense.in_features
        self.output_dim = projector.output_dim
        self.settings = {"dense_dim": dense.in_features, **projector.settings}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Projector:
        own = dict(settings)
        dense_dim = check_integer("dense_dim", own.pop("dense_dim"))
        projector = Projector(**own)
        return cls(nn.Linear(dense_dim, projector.input_dim), nn.BatchNorm1d(projector.input_dim), projector)


class ProjectorHeads(nn.Module):
    """Two projectors on the same encoder, one for views and one for labels, as `SeparateHeadsLoss` uses them.

    Args:
        views: projector whose output the loss compares for views of one item.
        labels: projector whose output the loss compares for labels.

    Shape:
        - input: (..., input_dim)
        - output: (..., 2 output_dim), the output of `views` followed by that of `labels`

    Raises:
        ValueError: if the projectors have different widths of input or output.

    Examples:
        >>> import torch
        >>> heads = ProjectorHeads(Projector(256), Projector(256))
        >>> both = heads(torch.randn(4, 2, 256))
        >>> both.shape, heads.select_views(both).shape
        (torch.Size([4, 2, 256]), torch.Size([4, 2, 128]))
    """

    def __init__(self, views: Projector, labels: Projector) -> None:
        super().__init__()
        widths = [(head.input_dim, head.output_dim) for head in (views, labels)]
        if widths[0] != widths[1]:
            raise ValueError(f"labels: expected input and output of widths {widths[0]} like views, got {widths[1]}")
        self.views = views
        self.labels = labels
        self.input_dim = views.input_dim

    def forward(self, representation: Tensor) -> Tensor:
        """Project representations (..., input_dim) to (..., 2 output_dim)."""
        return torch.cat([self.views(representation), self.labels(representation)], dim=-1)

    def select_views(self, projection: Tensor) -> Tensor:
        """Return the part (..., output_dim) of an output (..., 2 output_dim) that the projector `views` computed."""
        return projection[..., : self.views.output_dim]


class ModelOutput(NamedTuple):
    """Output of a contrastive model.

    Attributes:
        representation: (..., embedding_dim), output of the encoder, for downstream tasks.
        projection: (..., output_dim), output of the projector, for the loss.
    """

    representation: Tensor
    projection: Tensor


class ContrastiveModel(nn.Module):
    """Model that consists of an encoder and a projector.

    Args:
        encoder: any module that maps waveforms to embeddings.
        projector: any module that maps embeddings to projections. If None, `Projector(encoder.embedding_dim)`.

    Raises:
        TypeError: if the encoder or the projector is not a module.
        ValueError: if the input width of a `Projector` or `ProjectorHeads` differs from the width of the embedding, or
            if the projector is None and the encoder has no `embedding_dim`.

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
            raise TypeError(f"encoder: expected a module such as MelCNN(), got {encoder!r}")
        width: int | None = getattr(encoder, "embedding_dim", None)
        if projector is None:
            if width is None:
                raise ValueError(
                    f"projector: expected a module, got None, and {type(encoder).__name__} has no embedding_dim; "
                    "pass a projector or wrap the encoder in EncoderAdapter"
                )
            projector = Projector(width)
        if not isinstance(projector, nn.Module):
            raise TypeError(f"projector: expected a module or None, got {projector!r}")
        if isinstance(projector, Projector | ProjectorHeads) and width not in (None, projector.input_dim):
            raise ValueError(
                f"projector: expected an input_dim of {width}, the width of the encoder, got {projector.input_dim}"
            )
        self.encoder: Any = encoder
        self.projector = projector

    def forward(self, waveforms: Tensor) -> ModelOutput:
        """Compute representations and projections of waveforms, with shapes and errors of the encoder."""
        representation = self.encoder(waveforms)
        return ModelOutput(representation, self.projector(representation))
