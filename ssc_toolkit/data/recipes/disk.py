"""Finding and reading the files of a dataset, and saying which are missing or malformed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from ssc_toolkit.data.recipes.base import NeededFile, Recipe
from ssc_toolkit.errors import InputError


class AudioFolder:
    """Which files lie below a root; each folder is listed once, so that asking for many of them is cheap."""

    def __init__(self, root: Path):
        self.root = root
        self._names: dict[str, frozenset[str]] = {}

    def first(self, candidates: Iterable[str]) -> str | None:
        """The first of some paths below the root that exists, or None."""
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


def needed_path(recipe: Recipe, root: Path, variant: str, path: str) -> Path:
    """Path of a file or folder among those that a recipe needs.

    Args:
        recipe: whose `needs` are looked through.
        root: folder of the dataset.
        variant: of the recipe.
        path: as `needs` has it.

    Raises:
        InputError: that names every file the recipe needs, if there is no such file.
    """
    found = optional_path(recipe, root, variant, path)
    if found is None:
        raise InputError(f"{recipe.name}: there is no {path} below {root}. {describe_needs(recipe.needs(variant))}")
    return found


def optional_path(recipe: Recipe, root: Path, variant: str, path: str) -> Path | None:
    """As `needed_path`, but None if there is no such file."""
    needed = next(need for need in recipe.needs(variant) if need.path == path)
    places = (root / place for place in (needed.path, *needed.elsewhere))
    return next((place for place in places if place.exists()), None)


def describe_needs(needs: tuple[NeededFile, ...]) -> str:
    """What a folder must hold, a line for each file."""
    width = max(len(need.path) for need in needs)
    return "It must hold\n" + "\n".join(f"  {need.path:<{width}}  {need.origin}" for need in needs)


def malformed(path: Path, line: int | None, expected: str, found: object) -> InputError:
    """The error for a file that is not what it should be."""
    place = str(path) if line is None else f"{path}, line {line}"
    return InputError(f"{place}: expected {expected}, found {found!r}")


def read_text(path: Path) -> str:
    """Text of a file in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, found a byte that is not ({error.reason})") from error


def read_rows(path: Path, delimiter: str, columns: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a delimited file with a header.

    Args:
        path: the file.
        delimiter: between cells; cells may be quoted.
        columns: that the file must have; it may have more.

    Returns:
        (line number, cells by column) for each row, in order; cells and names are stripped.

    Raises:
        InputError: if a column is missing or there twice, or a row ends before the last of them or goes on after the
            header's last, by which cells may belong to other columns.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in columns if name not in header]
    if missing:
        raise malformed(path, 1, f"a column {missing[0]!r} in the header", delimiter.join(header)[:80])
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise malformed(path, 1, f"one column {twice[0]!r} in the header", delimiter.join(header)[:80])
    least = 1 + max(header.index(name) for name in columns)
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < least:
            raise malformed(path, reader.line_num, f"at least {least} cells", delimiter.join(cells)[:80])
        if any(cell.strip() for cell in cells[len(header) :]):
            raise malformed(path, reader.line_num, f"at most {len(header)} cells", delimiter.join(cells)[:80])
        rows.append((reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=False)}))
    return rows
