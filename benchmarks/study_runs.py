"""Runs of the study, which are a main comparison over five seeds and sweeps of one setting over three seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SEEDS, SWEEP_SEEDS = 5, 3
OMIT = ("pitch_shift",)
"""Stages omitted from the augmentation chain. The labels are keys, and pitch shift changes the key of a clip."""


@dataclass(frozen=True)
class Size:
    """Size of the study.

    Attributes:
        clips: number of clips of the default corpus.
        notes: number of notes of the corpus of single notes.
        steps: number of steps of each run.
        batch_size: batch size of each run.
        view_seconds: length of a view, and of a window of the evaluation, in seconds.
    """

    clips: int = 4000
    notes: int = 2000
    steps: int = 150
    batch_size: int = 96
    view_seconds: float = 3.0


QUICK = Size(clips=160, notes=80, steps=4, batch_size=16)


@dataclass(frozen=True)
class Setting:
    """Setting of a run, without the seed.

    Attributes:
        name: name of its files.
        title: title on the page.
        arguments: arguments of `ssc_toolkit.training.pretrain`; None if nothing is trained.
        seeds: number of seeds.
    """

    name: str
    title: str
    arguments: Mapping[str, Any] | None
    seeds: int = SWEEP_SEEDS


RANDOM, STATISTICS = "random", "statistics"
SELF, SEMI, SEMI_ALL, SUPERVISED = "self", "semi-5", "semi-100", "supervised"

BASELINES = (
    Setting(RANDOM, "random encoder", None, SEEDS),
    Setting(STATISTICS, "log-mel statistics", None, 1),
)
MAIN = (
    Setting(SELF, "self-supervised", {}, SEEDS),
    Setting(SEMI, "semi-supervised, 5 % of the labels", {"labels": "key", "label_budget": 0.05}, SEEDS),
    Setting(SEMI_ALL, "semi-supervised, all labels", {"labels": "key"}, SEEDS),
    Setting(SUPERVISED, "supervised, all labels", {"labels": "key", "labeled_fraction": 1.0}, SEEDS),
)
BUDGETS = (
    Setting("semi-1", "semi-supervised, 1 % of the labels", {"labels": "key", "label_budget": 0.01}),
    Setting("semi-25", "semi-supervised, 25 % of the labels", {"labels": "key", "label_budget": 0.25}),
)
FRACTIONS = tuple(
    Setting(
        f"fraction-{round(100 * fraction)}",
        f"semi-supervised, 5 % of the labels, {round(100 * fraction)} % of the batch labeled",
        {"labels": "key", "label_budget": 0.05, "labeled_fraction": fraction},
    )
    for fraction in (0.25, 0.75)
)
SIGNALS = (
    Setting("signal-family", "semi-supervised, all labels of family", {"labels": "family"}),
    Setting("signal-mode", "semi-supervised, all labels of mode", {"labels": "mode"}),
    Setting("signal-collection", "semi-supervised, all labels of collection", {"labels": "collection"}),
    Setting("signal-key-family", "semi-supervised, all labels of key and family", {"labels": ("key", "family")}),
)
SETTINGS = {setting.name: setting for setting in (*BASELINES, *MAIN, *BUDGETS, *FRACTIONS, *SIGNALS)}


@dataclass(frozen=True)
class Run:
    """Run of the study, which is a setting with a seed."""

    setting: Setting
    seed: int

    @property
    def name(self) -> str:
        """Name of the folder and the results of the run."""
        return f"{self.setting.name}-{self.seed}"


def blocks() -> list[list[Run]]:
    """Return all runs in groups that are evaluated together. The most important group is the first."""
    sweeps = (*BUDGETS, *FRACTIONS, *SIGNALS)
    order = [((*BASELINES, *MAIN), seed) for seed in range(SWEEP_SEEDS)]
    order += [(sweeps, seed) for seed in range(SWEEP_SEEDS)]
    order += [((*BASELINES, *MAIN), seed) for seed in range(SWEEP_SEEDS, SEEDS)]
    return [[Run(setting, seed) for setting in settings if seed < setting.seeds] for settings, seed in order]
