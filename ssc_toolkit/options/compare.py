"""Options of the command `ssc-toolkit compare`."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.checks import check_fraction, check_integer, check_names
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import check_corruptions, check_encoder, check_numbers, check_window
from ssc_toolkit.options.names import METHODS, SEVERITIES
from ssc_toolkit.options.tracks import TrackSource


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TrackSource):
    """Options of `compare`, which compares models by probes on clean and corrupted audio, by retrieval, and on a map.

    The command writes report.html, report.md and report.json; the page has an interactive map with audio. It always
    adds a random encoder of each architecture, MFCC statistics and log-mel statistics to the models. Results are cached
    in the output folder: rerun the same command to resume an interrupted comparison. A call with one more model or
    corruption computes only what is missing. If a label is a musical key, pitch shift is omitted from the chain. Tracks
    without splits are split as for `probe`.

    Args:
        encoders: folders of saved encoders, or module:function for your own models.
        labels: label columns to predict.
        out: folder for the report, which is replaced, and for the cache.
        names: names of the models in the report; by default taken from their folders.
        numbers: names of the label columns that contain real numbers; they are predicted by regression.
        corruptions: "chain" for the whole augmentation chain, or names of single corruptions, as for `robustness`.
        severities: severities from 0 to 2.5; clean audio is always included.
        omit: stages of the chain to omit.
        draws: folder of stored corruptions, as for `robustness`.
        methods: methods of the probes: some of linear, mlp, knn (nearest neighbors) and prototypes (zero-shot).
        repeats: number of seeds of probes and random encoders, counted from `seed`; a score is the mean over the seeds.
        window_seconds: length of the non-overlapping windows that are averaged into an embedding, in seconds. By
            default the view length of each encoder's training, or else 3.
        clips: number of test tracks whose audio is included in the page; each adds 13 kB to it.
        max_unusable: maximum fraction of files that are unreadable or shorter than a window.
        seed: seed of the corruptions and the split, and first seed of random encoders and probes.
    """

    encoders: tuple[str, ...]
    labels: tuple[str, ...]
    out: str
    names: tuple[str, ...] = ()
    tracks: str = "scores"
    numbers: tuple[str, ...] = ()
    corruptions: tuple[str, ...] = ("chain",)
    severities: tuple[float, ...] = SEVERITIES
    omit: tuple[str, ...] = ()
    draws: str | None = None
    methods: tuple[str, ...] = ("linear",)
    repeats: int = 1
    window_seconds: float | None = None
    clips: int = 200
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for an invalid option; nothing is loaded."""
        check_integer("seed", self.seed, 0)
        check_integer("clips", self.clips, 0)
        check_integer("repeats", self.repeats, 1)
        check_names("methods", self.methods, METHODS)
        check_fraction("max_unusable", self.max_unusable)
        check_numbers(self.labels, self.numbers)
        check_corruptions(self.corruptions, self.severities, self.omit)
        check_window(self.window_seconds)
        if not self.encoders:
            raise InputError("encoders: expected at least one encoder, got none")
        super().check()
        for encoder in self.encoders:
            check_encoder(encoder, "encoders")
