"""Options of the command `ssc-toolkit doctor`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Options of `doctor`, which prints versions, devices, codecs and caches, and a fix for each problem found.

    Args:
        clean: only remove cached files. In the user's cache folder, these are copies of stores at URLs, rendered
            corpora and temporary files. In `folders`, these are embeddings and predictions. They are created again when
            they are needed. Files that another process uses are kept.
        folders: additional folders with caches: folders passed as `--cache`, and output folders of `compare` and
            `demo`.
    """

    clean: bool = False
    folders: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise InputError if an option is invalid."""
