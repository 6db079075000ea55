"""Options of the command `ssc-toolkit corpus`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ssc_toolkit.checks import check_integer
from ssc_toolkit.options.checks import check_choices

MIN_CLIPS = 40
"""Minimum number of clips of a corpus. With fewer clips, some kinds of clips would be missing in a split."""


@dataclass(frozen=True, kw_only=True)
class CorpusOptions:
    """Options of `corpus`, which renders a labeled corpus if it does not exist yet.

    The corpus needs no download. The command prints the path of its track table.

    Args:
        kind: "scores" for passages of real compositions, "notes" for single notes.
        clips: number of clips, at least 40.
        seed: seed of the random draws.
        folder: output folder; a folder in the user's cache by default.
        describe: also print the number of clips of each label, and copy a few clips to `examples`.
        examples: folder for the copied clips: one clip of each instrument family in the test set, named by its labels.
    """

    kind: Literal["scores", "notes"] = "scores"
    clips: int = 4000
    seed: int = 0
    folder: str | None = None
    describe: bool = False
    examples: str = "corpus-examples"

    def check(self) -> None:
        """Raise InputError if an option is invalid, before anything is rendered."""
        check_choices(self)
        check_integer("clips", self.clips, MIN_CLIPS)
        check_integer("seed", self.seed, 0)
