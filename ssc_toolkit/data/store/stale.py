"""Record of the damaged shards and changed source files that a verification of a store found."""

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
    """Source files that the next `prepare_store` must compare by checksum, and shards that it must replace.

    Attributes:
        paths: paths of source files whose content has changed. Their size and modification time can be unchanged.
        shards: names of damaged shards.
    """

    paths: set[str]
    shards: set[str]

    @classmethod
    def read(cls, folder: Path) -> Stale:
        """Read the record in the folder of a store.

        If there is no record, or if it is damaged, the result is empty. A damaged record also gives a warning.

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
        """Write the record to the folder of a store, or remove the file if the record is empty."""
        if self.paths or self.shards:
            write_checked_json(folder / MARKS, {"paths": sorted(self.paths), "shards": sorted(self.shards)})
        else:
            (folder / MARKS).unlink(missing_ok=True)

    def union(self, paths: Iterable[str], shards: Iterable[str]) -> Stale:
        """Return a record that also contains the given paths and shards."""
        return Stale(self.paths.union(paths), self.shards.union(shards))
