"""Track tables: data frames with a row for each audio file."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from ssc_toolkit.audio import SUFFIXES, UnreadableAudio, check_decodes
from ssc_toolkit.errors import InputError, at_least
from ssc_toolkit.progress import progress_bar

logger = logging.getLogger(__name__)

DEFAULT_CORPUS = "scores"
SPLITS = ("train", "valid", "test")
_SHOWN = 5  # files that a message names


def load_tracks(source: str | Path, root: str | Path | None = None) -> pd.DataFrame:
    r"""Track table of the default corpus, of a CSV file, or of a folder of audio.

    Args:
        source: "scores" for the default corpus (rendered now if it is not yet there), the path of a CSV
            file, or the path of a folder.
        root: folder that the paths in a CSV file start from; its own folder by default.

    Returns:
        A row for each track: `path` (absolute) and whatever columns the source has, such as `split`
        ("train", "valid", "test"), `group` and labels.

    Raises:
        InputError: for a source that is missing or empty.

    Examples:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "my.csv").write_text("path,genre\na.wav,jazz\nb.wav,\n")
        >>> load_tracks(folder / "my.csv")["genre"].tolist()
        ['jazz', nan]
    """
    if str(source) == DEFAULT_CORPUS:
        from ssc_toolkit.data.scores import build_corpus

        return from_csv(build_corpus() / "tracks.csv")
    path = Path(source)
    if path.is_dir():
        return from_folder(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        raise InputError(f"tracks: {source} is an audio file; give its folder, or a CSV file that lists it")
    if path.is_file():
        return from_csv(path, root)
    raise InputError(
        f"tracks: {source} is neither a CSV file nor a folder; give one of them, or {DEFAULT_CORPUS!r} for the "
        "default corpus"
    )


def from_csv(path: Path, root: str | Path | None = None) -> pd.DataFrame:
    """Track table of a CSV file with a `path` column; see `load_tracks`."""
    root = path.parent if root is None else Path(root)
    if not root.is_dir():
        raise InputError(f"root: there is no folder {root}")
    try:
        # Only an empty cell is unknown: "None" or "NA" may be the name of a class.
        cells = {"keep_default_na": False, "na_values": [""], "skipinitialspace": True}
        tracks = pd.read_csv(path, dtype={"path": str}, encoding="utf-8-sig", **cells)  # type: ignore[call-overload]
    except pd.errors.EmptyDataError:
        raise InputError(f"tracks: {path} is empty; expected a header with a 'path' column and a row a track") from None
    except UnicodeDecodeError as error:
        raise InputError(f"tracks: {path} is not text in UTF-8; save it as a CSV file in UTF-8") from error
    except pd.errors.ParserError as error:
        raise InputError(f"tracks: {path} is not a CSV file ({str(error).strip()})") from error
    tracks.columns = [str(name).strip() for name in tracks.columns]
    if "path" not in tracks:
        found = ", ".join(map(repr, tracks.columns))
        raise InputError(f"tracks: {path} has no 'path' column among {found}; columns are separated by commas")
    missing = int(tracks["path"].isna().sum())
    if missing == len(tracks):
        raise InputError(f"tracks: {path} lists no tracks")
    if missing:
        logger.warning("%d rows of %s have no path and are left out", missing, path)
    tracks = tracks[tracks["path"].notna()].reset_index(drop=True)
    if "split" in tracks and not set(tracks["split"].dropna()) <= set(SPLITS):
        odd = sorted(set(map(str, tracks["split"].dropna())) - set(SPLITS))
        raise InputError(f"tracks: column 'split' of {path} holds {', '.join(odd)}; expected {', '.join(SPLITS)}")
    tracks["path"] = [str((root / name).absolute()) for name in tracks["path"]]
    repeated = int(tracks["path"].duplicated().sum())
    if repeated:
        logger.warning("%d rows of %s repeat the path of another row", repeated, path)
    if "split" in tracks:
        sides = tracks.dropna(subset="split").groupby("path")["split"].nunique()
        if (sides > 1).any():
            raise InputError(f"tracks: {path} has {sides.index[sides > 1][0]} in more than one split")
    return tracks


def from_folder(folder: Path) -> pd.DataFrame:
    """Track table of all audio files below a folder, in order of their paths."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"tracks: there is no audio file below {folder} (looked for {', '.join(SUFFIXES)})")
    return pd.DataFrame({"path": [str(path.absolute()) for path in paths]})


def check_audio(
    tracks: pd.DataFrame, minimum_seconds: float = 0.0, most_skipped: float = 0.1, progress: bool = True
) -> pd.DataFrame:
    """Open every file of a table, decode its two ends, and leave out those that cannot be used.

    Args:
        tracks: table with a `path` column.
        minimum_seconds: shorter files are left out.
        most_skipped: share of files that may be left out before it is an error.
        progress: show a progress bar.

    Returns:
        The table without those files, with a `seconds` column. What was left out is named in a warning.

    Raises:
        InputError: if more than `most_skipped` of the files, or all, cannot be used.
    """
    if not 0 <= most_skipped <= 1:
        raise InputError(f"most_skipped: expected a share from 0 to 1, got {most_skipped}")

    def problem_or_seconds(path: str) -> str | float:
        try:
            seconds = check_decodes(path).seconds
        except UnreadableAudio as error:
            return str(error)
        if seconds < minimum_seconds:
            return f"{path}: {seconds:.2f} s long, at least {minimum_seconds:.2f} s needed"
        return seconds

    with ThreadPoolExecutor() as pool:
        answers = pool.map(problem_or_seconds, tracks["path"])
        found = list(progress_bar(answers, total=len(tracks), desc="checking audio", disable=not progress))
    problems = [answer for answer in found if isinstance(answer, str)]
    if problems:
        shown = "; ".join(problems[:_SHOWN]) + (
            f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        )
        summary = f"{len(problems)} of {len(tracks)} audio files cannot be used: {shown}"
        if len(problems) == len(tracks) or len(problems) > most_skipped * len(tracks):
            raise InputError(f"{summary}. Mend or remove them, or allow more (most_skipped, now {most_skipped:g})")
        logger.warning("%s. They are left out.", summary)
    usable = [not isinstance(answer, str) for answer in found]
    result = tracks[usable].reset_index(drop=True)
    result["seconds"] = [answer for answer in found if not isinstance(answer, str)]
    return result


def with_splits(tracks: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Give each track a split if the table has none: 70 % train, 10 % valid, 20 % test.

    Tracks with the same value in a `group` column stay together. Rows whose `split` is empty in a table
    that has the column go to train.
    """
    tracks = tracks.copy()
    if "split" in tracks:
        tracks["split"] = tracks["split"].fillna("train")
        return tracks
    at_least("seed", seed, 0)
    groups = tracks["group"].astype(str) if "group" in tracks else pd.Series(np.arange(len(tracks))).astype(str)
    names = sorted(groups.unique())
    places = np.random.default_rng(seed).permutation(len(names)) / len(names)
    sides = dict(zip(names, np.select([places < 0.7, places < 0.8], ["train", "valid"], "test"), strict=True))
    tracks["split"] = groups.map(sides)
    return tracks
