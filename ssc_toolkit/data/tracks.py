"""Track tables: data frames with a row for each audio file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.audio import missing_codecs, readable_suffixes
from ssc_toolkit.checks import check_whole
from ssc_toolkit.csv_files import read_csv
from ssc_toolkit.data.cells import cell_texts
from ssc_toolkit.data.recipes import RECIPES, dataset_tracks
from ssc_toolkit.data.recipes.base import SPLITS
from ssc_toolkit.data.store import AudioStore, is_store
from ssc_toolkit.errors import InputError
from ssc_toolkit.paths import audio_paths, describe_others, local_path, missing_hint

logger = logging.getLogger(__name__)

DEFAULT_CORPUS = "scores"
_WHOLE = r"-?(?:0|[1-9][0-9]*)"
_DECIMAL = r"-?(?:0|[1-9][0-9]*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?(?<![-.eE])"
_MAX_DIGITS = 18  # of a whole number, with its sign, that surely fits into 64 bits
_MAX_EXACT_DIGITS = 15  # of a whole number that is the same as a float
_UNKNOWN_IN_WORDS = r"(?i)(?:^|\|)\s*(?:nan|none|null)\s*(?:\||$)"


def load_tracks(source: str | Path, root: str | Path | None = None, variant: str | None = None) -> pd.DataFrame:
    r"""Track table of a published dataset, a CSV file, a folder of audio, an audio store, or the default corpus.

    Args:
        source: name of a dataset (`ssc_toolkit.data.RECIPES` lists them), the path of a CSV file, of a folder of
            audio, or of an audio store (or its URL), or "scores" for the default corpus, which is rendered now if it
            is not yet there.
        root: folder where the dataset lies, or that the paths in a CSV file start from (by default its own folder); a
            store needs none, whatever the settings that it is used with say.
        variant: of a dataset: which labels and which split; its first by default.

    Returns:
        A row for each track, with `path` (absolute) and whatever columns the source has, such as `split`
        ("train", "valid", "test"), `group` and labels. What a dataset says of itself (variant, names of the labels in
        their order, metrics, hash of the split) is in `tracks.attrs["dataset"]`.

    Raises:
        InputError: for a source that is missing or empty, a dataset of which files are missing (it says which), or a
            root where nothing starts from it.

    Examples:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "my.csv").write_text("path,genre\na.wav,jazz\nb.wav,\n")
        >>> load_tracks(folder / "my.csv")["genre"].tolist()
        ['jazz', nan]
    """
    source = local_path(source, "tracks")
    root = None if root is None else local_path(root, "root")
    name, path = source, Path(source)
    if name in RECIPES:
        if root is None:
            folder = f"; or give ./{name} for the folder of that name" if path.is_dir() else ""
            raise InputError(f"root: in which folder does the dataset {name} lie? give root{folder}")
        return dataset_tracks(name, root, variant)
    if variant is not None:
        raise InputError(f"variant: only a dataset has variants ({', '.join(RECIPES)}), not {source}")
    if root is not None and (name == DEFAULT_CORPUS or (path.is_dir() and not is_store(name))):
        raise InputError(f"root: the paths of a CSV file start from it, or a dataset lies there; {source} is neither")
    if name == DEFAULT_CORPUS:
        from ssc_toolkit.data.scores import build_corpus

        return from_csv(build_corpus() / "tracks.csv")
    if is_store(name):
        return AudioStore(name).tracks
    if path.is_dir():
        return from_folder(path)
    if path.is_file() and path.suffix.lower() in readable_suffixes():
        raise InputError(f"tracks: {source} is an audio file; give its folder, or a CSV file that lists it")
    if path.is_file():
        return from_csv(path, root)
    raise InputError(
        f"tracks: there is no file or folder {source}; give a CSV file or a folder, {DEFAULT_CORPUS!r} for the default "
        f"corpus, or a dataset ({', '.join(RECIPES)}){missing_hint(source)}"
    )


def from_csv(
    path: str | Path, root: str | Path | None = None, *, split: str = "split", group: str = "group"
) -> pd.DataFrame:
    r"""Track table of a CSV file in UTF-8 with a header and a `path` column.

    Every row has as many cells as the header. Only an empty cell is unknown. Labels may be of any kind;
    `encode_labels` makes tensors of them. Paths are absolute or relative to `root`, begin with `~/`, or are `file://`
    URLs. An apostrophe that keeps a spreadsheet from taking a cell for a formula (`'=a.wav`) is removed.

    Args:
        path: of the file.
        root: folder that relative paths start from; the file's own folder by default.
        split: name of the column that says "train", "valid" or "test", if there is one.
        group: name of the column whose tracks belong together, such as the artist, if there is one.

    Returns:
        The table; `split` and `group` are called so, `path` is absolute.

    Raises:
        InputError: naming the line for a row of another length or a header that is not clear; also if the file cannot
            be read or has no paths, a split is none of the three, or a track is in two.

    Examples:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "my.csv"
        >>> _ = file.write_text("path,artist,fold\na.wav,Ann,train\nb.wav,Bob,test\n")
        >>> from_csv(file, split="fold", group="artist").columns.tolist()
        ['path', 'group', 'split']
    """
    path = Path(local_path(path, "tracks"))
    root = path.parent if root is None else Path(local_path(root, "root"))
    if not root.is_dir():
        raise InputError(f"root: there is no folder {root}{missing_hint(root)}")
    tracks = _read_csv(path)
    for argument, column, name in (("split", split, "split"), ("group", group, "group")):
        if column != name and column not in tracks:
            raise InputError(f"{argument}: {path} has no column {column!r}")
        if column != name and name in tracks:
            raise InputError(f"{argument}: {path} has a column {name!r} beside {column!r}; which of them is meant?")
        tracks = tracks.rename(columns={column: name})
    missing = int(tracks["path"].isna().sum())
    if missing == len(tracks):
        raise InputError(f"tracks: {path} lists no tracks")
    if missing:
        logger.warning("%d rows of %s have no path and are left out", missing, path)
    tracks = tracks[tracks["path"].notna()].reset_index(drop=True)
    tracks["path"] = [str((root / local_path(name, f"tracks: {path}")).absolute()) for name in tracks["path"]]
    repeated = int(tracks["path"].duplicated().sum())
    if repeated:
        logger.warning("%d rows of %s repeat the path of another row", repeated, path)
    if "split" in tracks:
        _check_splits(tracks, path)
    return tracks


def _read_csv(path: Path) -> pd.DataFrame:
    """A table of text and numbers; only an empty cell is unknown: "None" or "NA" may be the name of a class."""
    columns, rows = read_csv(path, "tracks", "path")
    cells = zip(*(row for _, row in rows), strict=True) if rows else ([] for _ in columns)
    table = {
        name: pd.Series([cell or np.nan for cell in column], dtype=object)
        for name, column in zip(columns, cells, strict=True)
    }
    tracks = pd.DataFrame({name: column if name == "path" else _as_numbers(column) for name, column in table.items()})
    _hint_at_unknowns_in_words(tracks, path)
    return tracks


def _hint_at_unknowns_in_words(tracks: pd.DataFrame, path: Path) -> None:
    """Warn of cells such as "NaN", which other programs write for what is unknown."""
    for name in tracks.select_dtypes(exclude="number").columns.drop("path"):
        odd = tracks[name][tracks[name].str.contains(_UNKNOWN_IN_WORDS, na=False)]
        if len(odd):
            logger.warning(
                "column %r of %s holds %r (%d rows), which counts as a name; what is unknown is an empty cell",
                name, path, odd.iloc[0], len(odd),
            )  # fmt: skip


def _as_numbers(cells: pd.Series) -> pd.Series:
    """A column as numbers, if that loses nothing: 007 and 7, or 1.10 and 1.1, stay what they are.

    Whole numbers become integers, with gaps too, and never pass through float; those beyond 64 bits stay text.
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
    """Raise InputError for an unknown split, or a track in two; warn of a group in two."""
    if not set(tracks["split"].dropna()) <= set(SPLITS):
        odd = sorted(set(map(str, tracks["split"].dropna())) - set(SPLITS))
        raise InputError(f"tracks: column 'split' of {path} holds {', '.join(odd)}; expected {', '.join(SPLITS)}")
    known = tracks.dropna(subset="split")
    sides = known.groupby("path")["split"].nunique()
    if (sides > 1).any():
        raise InputError(f"tracks: {path} has {sides.index[sides > 1][0]} in more than one split")
    if "group" in known:
        apart = known.groupby("group")["split"].nunique()
        apart = apart[apart > 1]
        if len(apart):
            logger.warning("%d groups of %s are in more than one split, such as %s", len(apart), path, apart.index[0])


