"""Functions that find the files of a published dataset, and report missing files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ssc_toolkit.data.recipes.base import NeededFile, Recipe
from ssc_toolkit.errors import InputError


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


def find_needed_path(recipe: Recipe, root: Path, variant: str, path: str) -> Path:
    """Return the path of a file or folder of a dataset that its recipe requires.

    Args:
        recipe: recipe of the dataset.
        root: folder of the dataset.
        variant: variant of the dataset.
        path: the attribute `path` of one of the files in `recipe.needs(variant)`.

    Raises:
        InputError: if the file does not exist. The message lists all files that the recipe needs.
    """
    found = find_optional_path(recipe, root, variant, path)
    if found is None:
        raise InputError(f"{recipe.name}: there is no {path} below {root}. {describe_needs(recipe.needs(variant))}")
    return found


def find_optional_path(recipe: Recipe, root: Path, variant: str, path: str) -> Path | None:
    """Return the path of a file or folder of a dataset, or None if it does not exist.

    Arguments are as for `find_needed_path`.
    """
    needed = next(need for need in recipe.needs(variant) if need.path == path)
    places = (root / place for place in (needed.path, *needed.elsewhere))
    return next((place for place in places if place.exists()), None)


def describe_needs(needs: tuple[NeededFile, ...]) -> str:
    """Return a text that lists the files that the folder of a dataset must contain, one per line."""
    width = max(len(need.path) for need in needs)
    return "It must contain\n" + "\n".join(f"  {need.path:<{width}}  {need.origin}" for need in needs)
