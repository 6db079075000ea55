"""Options of the command `ssc-toolkit robustness`."""

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
from ssc_toolkit.options.names import METHODS, SEVERITIES
from ssc_toolkit.options.tracks import TrackSource


@dataclass(frozen=True, kw_only=True)
class RobustnessOptions(TrackSource):
    """Options of `robustness`, which fits probes to an encoder on clean audio and scores them on corrupted test tracks.

    The command prints a table of test scores with 95 % intervals (bootstrap over groups of tracks) for the encoder, a
    random encoder, MFCC statistics and log-mel statistics, and a table of the fraction of the clean score that each
    corruption loses. If the tracks have no `split` column, they are split as by `probe`.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        labels: label columns to predict.
        methods: one or more of linear, mlp, knn (nearest neighbors), prototypes (similarity to the mean of each class)
            and weighted_layers (a learned weighted sum of several layers).
        numbers: names of the label columns that contain numbers. The other columns contain classes.
        corruptions: "chain" for the whole augmentation chain, or names of single corruptions. Stages of the chain:
            gain, polarity_inversion, colored_noise, filter, pitch_shift, delay. Other corruptions: time_stretch,
            splice_out, reverb, chorus, distortion, compression, reverse, bitcrush, mp3.
        severities: severities of the corruptions, 0 (clean) to 2.5. Clean audio is always included.
        omit: stages of the augmentation chain to omit. Omit pitch_shift if labels depend on key or pitch.
        draws: folder of stored random corruptions. Corruptions in the folder are used. Missing ones are drawn and
            added. Pass the same folder for another model to use the same corrupted audio. By default, corruptions are
            drawn from the seed and stored in the output folder.
        window_seconds: length of a window in seconds. The windows do not overlap, and the embedding of a track is the
            mean over its windows. The default is the view length of the encoder's training, which is read from the
            folder above the encoder, or 3 if it is not known.
        frame_pooling: how the frames of a window are combined: mean, max or mean_std (mean and standard deviation).
            "default" is the pooling that the encoder was saved with, or that of its architecture.
        layers: layers of the encoder whose frames are used: last, all, or a list of names. Their embeddings are
            concatenated. The default is the layers that the encoder was saved with, or the last.
        cache: folder of the embedding cache. An embedding is computed again if the model, the audio or the corruption
            has changed.
        out: folder for report.json, report.md and report.html. Existing reports are replaced. By default no report is
            written.
        max_unusable: maximum fraction of the files that may be unreadable or silent. These files are left out.
        seed: seed of the corruptions, the probes, the random encoder and the split.
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
    frame_pooling: Literal["default", "mean", "mean_std", "max"] = "default"
    layers: tuple[str, ...] = ()
    cache: str | None = None
    out: str | None = None
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_integer("seed", self.seed, 0)
        check_names("methods", self.methods, METHODS)
        check_fraction("max_unusable", self.max_unusable)
        check_numbers(self.labels, self.numbers)
        check_corruptions(self.corruptions, self.severities, self.omit)
        if not any(severity > 0 for severity in self.severities):
            raise InputError("severities: expected at least one above 0, got none")
        check_choices(self)
        check_window(self.window_seconds)
        check_layers(self.layers)
        super().check()
        check_encoder(self.encoder)
