"""Record of the damaged shards and changed source files that a verification of a store found."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ssc_toolkit.data.store.layout import MARKS
from ssc_toolkit.files import DamagedFile, read_checked_json, reading, write_checked_json

logger = logging.getLogger(__name__)
_ADVICE = "`ssc-toolkit prepare --verify` restores it"


@dataclass(frozen=True)
class Stale:
    """Damaged shards and changed audio files of a store, which the next call of `prepare_store` must replace.

    Attributes:
        paths: paths of audio files whose content has changed, even if size and modification time are the same.
        shards: names of damaged shards.
        lost: paths of audio files that can no longer be decoded, by the name of the damaged shard with their only copy.
    """

    paths: set[str]
    shards: set[str]
    lost: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Stale:
        """Read the damaged shards and changed audio files from the file `marks.json` in the folder of a store.

        If there is no such file, or if it is damaged, the result is empty. For a damaged file, a warning is issued.

        Raises:
            InputError: if the file cannot be read.
        """
        file = folder / MARKS
        if not file.exists():
            return cls(set(), set())
        try:
            content = read_checked_json(file, "store", _ADVICE)
            with reading("store", file, _ADVICE):
                lost = {str(shard): list(map(str, paths)) for shard, paths in content.get("lost", {}).items()}
                return cls(set(map(str, content["paths"])), set(map(str, content["shards"])), lost)
        except DamagedFile as error:
            logger.warning("%s", error)
            return cls(set(), set())

    def write(self, folder: Path) -> None:
        """Write the shards and audio files to `marks.json` in the folder of a store, or remove it if there are none."""
        if self.paths or self.shards:
            content = {"paths": sorted(self.paths), "shards": sorted(self.shards), "lost": self.lost}
            write_checked_json(folder / MARKS, content)
        else:
            (folder / MARKS).unlink(missing_ok=True)

    def union(self, paths: Iterable[str], shards: Iterable[str]) -> Stale:
        """Return a copy of this object with additional paths of changed audio files and names of damaged shards."""
        return Stale(self.paths.union(paths), self.shards.union(shards), self.lost)
