"""Options of the command `ssc-toolkit embed`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_encoder, check_projections
from ssc_toolkit.options.evaluation import EmbeddingOptions
from ssc_toolkit.options.names import EMBEDDING_SUFFIXES
from ssc_toolkit.paths import user_path


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(EmbeddingOptions):
    """Options of `embed`, which writes the embeddings of tracks or windows to a file.

    The file also contains paths, lengths in seconds and metadata.

    Args:
        encoder: folder of a saved encoder, MTT_musicnn or MSD_musicnn, or module:function that returns a
            model, which requires allow_code.
        out: output file with the suffix .npz or .parquet; an existing file is replaced.
        window_pooling: how the embeddings of the windows of a track are combined. "none" writes one embedding for each
            window, with its start in seconds, also for silent windows. The others use at most 64 windows of a track,
            which are spread evenly, without the silent ones.
        projections: use the outputs of the projector, on which the loss of the pretraining was computed, instead of
            those of the encoder. The projector is in the folder of the encoder.
        cache: folder of the cache for embeddings of whole tracks. An embedding is computed again if the model or the
            audio has changed.
        dry_run: only print the estimated time, memory and disk space, and write nothing.
    """

    encoder: str
    out: str
    window_pooling: Literal["mean", "max", "mean_std", "none"] = "mean"
    projections: bool = False
    cache: str | None = None
    dry_run: bool = False

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        out = user_path(self.out, "out")
        if out.is_dir():
            raise InputError(f"out: expected a file name, got the folder {self.out}")
        if out.suffix not in EMBEDDING_SUFFIXES:
            raise InputError(f"out: expected a file name ending in {' or '.join(EMBEDDING_SUFFIXES)}, got {self.out}")
        super().check()
        check_encoder(self.encoder, allow_code=self.allow_code)
        if self.projections:
            check_projections([self.encoder], self.frame_pooling, self.layers)
