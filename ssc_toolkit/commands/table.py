"""The command `ssc-toolkit table`."""

from __future__ import annotations

import importlib
import logging
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.data.cells import SEPARATOR
from ssc_toolkit.data.folders import find_audio_files
from ssc_toolkit.data.playlists import PLAYLIST_SUFFIXES, find_playlists, read_playlist
from ssc_toolkit.data.recipes.base import SPLITS
from ssc_toolkit.data.tags import COLUMNS, try_tags
from ssc_toolkit.data.tracks import add_splits
from ssc_toolkit.data.validation import check_audio
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import clear_leftovers, lock_file, make_writable_folder, write_text
from ssc_toolkit.options.table import TableOptions
from ssc_toolkit.paths import user_path
from ssc_toolkit.progress import progress_bar
from ssc_toolkit.reports.page import format_table

logger = logging.getLogger(__name__)

_FRACTIONS = (0.6, 0.2, 0.2)
_MAX_NAMED = 20
_MAX_VALUES = 5
_MAX_LETTERS = 30


def table(options: TableOptions) -> Path:
    """Write a track table of the audio files in a folder, from their tags, folders and playlists.

    The columns are printed with their most frequent values. Files that are left out are counted and named in warnings.

    Args:
        options: options of the command, as on the command line.

    Returns:
        Path of the written file.

    Raises:
        InputError: if an option is invalid, the output file exists, or the folder has no audio that can be used.
        ModuleNotFoundError: if mutagen is not installed.
    """
    options.check()
    importlib.import_module("mutagen")  # raise the error before the work starts if it is missing
    folder, out = user_path(options.tracks, "tracks"), user_path(options.out, "out")
    make_writable_folder(out.absolute().parent, "out")
    with lock_file(out, "out"):
        options.check_overwrite()
        clear_leftovers(out.absolute().parent, names=[out.name])
        paths, playlists = find_audio_files(folder, PLAYLIST_SUFFIXES)
        named = _with_valid_names(folder, paths)
        found = pd.DataFrame({"path": pd.Series([str(path.absolute()) for path in named], dtype=object)})
        usable = check_audio(found, max_unusable=1.0).frame
        frame = _describe(folder, [Path(path) for path in usable["path"]], playlists)
        frame["seconds"] = usable["seconds"].round(3).to_numpy()
        if options.split:
            frame = _with_split(frame, options.group_by or "artist", options.seed)
        write_text(out, format_csv(list(frame), frame.to_numpy(dtype=object).tolist()))
    print(summarize(frame))
    hours = frame["seconds"].sum() / 3600
    left_out = len(paths) - len(frame)
    print(f"\n{len(frame)} tracks ({hours:.2f} h) in {out}; left out: {left_out} of {len(paths)} audio files")
    print(f"use it with --tracks={shlex.quote(str(out))} --root={shlex.quote(str(folder))}")
    return out


def _describe(folder: Path, paths: Sequence[Path], playlists: Sequence[Path]) -> pd.DataFrame:
    """Return the table of audio files in a folder. Columns without any value are left out."""
    with ThreadPoolExecutor() as pool:
        answers = list(progress_bar(pool.map(try_tags, paths), total=len(paths), desc="reading tags"))
    inside = [path.relative_to(folder.absolute()) for path in paths]
    columns: dict[str, list[str]] = {"path": [_written(path.as_posix()) for path in inside]}
    columns |= {name: [tags.get(name, "") for tags, _ in answers] for name in COLUMNS}
    columns["folder"] = [path.parts[0].replace(SEPARATOR, "/") if len(path.parts) > 1 else "" for path in inside]
    columns["playlist"] = _playlist_column(paths, playlists)
    _report("files whose tags cannot be read, so that they have no values: %d (%s)", [why for _, why in answers if why])
    return pd.DataFrame({name: [cell or None for cell in cells] for name, cells in columns.items() if any(cells)})


