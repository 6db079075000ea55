"""Options of the command `ssc-toolkit robustness`."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.evaluation import CorruptionOptions, EncoderOptions


@dataclass(frozen=True, kw_only=True)
class RobustnessOptions(EncoderOptions, CorruptionOptions):
    """Options of `robustness`, which fits probes to an encoder on clean audio and scores them on corrupted test tracks.

    The command prints a table of test scores with 95 % intervals (bootstrap over groups of tracks) for the encoder, a
    random encoder, MFCC statistics and log-mel statistics, and a table of the fraction of the clean score that each
    corruption loses. If the tracks have no `split` column, they are split as by `probe`.

    Args:
        seed: seed of the corruptions, the probes, the random encoder and the split.
    """

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        if not any(severity > 0 for severity in self.severities):
            raise InputError("severities: expected at least one above 0, got none")
        super().check()
