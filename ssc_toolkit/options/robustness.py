"""Options of the command `ssc-toolkit robustness`."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_encoder
from ssc_toolkit.options.evaluation import CorruptionOptions


@dataclass(frozen=True, kw_only=True)
class RobustnessOptions(CorruptionOptions):
    """Options of `robustness`, which fits probes to an encoder on clean audio and scores them on corrupted test tracks.

    The command prints a table of test scores with 95 % intervals (bootstrap over groups of tracks) for the encoder, a
    random encoder, MFCC statistics and log-mel statistics, and a table of the fraction of the clean score that each
    corruption loses. If the tracks have no `split` column, they are split as by `probe`.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        cache: folder of the embedding cache. An embedding is computed again if the model, the audio or the corruption
            has changed.
        out: folder for report.json, report.md and report.html. Existing reports are replaced. By default no report is
            written.
        seed: seed of the corruptions, the probes, the random encoder and the split.
    """

    encoder: str
    cache: str | None = None
    out: str | None = None

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        if not any(severity > 0 for severity in self.severities):
            raise InputError("severities: expected at least one above 0, got none")
        super().check()
        check_encoder(self.encoder)