def from_folder(folder: str | Path, label: str | None = None) -> pd.DataFrame:
    """Track table of all audio files below a folder, in order of their paths.

    Links to folders are followed, each folder once. Hidden files and folders and `__MACOSX` are left out; files with
    other suffixes are counted in a warning.

    Args:
        folder: where to look, at any depth.
        label: name for a column that holds the name of the folder right below `folder` in which a file lies, as in
            `genres/jazz/one.wav`; unknown for files that lie in none. Without it there are no labels.

    Returns:
        The table.

    Raises:
        InputError: if there is no audio file.

    Examples:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("jazz/a.wav", "jazz/live/b.mp3", "rock/c.flac"):
        ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ...     (folder / name).touch()
        >>> from_folder(folder, label="genre")["genre"].tolist()
        ['jazz', 'jazz', 'rock']
    """
    folder = Path(local_path(folder, "tracks"))
    if not folder.is_dir():
        raise InputError(f"tracks: there is no folder {folder}{missing_hint(folder)}")
    paths, others = audio_paths(folder, readable_suffixes())
    if not paths:
        found = f"; found {describe_others(others)}{missing_codecs(others)}" if others else ""
        raise InputError(
            f"tracks: there is no audio file below {folder} (looked for {', '.join(readable_suffixes())}){found}"
        )
    if others:
        logger.warning("passed over below %s: %s%s", folder, describe_others(others), missing_codecs(others))
    names = pd.Series([str(path.absolute()) for path in paths], dtype=object)  # a name may not be text in UTF-8
    tracks = pd.DataFrame({"path": names})
    if label is not None:
        inside = [path.relative_to(folder).parts[:-1] for path in paths]
        tracks[label] = [parts[0] if parts else np.nan for parts in inside]
    return tracks


