"""Stale parts of a store: damage and changes found by a verification, recorded for the next `prepare`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssc_toolkit.data.store.layout import MARKS
from ssc_toolkit.files import DamagedFile, read_checked_json, reading, write_checked_json

logger = logging.getLogger(__name__)
_ADVICE = "`ssc-toolkit prepare --verify` restores it"


@dataclass(frozen=True)
class Stale:
    """Source files and shards that `prepare` must check or decode again.

    Attributes:
        paths: source files whose content has changed, even if their size and time have not.
        shards: names of damaged shards.
    """

    paths: set[str]
    shards: set[str]

    @classmethod
    def read(cls, folder: Path) -> Stale:
        """Read the stale parts recorded in the folder of a store. If the file is damaged, a warning is logged and there
        are none.

        Raises:
            InputError: if the file cannot be read.
        """
        file = folder / MARKS
        if not file.exists():
            return cls(set(), set())
        try:
            content = read_checked_json(file, "store", _ADVICE)
            with reading("store", file, _ADVICE):
                return cls(set(map(str, content["paths"])), set(map(str, content["shards"])))
        except DamagedFile as error:
            logger.warning("%s", error)
            return cls(set(), set())

    def write(self, folder: Path) -> None:
        """Record the stale parts, or remove the file if there are none."""
        if self.paths or self.shards:
            write_checked_json(folder / MARKS, {"paths": sorted(self.paths), "shards": sorted(self.shards)})
        else:
            (folder / MARKS).unlink(missing_ok=True)

    def union(self, paths: Iterable[str], shards: Iterable[str]) -> Stale:
        """Return these stale parts and the given ones."""
        return Stale(self.paths.union(paths), self.shards.union(shards))
