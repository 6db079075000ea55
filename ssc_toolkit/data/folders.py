"""Search for audio files in folders."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ssc_toolkit.audio import describe_missing_codecs, list_readable_suffixes
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.paths import (
    DANGLING,
    SPECIAL,
    audio_paths,
    describe_others,
    describe_skipped,
    local_path,
    missing_hint,
)

logger = logging.getLogger(__name__)


def from_folder(folder: str | Path, label: str | None = None) -> TrackTable:
    """Return the track table of all audio files below a folder, sorted by path.

    Links to folders are followed, and each folder is visited once. Hidden files, hidden folders and `__MACOSX` are
    ignored. Warnings give the number of files with other suffixes, and name links whose target does not exist.

    Args:
        folder: folder to search, including its subfolders.
        label: name of a label column to add. The label of a file is the name of its top-level subfolder, such as `jazz`
            for `genres/jazz/one.wav` in the folder `genres`. Files directly in `folder` have no label. None adds no
            column.

    Returns:
        The table, with the column `path` and, if `label` is given, the label column.

    Raises:
        InputError: if the folder does not exist or has no audio file.

    Examples:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("jazz/a.wav", "jazz/live/b.mp3", "rock/c.flac"):
        ...     (folder / name).parent.mkdir(parents=True, exist_ok=True)
        ...     (folder / name).touch()
        >>> from_folder(folder, label="genre")["genre"].tolist()
        ['jazz', 'jazz', 'rock']
    """
    paths, _ = find_audio_files(folder)
    folder = Path(local_path(folder, "tracks"))
    names = pd.Series([str(path.absolute()) for path in paths], dtype=object)  # names may be invalid UTF-8
    tracks = pd.DataFrame({"path": names})
    if label is not None:
        inside = [path.relative_to(folder).parts[:-1] for path in paths]
        tracks[label] = [parts[0] if parts else np.nan for parts in inside]
    return TrackTable(tracks)


def find_audio_files(folder: str | Path, others: Sequence[str] = ()) -> tuple[list[Path], list[Path]]:
    """Find the audio files below a folder, and log warnings about skipped files, as `from_folder` does.

    Args:
        folder: folder to search, including its subfolders.
        others: suffixes of other files to find, in lower case.

    Returns:
        The sorted paths of the audio files, and those of the other files.

    Raises:
        InputError: as for `from_folder`.
    """
    folder = Path(local_path(folder, "tracks"))
    if not folder.is_dir():
        raise InputError(f"tracks: there is no folder {folder}{missing_hint(folder)}")
    suffixes = list_readable_suffixes()
    found, skipped, dangling, special = audio_paths(folder, (*suffixes, *others))
    paths = [path for path in found if path.suffix.lower() in suffixes]
    passed = [describe_skipped(kind, some, folder) for kind, some in ((DANGLING, dangling), (SPECIAL, special)) if some]
    if not paths:
        what = f"; found {describe_others(skipped)}{describe_missing_codecs(skipped)}" if skipped else ""
        what += "".join(f"; found {some}" for some in passed)
        raise InputError(f"tracks: there is no audio file below {folder} (looked for {', '.join(suffixes)}){what}")
    if skipped:
        logger.warning("skipped below %s: %s%s", folder, describe_others(skipped), describe_missing_codecs(skipped))
    for some in passed:
        logger.warning("skipped below %s: %s", folder, some)
    return paths, [path for path in found if path.suffix.lower() not in suffixes]
