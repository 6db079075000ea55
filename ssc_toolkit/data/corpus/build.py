"""Functions that the rendering of corpora uses for folders, files and parallel work."""

from __future__ import annotations

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
from ssc_toolkit.files import (
    CHECKSUMS,
    atomic_path,
    clear_leftovers,
    verify_listed,
    write_checksums,
    write_text,
)
from ssc_toolkit.hashing import short_hash
from ssc_toolkit.options.corpus import CORPUS_NOTE
from ssc_toolkit.options.output_folder import claim_folder
from ssc_toolkit.paths import user_path
from ssc_toolkit.processes import safe_children
from ssc_toolkit.progress import progress_bar

SAMPLE_RATE = 16000
CORPUS_TABLE = "tracks.csv"
"""Name of the file with the track table."""

Result = TypeVar("Result")


def hash_content(content: Any) -> str:
    """Return a short hash of content that can be written as JSON."""
    return short_hash(json.dumps(content, sort_keys=True), digits=10)


@contextmanager
def claim_corpus_folder(folder: Path | str | None, settings: dict[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Create and lock the folder of a corpus, as a context manager.

    If another process renders the same corpus, the function waits for this process. On exit, the least recently used
    corpora in the user's cache are removed if the cache exceeds its size limit.

    Args:
        folder: output folder. None uses a folder in the user's cache whose name contains a hash of the settings.
        settings: all settings that affect the rendered files. They are saved in `corpus.json` in the folder.

    Yields:
        The folder, and whether the corpus in it is complete.

    Raises:
        InputError: if the folder cannot be written, or if it contains other files.
    """
    is_cached = folder is None
    if folder is None:
        folder = find_cache_root() / f"{settings['kind']}-{settings['clips']}-{hash_content(settings)}"
    note = user_path(folder, "folder") / CORPUS_NOTE
    with claim_folder(note, settings, "folder", "corpus", wait=True) as folder:
        (folder / "audio").mkdir(exist_ok=True)
        clear_leftovers(folder / "audio")
        yield folder, _is_whole(folder)
        if is_cached:
            limit_corpora(folder)


def _is_whole(folder: Path) -> bool:
    """Return whether the folder of a corpus contains all its files.

    Raises:
        InputError: if a file is damaged. The message names the file.
    """
    if not (folder / CHECKSUMS).exists():
        return False
    return not verify_listed(folder, "folder", "delete the file and rerun the same command")


def finish_folder(folder: Path, tracks: pd.DataFrame) -> Path:
    """Write the track table and the checksums of all files of a corpus. The checksums mark the corpus as complete.

    Args:
        folder: folder of the corpus.
        tracks: track table with the paths of the clips, relative to the folder.

    Returns:
        The argument `folder`.
    """
    write_text(folder / CORPUS_TABLE, format_csv(list(tracks), tracks.itertuples(index=False, name=None)))
    write_checksums(folder, [CORPUS_TABLE, *tracks["path"]])
    return folder


def clip_path(number: int) -> str:
    """Return the path of the clip with a number, relative to the folder of its corpus."""
    return f"audio/{number:06d}.wav"


def write_clip(path: Path, samples: np.ndarray, peak: float = 0.7) -> None:
    """Scale mono samples (samples,) to a peak amplitude, and write them as a 16-bit WAV file atomically.

    `peak` is the peak amplitude, from 0 to 1 (full scale).
    """
    loudest = np.abs(samples).max()
    scaled = samples * (peak / loudest) if loudest > 0 else samples
    with atomic_path(path) as temporary:
        soundfile.write(temporary, scaled, SAMPLE_RATE, format="WAV", subtype="PCM_16")


def run_in_parallel(
    function: Callable[..., Result], tasks: Iterable[tuple], workers: int | None, title: str, progress: bool
) -> list[Result]:
    """Call a function for each tuple of arguments in worker processes, and return the results in order.

    Args:
        function: function at the top level of a module.
        tasks: one tuple of arguments for each call.
        workers: number of processes. None starts one process for each CPU core.
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
