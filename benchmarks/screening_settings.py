"""Settings of `pretrain` that the screening compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ssc_toolkit.options import EncoderOptions, LossOptions, ProjectorOptions, SegmentOptions

BUDGET = 0.3
"""Fraction of the training labels that semi-supervised runs use."""
FULL_BAND = EncoderOptions(name="MelCNN", max_hz=8000)
"""Default encoder with frequencies up to half the sample rate."""


@dataclass(frozen=True)
class Setting:
    """Setting of a run, without the seed.

    Attributes:
        title: title in tables.
        arguments: options of `pretrain` that differ from its defaults.
        is_labeled: whether the run uses labels.
    """

    title: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    is_labeled: bool = False


def _semi(title: str, **arguments: Any) -> Setting:
    return Setting(f"semi-supervised, {title}", arguments, is_labeled=True)


SETTINGS = {
    "self": Setting("self-supervised"),
    "semi": _semi("published rule"),
    "semi-weight-0.2": _semi("label weight .2", loss=LossOptions(label_weight=0.2)),
    "semi-quarter-weight-0.2": _semi(
        "a quarter of the batch labeled, label weight .2", labeled_fraction=0.25, loss=LossOptions(label_weight=0.2)
    ),
    "self-no-pitch-shift": Setting("self-supervised, no pitch shift", {"omit": ("pitch_shift",)}),
    "self-random-segments": Setting(
        "self-supervised, views anywhere in the track", {"segments": SegmentOptions(sampler="random")}
    ),
    "semi-quarter": _semi("a quarter of the batch labeled", labeled_fraction=0.25),
    "semi-separate-heads": _semi("separate projectors", projector=ProjectorOptions(heads="separate")),
    "self-full-band": Setting("self-supervised, frequencies to 8 kHz", {"encoder": FULL_BAND}),
    "semi-full-band-weight-0.2": _semi(
        "frequencies to 8 kHz, label weight .2", encoder=FULL_BAND, loss=LossOptions(label_weight=0.2)
    ),
    "semi-full-band-separate-heads": _semi(
        "frequencies to 8 kHz, separate projectors", encoder=FULL_BAND, projector=ProjectorOptions(heads="separate")
    ),
    "self-batch-48": Setting("self-supervised, batch of 48", {"batch_size": 48}),
    "self-temperature-0.2": Setting("self-supervised, temperature .2", {"temperature": 0.2}),
    "self-severity-0.5": Setting("self-supervised, severity .5", {"severity": 0.5}),
    "self-no-filter": Setting("self-supervised, no filter", {"omit": ("filter",)}),
    "semi-tenth": _semi("a tenth of the batch labeled", labeled_fraction=0.1),
    "semi-weight-0.5": _semi("label weight .5", loss=LossOptions(label_weight=0.5)),
    "semi-weight-0.1": _semi("label weight .1", loss=LossOptions(label_weight=0.1)),
    "self-temperature-0.05": Setting("self-supervised, temperature .05", {"temperature": 0.05}),
    "self-temperature-0.5": Setting("self-supervised, temperature .5", {"temperature": 0.5}),
    "self-projector-1": Setting("self-supervised, linear projector", {"projector": ProjectorOptions(depth=1)}),
    "self-projector-3": Setting("self-supervised, projector of 3 layers", {"projector": ProjectorOptions(depth=3)}),
    "self-projector-norm": Setting(
        "self-supervised, projector with batch norm", {"projector": ProjectorOptions(norm="batch")}
    ),
    "self-negatives": Setting("self-supervised, decoupled denominator", {"loss": LossOptions(denominator="negatives")}),
    "self-no-noise": Setting("self-supervised, no colored noise", {"omit": ("colored_noise",)}),
    "self-no-delay": Setting("self-supervised, no delay", {"omit": ("delay",)}),
}
"""Settings by name, the most important ones first."""
