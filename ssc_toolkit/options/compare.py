"""Options of the command `ssc-toolkit compare`."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.checks import check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_encoder, check_projections
from ssc_toolkit.options.evaluation import CorruptionOptions, CrossValidationOptions


@dataclass(frozen=True, kw_only=True)
class CompareOptions(CorruptionOptions, CrossValidationOptions):
    """Options of `compare`, which compares models by probes on clean and corrupted audio, by retrieval, and on a map.

    The command writes report.html, report.md and report.json. The HTML page has an interactive map with audio. A random
    encoder of each architecture, MFCC statistics and log-mel statistics are always added to the models as baselines.
    Results are cached in the output folder. Rerun the same command to resume an interrupted comparison. If you add a
    model or a corruption, only the missing results are computed. If a label is a musical key, pitch shift is omitted
    from the augmentation chain. If the tracks have no `split` column, they are split as by `probe`. With `folds`, the
    tracks are cross-validated instead.

    Args:
        encoders: folders of saved encoders, MTT_musicnn or MSD_musicnn, or module:function for your own models,
            which requires allow_code.
        out: folder for the report and for the cache. A report of an earlier command is replaced; other files with the
            names report.html, report.md and report.json are an error.
        names: names of the models in the report, one for each encoder; by default the names of their folders.
        projections: use the outputs of the projector of each encoder, on which the loss of its pretraining was
            computed, instead of those of the encoder. The projectors are in the folders of the encoders.
        audio_clips: number of test tracks whose audio is included in the page. Each adds 13 kB to the page.
        seed: seed of the corruptions and the split, and first seed of random encoders, probes and folds.
        dry_run: only print the estimated time, memory and disk space, and write nothing.
    """

    encoders: tuple[str, ...]
    out: str
    names: tuple[str, ...] = ()
    projections: bool = False
    audio_clips: int = 200
    dry_run: bool = False

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_integer("audio_clips", self.audio_clips, 0)
        if not self.encoders:
            raise InputError("encoders: expected at least one encoder, got none")
        super().check()
        for encoder in self.encoders:
            check_encoder(encoder, "encoders", allow_code=self.allow_code)
        if self.projections:
            check_projections(self.encoders, self.frame_pooling, self.layers, self.methods, "encoders")
