"""Options of the command `ssc-toolkit doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of `doctor`, which prints versions, devices, codecs and caches, and a fix for each problem found.

    Args:
        clean: only remove the files of this library in the user's cache folder (copies of stores at URLs, rendered
            corpora, temporary files) and the cached embeddings and predictions in `folders`. They are created again
            when needed. Other files, and files that another process uses, are kept.
        folders: more cache folders: those given as `--cache`, and outputs of `compare` and `demo`.
    """

    clean: bool = False
    folders: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InputError for an invalid option; nothing is loaded."""
