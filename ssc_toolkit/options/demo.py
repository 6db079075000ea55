"""Options of the command `ssc-toolkit demo`."""

from __future__ import annotations

from dataclasses import dataclass

from ssc_toolkit.checks import check_whole


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of `demo`, which pretrains with no labels, few labels and all labels, evaluates, and writes a report.

    Renders the default corpus (cached) and trains MelCNN self-supervised, semi-supervised with 5 % of the key labels,
    and supervised with all of them. Probes these encoders, a random encoder and log-mel statistics on key, family, mode
    and collection, and measures the robustness of key and family. Writes `report.html`, `report.md`, `report.json`, the
    checkpoints and the encoders. Rerun the same command to resume.

    Args:
        out: output folder; by default `demo`, or `demo-quick`.
        quick: run at a tiny scale to check that everything works; the numbers mean nothing.
        seed: seed of the corpus, weights, batches and augmentations.
    """

    out: str | None = None
    quick: bool = False
    seed: int = 0

    def check(self) -> None:
        """Raise InputError for an invalid option; nothing is loaded."""
        check_whole("seed", self.seed, 0)