def _with_valid_names(folder: Path, paths: Sequence[Path]) -> list[Path]:
    """Return the files whose paths in the folder are valid UTF-8, which a table can contain, and report the others."""
    texts = [os.fsencode(path.absolute().relative_to(folder.absolute())) for path in paths]
    valid = [text.decode("utf-8", "ignore").encode() == text for text in texts]
    shown = [str(text)[2:-1] for text, is_valid in zip(texts, valid, strict=True) if not is_valid]
    if not any(valid):
        raise InputError(f"tracks: expected files whose names are valid UTF-8 in {folder}, got {', '.join(shown[:3])}")
    _report("files left out, because their names are not valid UTF-8; rename them: %d (%s)", shown)
    return [path for path, is_valid in zip(paths, valid, strict=True) if is_valid]


def _written(path: str) -> str:
    """Return a relative path that is read as one, although it begins as a home folder or a URL does."""
    return f"./{path}" if path.lower().startswith(("~", "file:")) else path


def _playlist_column(paths: Sequence[Path], playlists: Sequence[Path]) -> list[str]:
    entries, unreadable = {}, []
    for path in playlists:
        try:
            entries[path] = read_playlist(path)
        except InputError as error:
            unreadable.append(str(error))
    cells, unknown = find_playlists(paths, entries)
    _report("playlists that cannot be read: %d (%s)", unreadable)
    _report(
        "playlists with entries that are no tracks of the table: %d (%s)",
        [f"{path}: {len(some)} of {len(entries[path])}, such as {some[0]}" for path, some in unknown.items() if some],
    )
    return cells


def _report(message: str, texts: Sequence[str]) -> None:
    """Log a warning with the number of texts and the first of them, if there are any."""
    if texts:
        more = f"; and {len(texts) - _MAX_NAMED} more" if len(texts) > _MAX_NAMED else ""
        logger.warning(message, len(texts), "; ".join(texts[:_MAX_NAMED]) + more)


def _with_split(frame: pd.DataFrame, group_by: str, seed: int) -> pd.DataFrame:
    """Add the column `split`. Tracks with the same value in the column `group_by` get the same split."""
    if group_by == "none":
        groups = frame["path"]
    elif group_by in frame:
        # Spellings and further artists of a track do not make other groups.
        groups = frame[group_by].str.casefold().str.split(SEPARATOR, regex=False).str[0]
    else:
        raise InputError(f"group_by: expected a column with values, got {group_by}, which no track has")
    if groups.isna().any():
        logger.warning("%d tracks have no %s, and are split one by one", groups.isna().sum(), group_by)
    split = add_splits(frame.assign(group=groups), seed, fractions=_FRACTIONS).frame.drop(columns="group")
    empty = [name for name in SPLITS if name not in set(split["split"])]
    if empty:
        logger.warning("no track is in the split %s: there are too few groups", " or ".join(empty))
    return split


def summarize(frame: pd.DataFrame) -> str:
    """Return a text table with the number of values of each column of a track table, and the most frequent values.

    Args:
        frame: track table. Several labels in a cell are separated by `|`.

    Examples:
        >>> print(summarize(pd.DataFrame({"path": ["a", "b"], "genre": ["jazz|live", "jazz"]})))
        | column | tracks with a value | values | most frequent  |
        |--------|---------------------|--------|----------------|
        | path   | 2                   | 2      |                |
        | genre  | 2                   | 2      | jazz 2, live 1 |
    """
    rows = []
    for name in frame:
        known = frame[name].dropna().astype(str)
        counts = Counter(part for cell in known for part in (cell.split(SEPARATOR) if name != "path" else [cell]))
        frequent = counts.most_common(_MAX_VALUES) if name not in ("path", "seconds") else []
        shown = ", ".join(f"{value[:_MAX_LETTERS]} {count}" for value, count in frequent)
        rows.append([str(name), str(len(known)), str(len(counts)), shown])
    return format_table(["column", "tracks with a value", "values", "most frequent"], rows)
