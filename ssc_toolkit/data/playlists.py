"""Reader of playlists, and the playlists of each track."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from ssc_toolkit.data.cells import SEPARATOR
from ssc_toolkit.files import reading
from ssc_toolkit.paths import local_path

PLAYLIST_SUFFIXES = (".m3u", ".m3u8", ".pls")
_MARKS = (b"\xff\xfe", b"\xfe\xff")
_PLS_ENTRY = re.compile(r"file[0-9]+\s*=\s*(.*)", re.IGNORECASE)


def read_playlist(path: Path) -> list[str]:
    r"""Return the entries of an M3U, M3U8 or PLS playlist as they are written in the file.

    The file is text in UTF-8, or in UTF-16 with a byte order mark. Any other file is read as Windows-1252, in which
    old players write M3U files.

    Args:
        path: path of the playlist.

    Raises:
        InputError: if the file cannot be read.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "my.m3u"
        >>> _ = path.write_text("#EXTM3U\n#EXTINF:10,A\njazz/a.mp3\n\nb.mp3\n")
        >>> read_playlist(path)
        ['jazz/a.mp3', 'b.mp3']
    """
    with reading("playlist", path, "write it again"):
        content = path.read_bytes()
        if content.startswith(_MARKS):
            text = content.decode("utf-16", "replace")
        else:
            try:
                text = content.decode("utf-8-sig")
            except UnicodeDecodeError:
                text = content.decode("cp1252", "replace")
        lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
        if path.suffix.lower() == ".pls":
            return [found[1] for found in map(_PLS_ENTRY.fullmatch, lines) if found and found[1]]
        return [line for line in lines if line and not line.startswith("#")]


def find_playlists(
    tracks: Sequence[Path], playlists: Mapping[Path, Sequence[str]]
) -> tuple[list[str], dict[Path, list[str]]]:
    r"""Return the names of the playlists that contain each track.

    An entry is a path, which is absolute or relative to the folder of the playlist, or a `file://` URL. It may have
    `\` between folders, or `%20` and similar codes.

    Args:
        tracks: paths of the tracks.
        playlists: entries of each playlist by its path.

    Returns:
        For each track, the names of its playlists, separated by `|`, and, for each playlist, the entries that are none
        of the tracks. The name of a playlist is that of its file without the suffix. If several files have this name,
        it is the name of the file with those of as many folders as make it unique.

    Examples:
        >>> tracks = [Path("/music/a.mp3"), Path("/music/jazz/b.mp3")]
        >>> find_playlists(tracks, {Path("/music/calm.m3u"): ["jazz\\b.mp3", "gone.mp3"]})
        (['', 'calm'], {PosixPath('/music/calm.m3u'): ['gone.mp3']})
    """
    names = _names(list(playlists))
    rows = {_identity(path): row for row, path in enumerate(tracks)}
    found: list[dict[str, None]] = [{} for _ in tracks]
    unknown: dict[Path, list[str]] = {path: [] for path in playlists}
    for path, entries in playlists.items():
        for entry in entries:
            row = next((rows[place] for place in _places(entry, path.parent) if place in rows), None)
            if row is None:
                unknown[path].append(entry)
            else:
                found[row][names[path]] = None
    return [SEPARATOR.join(own) for own in found], unknown


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """Return the shortest text for each path that is no text of another path: the stem, or the end of the path."""
    texts = {path: list(_texts(path)) for path in paths}
    counts = Counter(text for own in texts.values() for text in set(own))
    names = {path: next((text for text in own if counts[text] == 1), own[-1]) for path, own in texts.items()}
    taken: Counter[str] = Counter()
    for path, name in names.items():  # whole paths are equal if they differ only in characters that are replaced
        taken[name] += 1
        if taken[name] > 1:
            names[path] = next(
                text for number in itertools.count(taken[name]) if (text := f"{name} ({number})") not in counts
            )
            counts[names[path]] += 1
    return names


def _texts(path: Path) -> Iterator[str]:
    """Yield possible names of a playlist from the shortest to the longest, as they are written in a cell."""
    parts = path.parts
    ends = ["/".join(parts[-count:]) for count in range(1, len(parts))]
    for text in (path.stem, *ends, path.as_posix()):
        yield text.replace(SEPARATOR, "/").strip() or path.name


def _places(entry: str, folder: Path) -> Iterable[str]:
    """Yield the places that an entry of a playlist in a folder may mean."""
    for text in dict.fromkeys((entry, entry.replace("\\", "/"), unquote(entry), unquote(entry).replace("\\", "/"))):
        try:
            yield _identity(folder / local_path(text))
        except (ValueError, OSError):  # a zero byte, a URL of another machine, or a name that is too long
            continue


def _identity(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.realpath(path))
