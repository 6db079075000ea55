"""Loading of track tables from CSV files, folders, audio stores and published datasets, and random splits."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.audio import list_readable_suffixes
from ssc_toolkit.checks import check_integer
from ssc_toolkit.csv_files import read_csv
from ssc_toolkit.data.cells import format_cells
from ssc_toolkit.data.folders import from_folder
from ssc_toolkit.data.recipes import RECIPES, dataset_tracks
from ssc_toolkit.data.recipes.base import SPLITS
from ssc_toolkit.data.store.layout import is_store
from ssc_toolkit.data.store.stored_tracks import StoredTracks
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.names import DEFAULT_CORPUS
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import local_path, missing_hint

logger = logging.getLogger(__name__)

_WHOLE = r"-?(?:0|[1-9][0-9]*)"
_DECIMAL = r"-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?(?<![-.eE])"
_PATH_NAMES = ("path", "file", "filename", "filepath")
_KNOWN_COLUMNS = ("split", "group")
_THOUSANDS = r"-?[1-9][0-9]{0,2},[0-9]{3}"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_MAX_DIGITS = 18  # integers with at most this many characters, including the sign, fit into 64 bits
_MAX_EXACT_DIGITS = 15  # integers with at most this many characters are exact as floats
_UNKNOWN_IN_WORDS = r"(?i)(?:^|\|)\s*(?:nan|none|null)\s*(?:\||$)"


def load_tracks(source: str | Path, root: str | Path | None = None, variant: str | None = None) -> TrackTable:
    r"""Load the track table of a CSV file, audio folder, audio store, published dataset or the default corpus.

    Args:
        source: path of a CSV file (see `from_csv`), path of a folder of audio files (see `from_folder`), path or URL of
            an audio store (see `AudioStore`), name of a published dataset (a key of `RECIPES`), or "scores" for the
            default corpus (see `build_corpus`). A missing default corpus is rendered first.
        root: folder of a published dataset, or folder that relative paths in a CSV file start from (by default, the
            folder of the CSV file). It is ignored for an audio store. It is an error for a folder or "scores".
        variant: variant of a published dataset, which determines its labels and splits. By default, its first variant.

    Returns:
        A table with one row for each track. It has the column `path` (absolute) and the other columns of the source,
        such as `split` ("train", "valid" or "test"), `group` and label columns. The attribute `dataset` of the table
        contains the metadata of a published dataset.

    Raises:
        InputError: if the source is missing or empty, if files of a dataset are missing (the message lists them), if
            `variant` is given for a source that is not a dataset, or if `root` is given for a folder or "scores".

    Examples:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "my.csv").write_text("path,genre\na.wav,jazz\nb.wav,\n")
        >>> load_tracks(folder / "my.csv")["genre"].tolist()
        ['jazz', nan]
    """
    source = local_path(source, "tracks")
    root = None if root is None else local_path(root, "root")
    path = Path(source)
    TrackSource(tracks=source, root=root, variant=variant).check()
    if source in RECIPES:
        return dataset_tracks(source, root or "", variant)
    if source == DEFAULT_CORPUS:
        from ssc_toolkit.data.corpus import build_corpus

        return from_csv(build_corpus() / "tracks.csv")
    if is_store(source):
        return StoredTracks(source).tracks
    if path.is_dir():
        return from_folder(path)
    if path.suffix.lower() in list_readable_suffixes():
        raise InputError(f"tracks: {source} is an audio file; give its folder, or a CSV file that lists it")
    return from_csv(path, root)


def as_track_table(tracks: Tracks) -> TrackTable:
    """Convert a data frame, path or URL to a track table.

    Args:
        tracks: a track table is returned unchanged. A data frame becomes a table whose audio is read from the files in
            the column `path`. A path, a URL or "scores" is loaded by `load_tracks`.

    Raises:
        InputError: if `tracks` has another type, or in the same cases as `load_tracks`.

    Examples:
        >>> as_track_table(pd.DataFrame({"path": ["a.wav"]}))
        TrackTable(1 tracks, columns path)
    """
    if isinstance(tracks, TrackTable):
        return tracks
    if isinstance(tracks, pd.DataFrame):
        return TrackTable(tracks)
    if isinstance(tracks, str | Path):
        return load_tracks(tracks)
    raise InputError(f"tracks: expected a table, a data frame or a path, got {type(tracks).__name__}")


def from_csv(
    path: str | Path, root: str | Path | None = None, *, split: str = "split", group: str = "group"
) -> TrackTable:
    r"""Load the track table of a CSV file.

    The file is text in UTF-8, or in UTF-16 with a byte order mark. Cells are separated by commas, semicolons or tabs.
    The header has a column `path` (or `file`, `filename` or `filepath`), and every row has as many cells as the header.
    The names of this column and of `split` and `group` may be in upper case. Only an empty cell is a missing value.
    Numbers may have a decimal comma. `encode_labels` converts label columns to tensors. A path is absolute, relative to
    `root`, begins with `~/`, or is a `file://` URL. Spaces at the start of a path are removed, unless the path is
    quoted or a file with this name exists. Spreadsheets need an apostrophe before cells that look like a formula
    (`'=a.wav`). This apostrophe is removed.

    Args:
        path: path of the CSV file.
        root: folder that relative paths start from. By default, the folder of the CSV file.
        split: name of the column that contains the split ("train", "valid" or "test"), if there is one.
        group: name of the column that contains the group of each track, such as the artist, if there is one.

    Returns:
        The table, with absolute paths. The columns of split and group are renamed to `split` and `group`.

    Raises:
        InputError: if the file cannot be read, has no paths, has a malformed header or row (the message gives the
            line), contains an unknown split, or lists a track in two splits.

    Examples:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("path,artist,fold\na.wav,Ann,train\nb.wav,Bob,test\n")
        >>> list(from_csv(file, split="fold", group="artist"))
        ['path', 'group', 'split']
    """
    path = Path(local_path(path, "tracks"))
    root = path.parent if root is None else Path(local_path(root, "root"))
    if not root.is_dir():
        raise InputError(f"root: there is no folder {root}{missing_hint(root)}")
    tracks = _read_csv(path, root)
    for argument, column, name in (("split", split, "split"), ("group", group, "group")):
        if column != name and column not in tracks:
            raise InputError(f"{argument}: {path} has no column {column!r}")
        if column != name and name in tracks:
            raise InputError(f"{argument}: {path} has a column {name!r} as well as {column!r}; rename or drop one")
        tracks = tracks.rename(columns={column: name})
    missing = int(tracks["path"].isna().sum())
    if missing == len(tracks):
        raise InputError(f"tracks: {path} lists no tracks")
    if missing:
        logger.warning("%d rows of %s have no path and are left out", missing, path)
    tracks = tracks[tracks["path"].notna()].reset_index(drop=True)
    urls = [repr(name) for name in tracks["path"] if _URL.match(name) and not name.lower().startswith("file:")]
    if urls:
        raise InputError(f"tracks: {path} lists the URL {_some(urls)}; expected paths of files on this machine")
    tracks["path"] = [str((root / local_path(name, f"tracks: {path}")).absolute()) for name in tracks["path"]]
    repeated = int(tracks["path"].duplicated().sum())
    if repeated:
        logger.warning("%d rows of %s repeat the path of another row", repeated, path)
    if "split" in tracks:
        _check_splits(tracks, path)
    return TrackTable(tracks)


def _read_csv(path: Path, root: Path) -> pd.DataFrame:
    """Read a CSV file to a table of text and numbers. Relative paths are resolved from the folder `root`.

    Only empty cells are missing values, because "None" or "NA" may be a class name.
    """
    read = read_csv(path, "tracks", _PATH_NAMES, lambda name: _is_file(root / name))
    columns = _in_lower_case(read.columns)
    cells = zip(*(row for _, row in read.rows), strict=True) if read.rows else ([] for _ in columns)
    table = {
        name: pd.Series([cell or np.nan for cell in column], dtype=object)
        for name, column in zip(columns, cells, strict=True)
    }
    for name, column in table.items():
        if name != "path":
            table[name] = _as_numbers(_with_decimal_points(column, read.separator, f"column {name!r} of {path}"))
    tracks = pd.DataFrame(table)
    _hint_at_unknowns_in_words(tracks, path)
    return tracks


def _in_lower_case(columns: Sequence[str]) -> list[str]:
    """Convert names such as `Split` and `GROUP` to lower case, unless a name would then occur twice."""
    found = list(columns)
    for name in _KNOWN_COLUMNS:
        places = [place for place, column in enumerate(columns) if column.casefold() == name]
        if name not in columns and len(places) == 1:
            found[places[0]] = name
    return found


def _some(texts: Sequence[str], shown: int = 10) -> str:
    return ", ".join(texts[:shown]) + (f" and {len(texts) - shown} more" if len(texts) > shown else "")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long
        return False


def _hint_at_unknowns_in_words(tracks: pd.DataFrame, path: Path) -> None:
    """Warn about cells of the table of a CSV file with a text such as "NaN", which may mean a missing value."""
    for name in tracks.select_dtypes(exclude="number").columns.drop("path"):
        odd = tracks[name][tracks[name].str.contains(_UNKNOWN_IN_WORDS, na=False)]
        if len(odd):
            logger.warning(
                "column %r of %s contains %r (%d rows), which is read as a name; leave cells of unknown values empty",
                name, path, odd.iloc[0], len(odd),
            )  # fmt: skip


def _with_decimal_points(cells: pd.Series, separator: str, name: str) -> pd.Series:
    """Replace decimal commas by points in a column of text, if all its cells are whole numbers or have a decimal comma.

    A number such as 1,234 has a decimal comma for certain in a file with semicolons, which avoid the comma. In other
    files, a column of such numbers stays text, and a warning names the column, whose description is `name`.
    """
    texts = cells.dropna().str.strip()
    if not len(texts) or texts.str.contains(".", regex=False).any() or not texts.str.contains(",", regex=False).any():
        return cells
    with_points = texts.str.replace(",", ".", regex=False)
    if not with_points.str.fullmatch(_DECIMAL).all():
        return cells
    with_comma = texts[texts.str.contains(",", regex=False)]
    if separator != ";" and with_comma.str.fullmatch(_THOUSANDS).all():
        logger.warning(
            "%s is read as text: %r may be a decimal or a thousand; write numbers with a decimal point",
            name, with_comma.iloc[0],
        )  # fmt: skip
        return cells
    return with_points.reindex(cells.index)


def _as_numbers(cells: pd.Series) -> pd.Series:
    """Convert a column of text to numbers, unless cells of different text would become equal.

    For example, 007 and 7 in one column stay text.

    Whole numbers become integers, also if the column has missing values. Numbers that need more than 64 bits stay text.
    """
    texts = cells.dropna().str.strip()
    if not len(texts):
        return cells
    is_whole = texts.str.fullmatch(_WHOLE)
    if is_whole.all():
        if texts.str.len().max() > _MAX_DIGITS:
            return cells
        if len(texts) == len(cells):
            return pd.Series([int(text) for text in texts], index=cells.index, dtype="int64")
        known = {row: int(text) for row, text in texts.items()}
        return pd.Series([known.get(row, pd.NA) for row in cells.index], index=cells.index, dtype="Int64")
    if not texts.str.fullmatch(_DECIMAL).all() or texts[is_whole].str.len().max() > _MAX_EXACT_DIGITS:
        return cells
    values = texts.map(float)
    if texts.nunique() != values.nunique() or not np.isfinite(values).all():
        return cells
    return values.reindex(cells.index)


def _check_splits(tracks: pd.DataFrame, path: Path) -> None:
    """Check the column `split` of the table of a CSV file.

    An unknown split, or a track in two splits, raises InputError. For a group in two splits, a warning is issued.
    """
    if not set(tracks["split"].dropna()) <= set(SPLITS):
        odd = sorted(set(map(str, tracks["split"].dropna())) - set(SPLITS))
        raise InputError(f"tracks: column 'split' of {path}: expected {', '.join(SPLITS)}, got {', '.join(odd)}")
    known = tracks.dropna(subset="split")
    sides = known.groupby("path")["split"].nunique()
    if (sides > 1).any():
        raise InputError(f"tracks: {path} has {_some(sides.index[sides > 1].tolist())} in more than one split")
    if "group" in known:
        apart = known.groupby("group")["split"].nunique()
        apart = apart[apart > 1]
        if len(apart):
            logger.warning("%d groups of %s are in more than one split, such as %s", len(apart), path, apart.index[0])


def add_splits(
    tracks: Tracks, seed: int = 0, *, group: str = "group", fractions: Sequence[float] = (0.7, 0.1, 0.2)
) -> TrackTable:
    """Assign a split to each track if the table has no `split` column.

    Tracks with the same value in the group column get the same split, so that, for example, no artist is in two splits.
    A track whose group is missing is a group of its own. If the table already has a `split` column, it is kept, and
    missing cells become "train".

    Args:
        tracks: track table, data frame or path of a table.
        seed: seed of the random assignment. The result does not depend on the order of the rows.
        group: name of the group column. If the table has no column `group`, each track is a group of its own.
        fractions: fractions of the groups for the training, validation and test sets. They must sum to 1.

    Returns:
        The table with a column `split` that contains "train", "valid" and "test".

    Raises:
        InputError: if the seed is negative, if a `group` other than the default is not a column, or if the fractions do
            not sum to 1.

    Examples:
        >>> table = pd.DataFrame({"path": list("abcdef"), "artist": ["x", "x", "y", "y", "z", "z"]})
        >>> split = add_splits(table, group="artist", fractions=(2 / 3, 0, 1 / 3))
        >>> split.frame.groupby("artist")["split"].nunique().tolist()
        [1, 1, 1]
    """
    tracks = as_track_table(tracks)
    if "split" in tracks:
        return tracks.assign(split=tracks["split"].fillna("train"))
    check_integer("seed", seed, 0)
    if len(fractions) != len(SPLITS) or min(fractions) < 0 or not abs(sum(fractions) - 1) <= 1e-6:
        raise InputError(
            f"fractions: expected three fractions that sum to 1 (train, valid, test), got {tuple(fractions)}"
        )
    if group != "group" and group not in tracks:
        raise InputError(f"group: there is no column {group!r} among {', '.join(map(repr, tracks))}")
    groups = pd.Series([f"path {path}" for path in tracks["path"]], index=tracks.frame.index)
    if group in tracks:
        texts = pd.Series(format_cells(tracks[group]), index=tracks.frame.index, dtype=object)
        groups = groups.where(texts.isna(), texts)
    names = sorted(groups.unique())
    places = np.random.default_rng(seed).permutation(len(names)) / len(names)
    train, valid, _ = np.cumsum(fractions)
    sides = dict(zip(names, np.select([places < train, places < valid], ["train", "valid"], "test"), strict=True))
    return tracks.assign(split=groups.map(sides))


def dataset_of(tracks: Tracks) -> dict[str, Any]:
    """Return the metadata that identify the published dataset of a table, to be stored with results.

    Args:
        tracks: track table, data frame or path of a table.

    Returns:
        A dictionary with `name`, `variant`, `split_hash`, `labels_hash` and `tracks` (the number of rows). The hashes
        are those of the whole dataset, even if the table contains only some of its tracks. The dictionary is empty if
        the table does not come from a published dataset.

    Examples:
        >>> dataset_of(pd.DataFrame({"path": ["a.wav"]}))
        {}
    """
    tracks = as_track_table(tracks)
    described = tracks.dataset
    identity = {name: described[name] for name in ("name", "variant", "split_hash", "labels_hash") if name in described}
    return {**identity, "tracks": len(tracks)} if identity else {}
