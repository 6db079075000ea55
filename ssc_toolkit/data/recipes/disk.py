"""Functions that find and read the files of a published dataset, and report missing and malformed files."""

from __future__ import annotations

import csv
import io
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


def make_malformed_error(path: Path, line: int | None, expected: str, found: object) -> InputError:
    """Return an InputError whose message gives the line of a malformed file and what was expected and found there."""
    place = str(path) if line is None else f"{path}, line {line}"
    return InputError(f"{place}: expected {expected}, got {found!r}")


def read_text(path: Path) -> str:
    """Read a text file that is encoded in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, got another encoding ({error.reason})") from error


def read_rows(path: Path, delimiter: str, columns: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV file with a header.

    Args:
        path: path of the file.
        delimiter: delimiter between cells. Cells may be quoted.
        columns: names of the columns that the file must have. It may have others.

    Returns:
        For each row, its line number and a dictionary from column name to cell. Spaces around names and cells are
        removed.

    Raises:
        InputError: if one of `columns` is missing or occurs twice, or if a row has too few cells for these columns or
            more cells than the header.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    missing = [name for name in columns if name not in header]
    if missing:
        raise make_malformed_error(path, 1, f"a column {missing[0]!r} in the header", delimiter.join(header)[:80])
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise make_malformed_error(path, 1, f"one column {twice[0]!r} in the header", delimiter.join(header)[:80])
    least = 1 + max(header.index(name) for name in columns)
    rows = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) < least:
            raise make_malformed_error(path, reader.line_num, f"at least {least} cells", delimiter.join(cells)[:80])
        if any(cell.strip() for cell in cells[len(header) :]):
            raise make_malformed_error(
                path, reader.line_num, f"at most {len(header)} cells", delimiter.join(cells)[:80]
            )
        rows.append((reader.line_num, {name: cell.strip() for name, cell in zip(header, cells, strict=False)}))
    return rows
