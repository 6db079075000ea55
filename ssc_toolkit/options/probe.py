"""Options of the command `ssc-toolkit probe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_fraction, check_fractions, check_integer, check_names
from ssc_toolkit.options.checks import check_choices, check_encoder, check_layers, check_numbers, check_window
from ssc_toolkit.options.folds import CrossValidatedSource
from ssc_toolkit.options.names import FINETUNE, METHODS


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(CrossValidatedSource):
    """Options of `probe`, which scores an encoder and baselines by probes for each label.

    The baselines are a random encoder, MFCC statistics and log-mel statistics. The command prints a table of test
    scores with 95 % intervals (bootstrap over groups of tracks, and over seeds if there are several), and a table of
    hubness and anisotropy. If the tracks have no `split` column (train, valid, test), they are split at random in the
    ratio 70/10/20. Tracks with the same `group` are put in the same split. With `folds`, the tracks are cross-validated
    instead.

    Args:
        encoder: folder of a saved encoder, or module:function that returns a model.
        labels: label columns to predict.
        methods: one or more of linear, mlp, knn (nearest neighbors), prototypes (similarity to the mean of each class),
            weighted_layers (a learned weighted sum of several layers) and finetune (the whole encoder is trained).
        numbers: names of the label columns that contain numbers. The other columns contain classes.
        label_fractions: fractions of the labeled training tracks to use, each in (0, 1]. Each fraction has its own
            score. The tracks of a smaller fraction are also used for a larger one.
        repeats: number of seeds, starting at `seed`. A score is the mean over the seeds. Each seed has its own folds.
        window_seconds: length of a window in seconds. The windows do not overlap, and the embedding of a track is the
            mean over its windows. The default is the view length of the encoder's training, which is read from the
            folder above the encoder, or 3 if it is not known.
        frame_pooling: how the frames of a window are combined: mean, max or mean_std (mean and standard deviation).
            "default" is the pooling that the encoder was saved with, or that of its architecture.
        layers: layers of the encoder whose frames are used: last, all, or a list of names. Their embeddings are
            concatenated. The default is the layers that the encoder was saved with, or the last.
        finetune_steps: maximum number of fine-tuning steps.
        cache: folder of the embedding cache. An embedding is computed again if the model or the audio has changed.
        out: folder for report.json, report.md and report.html. Existing reports are replaced. By default no report is
            written.
        max_unusable: maximum fraction of the files that may be unreadable or silent. These files are left out.
        seed: first seed of probes, random encoders, label fractions and folds, and seed of the split.
    """

    encoder: str
    labels: tuple[str, ...]
    tracks: str = "scores"
    methods: tuple[str, ...] = ("linear",)
    numbers: tuple[str, ...] = ()
    label_fractions: tuple[float, ...] = (1.0,)
    repeats: int = 1
    window_seconds: float | None = None
    frame_pooling: Literal["default", "mean", "mean_std", "max"] = "default"
    layers: tuple[str, ...] = ()
    finetune_steps: int = 1000
    cache: str | None = None
    out: str | None = None
    max_unusable: float = 0.1
    seed: int = 0

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_names("methods", self.methods, (*METHODS, FINETUNE))
        for name, low in (("repeats", 1), ("finetune_steps", 1), ("seed", 0)):
            check_integer(name, getattr(self, name), low)
        check_fractions("label_fractions", self.label_fractions)
        check_fraction("max_unusable", self.max_unusable)
        check_numbers(self.labels, self.numbers)
        check_choices(self)
        check_window(self.window_seconds)
        check_layers(self.layers)
        super().check()
        check_encoder(self.encoder)
