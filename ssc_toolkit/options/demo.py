"""Options of the command `ssc-toolkit demo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssc_toolkit import __version__
from ssc_toolkit.checks import check_integer
from ssc_toolkit.options.output_folder import check_note
from ssc_toolkit.paths import user_path

NOTE = "demo.json"
"""Name of the file with the settings of a demonstration."""


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of `demo`, which pretrains with no labels, few labels and all labels, evaluates, and writes a report.

    The command renders the default corpus, which is cached. It trains MelCNN three times: self-supervised,
    semi-supervised with 5 % of the key labels, and supervised with all key labels. It evaluates these encoders, a
    random encoder, MFCC statistics and log-mel statistics with probes for key, instrument family, mode and collection,
    on clean and corrupted audio. It writes `report.html`, `report.md`, `report.json`, the checkpoints and the encoders.
    Rerun the same command to resume.

    Args:
        out: output folder; by default `demo`, or `demo-quick` with `quick`.
        quick: run with little data to check that everything works. The scores are then not meaningful.
        seed: seed of the corpus, weights, batches and augmentations.
    """

    out: str | None = None
    quick: bool = False
    seed: int = 0

    @property
    def folder(self) -> Path:
        """Path of the output folder."""
        return user_path(self.out or ("demo-quick" if self.quick else "demo"), "out")

    def check(self) -> None:
        """Raise InputError if an option is invalid, or if the output folder contains other files."""
        check_integer("seed", self.seed, 0)
        if self.folder.is_dir():
            check_note(self.folder / NOTE, self.settings, "out", "demonstration")

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that determine the results of the demonstration, by name."""
        return {"quick": self.quick, "seed": self.seed, "version": __version__}
