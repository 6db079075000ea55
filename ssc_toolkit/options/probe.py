"""Options of the command `ssc-toolkit probe`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ssc_toolkit.checks import check_fractions, check_integer
from ssc_toolkit.options.checks import check_projections
from ssc_toolkit.options.evaluation import CrossValidationOptions, EncoderOptions
from ssc_toolkit.options.names import FINETUNE, METHODS


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(EncoderOptions, CrossValidationOptions):
    """Options of `probe`, which scores an encoder and baselines by probes for each label.

    The baselines are a random encoder, MFCC statistics and log-mel statistics. The command prints a table of test
    scores with 95 % intervals (bootstrap over groups of tracks, and over seeds if there are several), and a table of
    hubness and anisotropy. If the tracks have no `split` column (train, valid, test), they are split at random in the
    ratio 70/10/20. Tracks with the same `group` are put in the same split. With `folds`, the tracks are cross-validated
    instead.

    Args:
        methods: one or more of linear, mlp, knn (nearest neighbors), prototypes (similarity to the mean of each class),
            weighted_layers (a learned weighted sum of several layers) and finetune (the whole encoder is trained).
        label_fractions: fractions of the labeled training tracks to use, each in (0, 1]. Each fraction has its own
            score. The tracks of a smaller fraction are also used for a larger one.
        projections: use the outputs of the projector, on which the loss of the pretraining was computed, instead of
            those of the encoder. The projector is in the folder of the encoder.
        finetune_steps: maximum number of fine-tuning steps.
        seed: first seed of probes, random encoders, label fractions and folds, and seed of the split.
    """

    known_methods: ClassVar[tuple[str, ...]] = (*METHODS, FINETUNE)
    label_fractions: tuple[float, ...] = (1.0,)
    projections: bool = False
    finetune_steps: int = 1000

    def check(self) -> None:
        """Raise InputError if an option is invalid, before tracks and models are loaded."""
        check_integer("finetune_steps", self.finetune_steps, 1)
        check_fractions("label_fractions", self.label_fractions)
        super().check()
        if self.projections:
            check_projections([self.encoder], self.frame_pooling, self.layers, self.methods)
