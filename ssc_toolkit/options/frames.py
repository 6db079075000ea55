"""Options of the command `ssc-toolkit frames`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction, check_integer, check_positive
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_choices, check_encoder, check_layers
from ssc_toolkit.options.code import CodeOptions
from ssc_toolkit.options.corpus import CORPUS_NOTE
from ssc_toolkit.options.names import DEFAULT_CORPUS
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import missing_hint, user_path


@dataclass(frozen=True, kw_only=True)
class FramesOptions(CodeOptions, TrackSource):
    """Options of `frames`, which scores linear probes on the frames of an encoder by beats or chord roots.

    The command prints a table of test scores with 95 % intervals (bootstrap over groups of tracks) for each layer of
    the encoder and of a random encoder. Beats are scored by the F-measure, and chord roots by the weighted accuracy of
    mir_eval. If the tracks have no `split` column (train, valid, test), they are split at random in the ratio 70/10/20.

    Args:
        encoder: folder of a saved encoder, MTT_musicnn or MSD_musicnn, or module:function that returns an
            encoder, which requires allow_code.
        task: beats or chord_roots.
        annotations: CSV file with the columns `path` and `seconds` for beats, or `path`, `begin_seconds`,
            `end_seconds` and `root` (0 to 11) for chord roots. The annotations of a corpus that `ssc-toolkit corpus`
            rendered are by default derived from its scores.
        layers: layers whose frames are probed one by one: last, all, or a list of names.
        window_seconds: length of a window in seconds. The default is the view length of the encoder's training, which
            is read from the folder above the encoder, or 3 if it is not known.
        out: folder for report.json, report.md and report.html. Reports of earlier commands are replaced; other files
            with these names are an error. By default no report is written.
        max_unusable: maximum fraction of the files that may be unreadable or silent. These files are left out.
        seed: seed of the random encoder, of the bootstrap and of the split.
    """

    encoder: str
    task: Literal["beats", "chord_roots"]
    tracks: str = "scores"
    annotations: str | None = None
    layers: tuple[str, ...] = ("last",)
    window_seconds: float | None = None
    out: str | None = None
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_choices(self)
        check_integer("seed", self.seed, 0)
        check_fraction("max_unusable", self.max_unusable)
        if self.window_seconds is not None:
            check_positive("window_seconds", self.window_seconds, "seconds")
        check_layers(self.layers)
        if not self.layers:
            raise InputError("layers: expected last, all or names of layers, got none")
        super().check()
        check_encoder(self.encoder, allow_code=self.allow_code)
        is_corpus = self.tracks == DEFAULT_CORPUS or (user_path(self.tracks, "tracks").parent / CORPUS_NOTE).is_file()
        if self.annotations is None and not is_corpus:
            raise InputError(f"annotations: expected a CSV file with the {self.task} of {self.tracks}, got none")
        if self.annotations is not None and not user_path(self.annotations, "annotations").is_file():
            raise InputError(f"annotations: there is no file {self.annotations}{missing_hint(self.annotations)}")
