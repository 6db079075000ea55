"""Functions that write CSV files that are safe to open in spreadsheets, and that read and check CSV files."""

from __future__ import annotations

import codecs
import csv
import io
import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssc_toolkit.errors import InputError, make_malformed_error
from ssc_toolkit.files import reading

# Spreadsheets also treat the full-width forms of these signs as the start of a formula.
_FORMULA = re.compile(r"'*[\s\x00-\x1f\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|'*[\t\r\n\x00]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_QUOTED = re.compile(r"""[,;"\r\n\t']|^\s|\s$""")
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
"""Names of the separators of cells that `read_csv` accepts."""
_QUOTED_CELL = r' *"([^"]*(?:""[^"]*)*)"%s*(%s|\r\n|\r|\n|\Z)|([^%s\r\n]*)(%s|\r\n|\r|\n|\Z)'
_CELLS = {
    separator: re.compile(_QUOTED_CELL % (" " if separator == "\t" else "[ \t]", separator, separator, separator))
    for separator in SEPARATORS
}
_MARKS = {  # those of UTF-32 come first, because they begin as those of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_MAX_SHOWN = 40
_MAX_ROWS_SHOWN = 10


@dataclass(frozen=True)
class CsvTable:
    """Content of a CSV file.

    Attributes:
        columns: names of the columns. The required column has the name that `read_csv` requires.
        rows: number of the first line, and cells, of each row.
        separator: separator of the cells, a key of `SEPARATORS`.
    """

    columns: list[str]
    rows: list[tuple[int, list[str]]]
    separator: str


def format_csv(columns: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    r"""Return the text of a CSV file.

    A cell that begins with =, +, -, @, a tab or a line end is written with an apostrophe in front, because a
    spreadsheet would treat it as a formula. A cell that begins with apostrophes followed by one of these characters
    gets one more apostrophe. `read_csv` removes the added apostrophe. Numbers are written unchanged.

    Args:
        columns: names of the columns.
        rows: cells of each row; None and NaN are written as empty cells.

    Returns:
        The text, with a line for the header and one for each row.

    Examples:
        >>> print(format_csv(["path", "drop"], [["=1+1.wav", -0.05], ["a, b", None]]), end="")
        path,drop
        "'=1+1.wav",-0.05
        "a, b",
    """
    return "".join(",".join(map(_written, cells)) + "\n" for cells in [columns, *rows])


def _written(cell: Any) -> str:
    if cell is None or cell != cell or type(cell).__name__ == "NAType":  # only NaN differs from itself
        return ""
    text = str(cell).encode(errors="backslashreplace").decode()
    is_number = isinstance(cell, numbers.Number) or _NUMBER.fullmatch(text)
    if not is_number and _FORMULA.match(text):
        text = f"'{text}"
    if _QUOTED.search(text) and not is_number:
        return '"' + text.replace('"', '""') + '"'
    return text


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def read_csv(
    path: Path, argument: str, required: Sequence[str], keeps_blanks: Callable[[str], bool] = lambda cell: False
) -> CsvTable:
    r"""Read a CSV file with a header.

    The file is text in UTF-8, with or without a byte order mark, or text in UTF-16 or UTF-32 with one. Cells are
    separated by commas, semicolons or tabs, and quoted where needed. The separator is the one by which the header has
    the required column. Every row must have as many cells as the header. Empty lines, spaces at the start of an
    unquoted cell, and the apostrophes that `format_csv` adds are removed.

    Args:
        path: path of the file.
        argument: name of the argument that gave the path, for error messages.
        required: names of a column that the file must have, in lower case, in order of preference. The first name is
            that of the column in the result. Upper and lower case are equal in the file.
        keeps_blanks: function that takes a cell of the required column that begins with spaces, and returns True to
            keep the spaces.

    Returns:
        The columns, the rows and the separator.

    Raises:
        InputError: if the file cannot be read or is malformed. The message names the file and, if possible, the line.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("Path;genre\na.wav;jazz\n")
        >>> read_csv(file, "tracks", ["path"])
        CsvTable(columns=['path', 'genre'], rows=[(2, ['a.wav', 'jazz'])], separator=';')
        >>> _ = file.write_text("path,genre\na.wav,jazz,\n")
        >>> read_csv(file, "tracks", ["path"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: tracks: ...my.csv, line 2: expected 2 cells as in the header, got 3...
    """
    name = f"{argument}: {path}"
    text = _text(path, argument)
    separator = _choose_separator(text, required)
    rows = _rows(text, name, separator)
    line, header, _ = next(rows, (0, [], []))
    if not line:
        raise InputError(f"{name} is empty; expected a header with a {required[0]!r} column and a row for each track")
    place = _check_header(header, f"{name}, line {line}", required)
    found, odd = [], []
    for line, cells, with_blanks in rows:
        if len(cells) != len(header):
            odd.append((line, cells))
            continue
        if cells[place] != with_blanks[place] and keeps_blanks(with_blanks[place]):
            cells[place] = with_blanks[place]
        found.append((line, [_unescaped(cell) for cell in cells]))
    if odd:
        raise _uneven_rows(odd, len(header), name, SEPARATORS[separator])
    columns = [_unescaped(column) for column in header]
    columns[place] = required[0]
    return CsvTable(columns, found, separator)


def _uneven_rows(odd: list[tuple[int, list[str]]], count: int, name: str, separator: str) -> InputError:
    """Return the error for rows, each a line number and cells, whose number of cells is not `count`."""
    line, cells = odd[0]
    hint = f" (a {separator} at the end of the line?)" if len(cells) == count + 1 and not cells[-1] else ""
    others = ", ".join(str(line) for line, _ in odd[1:_MAX_ROWS_SHOWN])
    more = len(odd) - _MAX_ROWS_SHOWN
    also = f"; also in line {others}{f' and in {more} more' if more > 0 else ''}" if others else ""
    return InputError(f"{name}, line {line}: expected {count} cells as in the header, got {len(cells)}{hint}{also}")


def _text(path: Path, argument: str) -> str:
    with reading(argument, path, "give a CSV file"):
        content = path.read_bytes()
    name = f"{argument}: {path}"
    encoding = next((encoding for mark, encoding in _MARKS.items() if content.startswith(mark)), "UTF-8")
    if encoding == "UTF-8" and b"\x00" in content:
        line = content[: content.index(b"\x00")].count(b"\n") + 1
        raise InputError(
            f"{name}, line {line}: expected text in UTF-8, got a zero byte (is it a spreadsheet, or text in UTF-16 "
            "without a byte order mark? save it as a CSV file in UTF-8)"
        )
    try:
        text = content.decode("utf-8-sig" if encoding == "UTF-8" else encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        guess = " (probably in Latin-1 or Windows-1252)" if encoding == "UTF-8" else ""
        raise InputError(
            f"{name}, line {line}: is not text in {encoding}{guess}; save it as a CSV file in UTF-8"
        ) from error
    if "\0" in text:
        raise InputError(f"{name}: expected text, got a zero character; save it as a CSV file in UTF-8")
    return text


def _choose_separator(text: str, required: Sequence[str]) -> str:
    """Return the separator by which the header of a CSV text has the required column.

    If there is none, return the one by which the header has the most cells.
    """
    counts = {}
    for separator in SEPARATORS:
        try:
            _, header, _ = next(_rows(text, "", separator), (0, [], []))
        except InputError:
            continue
        if _places(header, required):
            return separator
        counts[separator] = len(header)
    return max(counts, key=lambda separator: counts[separator], default=",")


def _places(header: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the places of the required column in a header: of the first of `names` that is there, in any case."""
    written = [column.strip() for column in header]
    if names[0] in written:
        return [written.index(names[0])]
    found = ([place for place, column in enumerate(written) if column.casefold() == name] for name in names)
    return next((places for places in found if places), [])


def _rows(text: str, name: str, separator: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield the rows of a CSV text that are not blank.

    A row is a line number, a list of cells without leading spaces, and a list of cells with leading spaces. `name` is
    the file for error messages.
    """
    place, line = 0, 1
    while place < len(text):
        end_of_line = _LINE.match(text, place)
        assert end_of_line
        if '"' not in end_of_line[1]:
            with_blanks, place, ends = end_of_line[1].split(separator), end_of_line.end(), 1
            cells = [cell.lstrip(" ") for cell in with_blanks]
        else:
            cells, with_blanks, place, ends = _quoted_row(text, place, f"{name}, line {line}", separator)
        if len(cells) > 1 or cells[0].strip():
            yield line, cells, with_blanks
        line += ends


def _quoted_row(text: str, place: int, where: str, separator: str) -> tuple[list[str], list[str], int, int]:
    """Read a row with quotes that begins at position `place` of a CSV text.

    Return the cells without and with leading spaces, the position of the end of the row, and its number of lines.
    `where` is the file and line for error messages.
    """
    cells: list[str] = []
    with_blanks: list[str] = []
    ends = 1
    while True:
        found = _CELLS[separator].match(text, place)
        assert found
        quoted, plain = found[1], found[3]
        if quoted is None and plain.lstrip(" ").startswith('"'):
            raise InputError(
                f"{where}: is not a CSV file: the quote of cell {len(cells) + 1} is not closed, or text follows its "
                f"end: {plain.strip()[:_MAX_SHOWN]!r}"
            )
        with_blanks.append(plain if quoted is None else quoted.replace('""', '"'))
        cells.append(with_blanks[-1] if quoted is not None else plain.lstrip(" "))
        if quoted is not None:
            ends += len(re.findall(r"\r\n|\r|\n", quoted))
        place = found.end()
        if (found[2] if quoted is not None else found[4]) != separator:
            return cells, with_blanks, place, ends


def _check_header(header: list[str], where: str, required: Sequence[str]) -> int:
    """Check the header of a CSV file, and return the place of the required column."""
    places = _places(header, required)
    if not places:
        shown = ", ".join(repr(column[:_MAX_SHOWN]) for column in header)
        others = f" (nor {', '.join(map(repr, required[1:]))})" if required[1:] else ""
        raise InputError(
            f"{where}: has no {required[0]!r} column{others} among {shown}; expected columns separated by commas, "
            "semicolons or tabs"
        )
    for number, column in enumerate(header, start=1):
        if not column.strip():
            raise InputError(f"{where}: column {number} has no name (a separator at the end of the line?)")
        if column != column.strip():
            raise InputError(f"{where}: expected a column name without blanks around it, got {column!r}")
        if header.index(column) + 1 != number:
            raise InputError(f"{where}: two columns are called {column!r}")
    if len(places) > 1:
        raise InputError(
            f"{where}: expected one {required[0]!r} column, got {' and '.join(repr(header[place]) for place in places)}"
        )
    return places[0]


def read_text(path: Path) -> str:
    """Read a text file that is encoded in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, got another encoding ({error.reason})") from error


def split_rows(lines: Iterable[str], delimiter: str = ",", *, quoted: bool = True) -> Iterator[tuple[int, list[str]]]:
    r"""Yield the number of the last line, and the cells, of each row of a published file that is not blank.

    Unlike `read_csv`, this accepts rows of any length, and spaces around cells, which are removed.

    Args:
        lines: lines of the file with their line ends, such as an open file.
        delimiter: delimiter between cells.
        quoted: whether cells may be quoted.

    Examples:
        >>> list(split_rows(["id, name\n", "\n", '1,"a, b"\n']))
        [(1, ['id', 'name']), (3, ['1', 'a, b'])]
    """
    reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells):
            yield reader.line_num, cells


def read_columns(path: Path, delimiter: str, columns: Iterable[str]) -> list[tuple[int, dict[str, str]]]:
    """Read some columns of a published file of cells with a header, such as the annotations of a dataset.

    Args:
        path: path of the file, which is text in UTF-8.
        delimiter: delimiter between cells. Cells may be quoted.
        columns: names of the columns that the file must have. It may have others.

    Returns:
        For each row, its line number and a dictionary from column name to cell.

    Raises:
        InputError: if one of `columns` is missing or occurs twice, or if a row has too few cells for these columns or
            more cells than the header.
    """
    lines = split_rows(io.StringIO(read_text(path), newline=""), delimiter)
    _, header = next(lines, (1, []))
    missing = [name for name in columns if name not in header]
    if missing:
        raise make_malformed_error(path, 1, f"a column {missing[0]!r} in the header", delimiter.join(header)[:80])
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise make_malformed_error(path, 1, f"one column {twice[0]!r} in the header", delimiter.join(header)[:80])
    least = 1 + max(header.index(name) for name in columns)
    rows = []
    for line, cells in lines:
        if len(cells) < least:
            raise make_malformed_error(path, line, f"at least {least} cells", delimiter.join(cells)[:80])
        if any(cells[len(header) :]):
            raise make_malformed_error(path, line, f"at most {len(header)} cells", delimiter.join(cells)[:80])
        rows.append((line, dict(zip(header, cells, strict=False))))
    return rows
