"""Models whose embeddings are the projections on which the contrastive loss was computed."""

from __future__ import annotations

from torch import Tensor, nn

from ssc_toolkit.encoders import Encoder, ProjectorHeads, load_model
from ssc_toolkit.evaluation.embedding.models import read_view_seconds
from ssc_toolkit.paths import user_path


class ProjectedModel(nn.Module):
    """Model that embeds waveforms by an encoder and the projector of its training.

    Args:
        encoder: encoder with an embedding for each waveform.
        projector: module that maps embeddings (N, embedding_dim) to projections (N, dim).

    Attributes:
        window_seconds: length of a window in seconds, or None if it is not known.

    Shape:
        - input: (N, channels, samples)
        - output: (N, dim)

    Examples:
        >>> import torch
        >>> from ssc_toolkit.encoders import ContrastiveModel, MelCNN
        >>> model = ContrastiveModel(MelCNN()).eval()
        >>> ProjectedModel(model.encoder, model.projector)(torch.randn(2, 1, 16000)).shape
        torch.Size([2, 128])
    """

    def __init__(self, encoder: Encoder, projector: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.sample_rate = encoder.sample_rate
        self.min_samples = encoder.min_samples
        self.window_seconds: float | None = None

    def forward(self, waveforms: Tensor) -> Tensor:
        projections: Tensor = self.projector(self.encoder(waveforms))
        return projections


def open_projected_model(source: str) -> ProjectedModel:
    """Open a saved encoder together with its projector, as a model whose embeddings are projections.

    If there are separate projectors for views and labels, the projections are those of the projector for views.

    Args:
        source: folder that `pretrain`, `export` or `save_model` wrote.

    Raises:
        InputError: as for `load_model`.
    """
    folder = user_path(source, "encoder")
    model = load_model(folder)
    heads = model.projector
    projected = ProjectedModel(model.encoder, heads.views if isinstance(heads, ProjectorHeads) else heads)
    projected.window_seconds = read_view_seconds(folder)
    return projected.eval()
