"""Search for the audio files of a published dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class AudioFolder:
    """Look-up of files below a folder. Each subfolder is listed only once, so that many look-ups are fast."""

    def __init__(self, root: Path):
        self.root = root
        self._names: dict[str, frozenset[str]] = {}

    def first(self, candidates: Iterable[str]) -> str | None:
        """Return the first path in `candidates`, relative to the folder, that exists, or None if none exists."""
        return next((path for path in candidates if path in self), None)

    def __contains__(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if folder not in self._names:
            self._names[folder] = self._list(folder)
        return name in self._names[folder]

    def _list(self, folder: str) -> frozenset[str]:
        try:
            return frozenset(path.name for path in (self.root / folder).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
