"""Find the audio files of a folder."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ssc_toolkit.audio import readable_suffixes


@dataclass
class AudioFolder:
    """What a folder holds, at any depth.

    Attributes:
        paths: audio files that can be read here, sorted.
        passed_over: how many other files there are, by suffix in lower case.
    """

    paths: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def audio_folder(folder: Path | str) -> AudioFolder:
    """Find the audio files below a folder.

    Symbolic links to folders are followed, each folder once. Hidden files and folders are left out, and with them the
    `._*` files that macOS writes.

    Args:
        folder: searched at any depth.

    Examples:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> for name in ("a.wav", "._a.wav", "notes.txt"):
        ...     (place / name).touch()
        >>> found = audio_folder(place)
        >>> [path.name for path in found.paths], dict(found.passed_over)
        (['a.wav'], {'.txt': 1})
    """
    found, suffixes = AudioFolder(), readable_suffixes()
    seen: set[tuple[int, int]] = set()
    pending, links = [Path(folder)], list[Path]()  # links last: files are named by where they really are
    while pending or links:
        place = pending.pop() if pending else links.pop(0)
        try:
            status = place.stat()
            entries = sorted(place.iterdir())
        except OSError:  # a folder that may not be read
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else pending).append(entry)
            elif entry.suffix.lower() in suffixes:
                found.paths.append(entry)
            else:
                found.passed_over[entry.suffix.lower()] += 1
    found.paths.sort()
    return found