def with_splits(
    tracks: pd.DataFrame, seed: int = 0, *, group: str = "group", shares: Sequence[float] = (0.7, 0.1, 0.2)
) -> pd.DataFrame:
    """Give each track a split if the table has none.

    Tracks with the same value in the group column stay together, so that no artist, say, is on two sides. A track
    whose group is unknown is a group of its own. Rows whose `split` is empty in a table that has the column go to
    train.

    Args:
        tracks: track table.
        seed: of the split, which also does not depend on the order of the rows.
        group: name of the column; without such a column each track is a group.
        shares: of the groups that go to train, valid and test; they sum to 1.

    Returns:
        A copy with a `split` column.

    Raises:
        InputError: for a seed below 0, a column that is not there, or shares that do not sum to 1.

    Examples:
        >>> table = pd.DataFrame({"path": list("abcdef"), "artist": ["x", "x", "y", "y", "z", "z"]})
        >>> split = with_splits(table, group="artist", shares=(2 / 3, 0, 1 / 3))
        >>> split.groupby("artist")["split"].nunique().tolist()
        [1, 1, 1]
    """
    tracks = tracks.copy()
    if "split" in tracks:
        tracks["split"] = tracks["split"].fillna("train")
        return tracks
    check_whole("seed", seed, 0)
    if len(shares) != len(SPLITS) or min(shares) < 0 or not abs(sum(shares) - 1) <= 1e-6:
        raise InputError(f"shares: expected three that sum to 1 (train, valid, test), got {tuple(shares)}")
    if group != "group" and group not in tracks:
        raise InputError(f"group: there is no column {group!r} among {', '.join(map(repr, tracks.columns))}")
    groups = pd.Series([f"path {path}" for path in tracks["path"]], index=tracks.index)
    if group in tracks:
        texts = pd.Series(cell_texts(tracks[group]), index=tracks.index, dtype=object)
        groups = groups.where(texts.isna(), texts)
    names = sorted(groups.unique())
    places = np.random.default_rng(seed).permutation(len(names)) / len(names)
    train, valid, _ = np.cumsum(shares)
    sides = dict(zip(names, np.select([places < train, places < valid], ["train", "valid"], "test"), strict=True))
    tracks["split"] = groups.map(sides)
    return tracks


def dataset_of(tracks: pd.DataFrame) -> dict[str, Any]:
    """What a result has to say of the published dataset that a table comes from; nothing if it comes from none.

    Returns:
        `name`, `variant`, `split_hash` and `labels_hash` (of the whole split and its labels, whatever part of them is
        here), and `tracks`, the number of those that are here.

    Examples:
        >>> dataset_of(pd.DataFrame({"path": ["a.wav"]}))
        {}
    """
    described = tracks.attrs.get("dataset", {})
    told = {name: described[name] for name in ("name", "variant", "split_hash", "labels_hash") if name in described}
    return {**told, "tracks": len(tracks)} if told else {}
