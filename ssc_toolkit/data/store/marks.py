"""What a verification found, for the next `prepare`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssc_toolkit.data.store.layout import MARKS
from ssc_toolkit.files import write_checked_json


@dataclass(frozen=True)
class Marks:
    """Sources and shards that `prepare` must not believe.

    Attributes:
        paths: sources whose content is not what was decoded, even where their size and time are.
        shards: those that do not hold what was written.
    """

    paths: set[str]
    shards: set[str]

    @classmethod
    def read(cls, folder: Path) -> Marks:
        """Read the marks in the folder of a store; a lost or damaged file has none, and is made again by `--verify`."""
        try:
            content = json.loads((folder / MARKS).read_bytes())
            return cls(set(map(str, content["paths"])), set(map(str, content["shards"])))
        except (OSError, ValueError, KeyError, TypeError):
            return cls(set(), set())

    def write(self, folder: Path) -> None:
        """Write them, or remove the file if there are none."""
        if self.paths or self.shards:
            write_checked_json(folder / MARKS, {"paths": sorted(self.paths), "shards": sorted(self.shards)})
        else:
            (folder / MARKS).unlink(missing_ok=True)

    def and_also(self, paths: Iterable[str], shards: Iterable[str]) -> Marks:
        """Return these marks and more."""
        return Marks(self.paths.union(paths), self.shards.union(shards))
