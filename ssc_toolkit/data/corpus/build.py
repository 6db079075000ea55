"""Functions that the builders of both rendered corpora share: output folders, files and parallel work."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import soundfile

from ssc_toolkit.caches import find_cache_root, limit_corpora
from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import (
    CHECKSUMS,
    atomic_path,
    clear_leftovers,
    lock_folder,
    make_writable_folder,
    verify_listed,
    write_checked_json,
    write_checksums,
    write_text,
)
from ssc_toolkit.hashing import short_hash
from ssc_toolkit.options.corpus import MIN_CLIPS
from ssc_toolkit.options.run_settings import check_note
from ssc_toolkit.paths import user_path
from ssc_toolkit.processes import safe_children
from ssc_toolkit.progress import progress_bar

SAMPLE_RATE = 16000
CORPUS_TABLE = "tracks.csv"
"""Name of the file with the track table."""
VERSION = 2
"""Version of the corpora, raised when their bytes change."""
CORPUS_PACKAGES = ("music21", "symusic", "pretty_midi", "midirenderer", "soxr")
"""Packages whose versions affect the bytes of the corpora."""

Result = TypeVar("Result")


def read_package_versions() -> dict[str, str]:
    """Return the installed versions of the packages that render the corpora.

    Raises:
        InputError: if one of them is not installed.
    """
    try:
        return {name: importlib.metadata.version(name) for name in CORPUS_PACKAGES}
    except importlib.metadata.PackageNotFoundError as error:
        raise InputError(
            f"the rendered corpora need the package {error.name}; fix: pip install 'ssc-toolkit[corpus]'"
        ) from error


def hash_content(content: Any) -> str:
    """Return a short hash of any content that JSON supports."""
    return short_hash(json.dumps(content, sort_keys=True), digits=10)


@contextmanager
def claim_folder(folder: Path | str | None, settings: dict[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Yield the locked folder of a corpus, which is created if it is missing, and whether the corpus is complete.

    The function waits for another process that renders the same corpus. After the block, corpora in the user's cache
    that were not used for long are removed if all of them together exceed the limit of caches.

    Args:
        folder: output folder; None for a folder in the user's cache, named by the settings.
        settings: all settings that affect the bytes, which are saved in `corpus.json` in the folder.

    Raises:
        InputError: if the folder cannot be written or has other content.
    """
    is_cached = folder is None
    if folder is None:
        folder = find_cache_root() / f"{settings['kind']}-{settings['clips']}-{hash_content(settings)}"
    folder = make_writable_folder(user_path(folder, "folder"), "folder")
    file = folder / "corpus.json"
    check_note(file, settings, "folder", "corpus")
    with lock_folder(folder, "folder", wait=True):
        check_note(file, settings, "folder", "corpus")
        clear_leftovers(folder)
        if not file.exists():
            write_checked_json(file, settings)
        (folder / "audio").mkdir(exist_ok=True)
        clear_leftovers(folder / "audio")
        yield folder, _is_whole(folder)
        if is_cached:
            limit_corpora(folder)


def _is_whole(folder: Path) -> bool:
    """Return whether all files of a corpus exist.

    Raises:
        InputError: if a file is damaged; it names the file.
    """
    if not (folder / CHECKSUMS).exists():
        return False
    return not verify_listed(folder, "folder", "delete the file and rerun the same command")


def finish_folder(folder: Path, tracks: pd.DataFrame) -> Path:
    """Write the track table and then the checksums of all files, which mark the corpus as complete.

    Args:
        folder: folder of the corpus.
        tracks: track table, with the paths of its clips.

    Returns:
        The folder.
    """
    write_text(folder / CORPUS_TABLE, format_csv(list(tracks), tracks.itertuples(index=False, name=None)))
    write_checksums(folder, [CORPUS_TABLE, *tracks["path"]])
    return folder


def check_clips(clips: int) -> None:
    """Raise InputError if a corpus has too few clips."""
    if clips < MIN_CLIPS:
        raise InputError(f"clips: expected at least {MIN_CLIPS}, got {clips}")


def clip_path(number: int) -> str:
    """Return the path of a clip below the corpus folder."""
    return f"audio/{number:06d}.wav"


def write_clip(path: Path, samples: np.ndarray, peak: float = 0.7) -> None:
    """Write mono float samples as a 16-bit WAV file, scaled to a peak, atomically."""
    loudest = np.abs(samples).max()
    scaled = samples * (peak / loudest) if loudest > 0 else samples
    with atomic_path(path) as temporary:
        soundfile.write(temporary, scaled, SAMPLE_RATE, format="WAV", subtype="PCM_16")


def run_in_parallel(
    function: Callable[..., Result], tasks: Iterable[tuple], workers: int | None, title: str, progress: bool
) -> list[Result]:
    """Call a function for each tuple of arguments in worker processes, and return the results in order.

    Args:
        function: function that can be imported by name.
        tasks: arguments of each call.
        workers: number of processes; None for one for each core.
        title: title of the progress bar.
        progress: whether to show the progress bar.
    """
    from joblib import Parallel, delayed

    tasks = list(tasks)
    with safe_children():
        results = Parallel(n_jobs=-1 if workers is None else workers, return_as="generator")(
            delayed(function)(*task) for task in tasks
        )
        return list(progress_bar(results, total=len(tasks), desc=title, disable=not progress or not tasks))
