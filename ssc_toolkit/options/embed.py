"""Options of the command `ssc-toolkit embed`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices, check_encoder, check_layers, check_window
from ssc_toolkit.options.names import EMBEDDING_SUFFIXES
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import user_path


@dataclass(frozen=True, kw_only=True)
class EmbedOptions(TrackSource):
    """Options of `embed`, which writes the embeddings of tracks or windows to a file.

    The file also contains paths, lengths in seconds and metadata.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        out: output file with the suffix .npz or .parquet; an existing file is replaced.
        window_seconds: length of a window in seconds. The windows do not overlap. The default is the view length of the
            encoder's training, which is read from the folder above the encoder, or 3 if it is not known.
        window_pooling: how the embeddings of the windows of a track are combined. "none" writes one embedding for each
            window, with its start in seconds.
        frame_pooling: how the frames of a window are combined: mean, max or mean_std (mean and standard deviation).
            "default" is the pooling that the encoder was saved with, or that of its architecture.
        layers: layers of the encoder whose frames are used: last, all, or a list of names. Their embeddings are
            concatenated. The default is the layers that the encoder was saved with, or the last.
        cache: folder of the cache for embeddings of whole tracks. An embedding is computed again if the model or the
            audio has changed.
        max_unusable: maximum fraction of the files that may be unreadable or silent. These files are left out.
        dry_run: only print the estimated time, memory and disk space, and write nothing.
    """

    encoder: str
    out: str
    window_seconds: float | None = None
    window_pooling: Literal["mean", "max", "mean_std", "none"] = "mean"
    frame_pooling: Literal["default", "mean", "mean_std", "max"] = "default"
    layers: tuple[str, ...] = ()
    cache: str | None = None
    max_unusable: float = 0.1
    dry_run: bool = False

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        out = user_path(self.out, "out")
        if out.is_dir():
            raise InputError(f"out: expected a file name, got the folder {self.out}")
        if out.suffix not in EMBEDDING_SUFFIXES:
            raise InputError(f"out: expected a file name ending in {' or '.join(EMBEDDING_SUFFIXES)}, got {self.out}")
        check_choices(self)
        check_fraction("max_unusable", self.max_unusable)
        check_window(self.window_seconds)
        check_layers(self.layers)
        super().check()
        check_encoder(self.encoder)
