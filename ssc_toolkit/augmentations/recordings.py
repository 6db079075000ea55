"""Loading of the audio files that transforms keep in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

Recordings = str | Path | Sequence[str | Path]
"""Audio files: a folder that is searched recursively, a file, or a list of files."""


def list_file_names(files: Recordings) -> str | list[str]:
    """Return a path as a string, or a list of paths as a list of strings, so that a configuration can store them."""
    if isinstance(files, (str, Path)):
        return str(files)
    if not isinstance(files, Sequence):
        raise TypeError(f"files: expected a folder or a list of files, got {type(files).__name__}")
    return [str(file) for file in files]


def read_files(name: str, files: str | list[str], sample_rate: int) -> list[np.ndarray]:
    """Decode files to mono and resample them.

    In a folder and its subfolders, all files with the suffix of a readable audio format are read, except hidden files.

    Args:
        name: name of the argument, for error messages.
        files: path of a folder or a file, or a list of paths of files.
        sample_rate: sample rate of the result in hertz.

    Returns:
        One array (samples,) float32 per file.

    Raises:
        ValueError: if there are no files, or a file is missing, empty or not audio.
    """
    from ssc_toolkit.audio import UnreadableAudio, list_readable_suffixes, read_audio
    from ssc_toolkit.paths import audio_paths, user_path

    if isinstance(files, str | Path) and user_path(files, name).is_dir():
        paths, *_ = audio_paths(user_path(files, name), list_readable_suffixes())
        if not paths:
            raise ValueError(
                f"{name}: expected audio files ({', '.join(list_readable_suffixes())}) in {files}, got none"
            )
    else:
        paths = [user_path(file, name) for file in ([files] if isinstance(files, str | Path) else files)]
        if not paths:
            raise ValueError(f"{name}: expected at least one audio file, got none")
    try:
        return [read_audio(path, sample_rate) for path in paths]
    except UnreadableAudio as error:
        raise ValueError(f"{name}: {error}") from error
