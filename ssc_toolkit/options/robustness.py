"""Options of the command `ssc-toolkit robustness`."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.checks import check_fraction, check_integer, check_names
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_corruptions, check_encoder, check_numbers, check_window
from ssc_toolkit.options.names import METHODS, SEVERITIES
from ssc_toolkit.options.tracks import TrackSource


@dataclass(frozen=True, kw_only=True)
class RobustnessOptions(TrackSource):
    """Options of `robustness`, which fits probes to an encoder on clean audio and scores them on corrupted test tracks.

    The command prints a table of test scores with 95 % intervals (bootstrap over groups of tracks) for the encoder, a
    random encoder, MFCC statistics and log-mel statistics, and a table of the fractions of the clean score that are
    lost. Tracks without splits are split as for `probe`.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        labels: label columns to predict.
        methods: some of linear, mlp, knn (nearest neighbors) and prototypes (zero-shot).
        numbers: names of the label columns that contain numbers; the others contain classes.
        corruptions: "chain" for the whole augmentation chain, or names of single corruptions: its stages gain,
            polarity_inversion, colored_noise, filter, pitch_shift, delay; or time_stretch, splice_out, reverb, chorus,
            distortion, compression, reverse, bitcrush, mp3.
        severities: severities from 0 (clean) to 2.5; clean audio is always scored as well.
        omit: stages of the chain to omit; omit pitch_shift if labels depend on key or pitch.
        draws: folder of stored corruptions. Corruptions in the folder are used; missing ones are drawn and added. Pass
            the same folder for another model to give both the same corrupted audio. By default corruptions are drawn
            from the seed and stored in the output folder.
        window_seconds: length of the non-overlapping windows that are averaged into an embedding, in seconds. By
            default the view length of the encoder's training, if the folder above the encoder has the training's
            settings, or else 3.
        cache: folder of the embedding cache, whose keys depend on the content of model, audio and corruption.
        out: folder for report.json, report.md and report.html, which are replaced; by default no report is written.
        max_unusable: maximum fraction of files that are unreadable or shorter than a window.
        seed: seed of the corruptions, the heads, the random encoder and the split.
    """

    encoder: str
    labels: tuple[str, ...]
    tracks: str = "scores"
    methods: tuple[str, ...] = ("linear",)
    numbers: tuple[str, ...] = ()
    corruptions: tuple[str, ...] = ("chain",)
    severities: tuple[float, ...] = SEVERITIES
    omit: tuple[str, ...] = ()
    draws: str | None = None
    window_seconds: float | None = None
    cache: str | None = None
    out: str | None = None
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for an invalid option; nothing is loaded."""
        check_integer("seed", self.seed, 0)
        check_names("methods", self.methods, METHODS)
        check_fraction("max_unusable", self.max_unusable)
        check_numbers(self.labels, self.numbers)
        check_corruptions(self.corruptions, self.severities, self.omit)
        if not any(severity > 0 for severity in self.severities):
            raise InputError("severities: expected at least one above 0, got none")
        check_window(self.window_seconds)
        super().check()
        check_encoder(self.encoder)
