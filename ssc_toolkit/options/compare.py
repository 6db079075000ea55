"""Options of the command `ssc-toolkit compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction, check_integer, check_names
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.checks import (
    check_choices,
    check_corruptions,
    check_encoder,
    check_layers,
    check_numbers,
    check_window,
)
from ssc_toolkit.options.folds import CrossValidatedSource
from ssc_toolkit.options.names import METHODS, SEVERITIES


@dataclass(frozen=True, kw_only=True)
class CompareOptions(CrossValidatedSource):
    """Options of `compare`, which compares models by probes on clean and corrupted audio, by retrieval, and on a map.

    The command writes report.html, report.md and report.json. The HTML page has an interactive map with audio. A random
    encoder of each architecture, MFCC statistics and log-mel statistics are always added to the models as baselines.
    Results are cached in the output folder. Rerun the same command to resume an interrupted comparison. If you add a
    model or a corruption, only the missing results are computed. If a label is a musical key, pitch shift is omitted
    from the augmentation chain. If the tracks have no `split` column, they are split as by `probe`. With `folds`, the
    tracks are cross-validated instead.

    Args:
        encoders: folders of saved encoders, or module:function for your own models.
        labels: label columns to predict.
        out: folder for the report and for the cache. An existing report is replaced.
        names: names of the models in the report, one for each encoder; by default the names of their folders.
        numbers: names of the label columns that contain numbers, which are predicted by regression. The other columns
            contain classes.
        corruptions: "chain" for the whole augmentation chain, or names of single corruptions (see `robustness`).
        severities: severities of the corruptions, 0 (clean) to 2.5. Clean audio is always included.
        omit: stages of the augmentation chain to omit.
        draws: folder of stored random corruptions (see `robustness`).
        methods: methods of the probes: one or more of linear, mlp, knn (nearest neighbors), prototypes (similarity to
            the mean of each class) and weighted_layers (a learned weighted sum of several layers).
        repeats: number of seeds of probes and random encoders, starting at `seed`. A score is the mean over the seeds.
            Each seed has its own folds.
        window_seconds: length of a window in seconds. The windows do not overlap, and the embedding of a track is the
            mean over its windows. The default is the view length of each encoder's training, or 3 if it is not known.
        frame_pooling: how the frames of a window are combined: mean, max or mean_std (mean and standard deviation).
            "default" is the pooling that the encoder was saved with, or that of its architecture.
        layers: layers of the encoder whose frames are used: last, all, or a list of names. Their embeddings are
            concatenated. The default is the layers that the encoder was saved with, or the last.
        audio_clips: number of test tracks whose audio is included in the page. Each adds 13 kB to the page.
        max_unusable: maximum fraction of the files that may be unreadable or silent. These files are left out.
        seed: seed of the corruptions and the split, and first seed of random encoders, probes and folds.
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
    frame_pooling: Literal["default", "mean", "mean_std", "max"] = "default"
    layers: tuple[str, ...] = ()
    audio_clips: int = 200
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_integer("seed", self.seed, 0)
        check_integer("audio_clips", self.audio_clips, 0)
        check_integer("repeats", self.repeats, 1)
        check_names("methods", self.methods, METHODS)
        check_fraction("max_unusable", self.max_unusable)
        check_numbers(self.labels, self.numbers)
        check_corruptions(self.corruptions, self.severities, self.omit)
        check_choices(self)
        check_window(self.window_seconds)
        check_layers(self.layers)
        if not self.encoders:
            raise InputError("encoders: expected at least one encoder, got none")
        super().check()
        for encoder in self.encoders:
            check_encoder(encoder, "encoders")
