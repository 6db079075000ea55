"""Functions that expand the paths that users give, find audio files, and describe missing or skipped files."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import unquote

from ssc_toolkit.errors import InputError

DANGLING = "links whose target does not exist"
SPECIAL = "pipes and devices"
_FILE_URL = re.compile(r"file:(?://(?P<host>[^/]*))?(?P<path>/.*)", re.IGNORECASE | re.DOTALL)


def local_path(written: str | os.PathLike[str], argument: str = "path") -> str:
    """Return the path that a user gave, with `~/` expanded and a `file://` URL converted to a path.

    Args:
        written: path or URL. URLs of other kinds are returned unchanged.
        argument: name of the argument for the error message.

    Raises:
        InputError: if a file:// URL names another machine, has no path, or contains a zero byte.

    Examples:
        >>> local_path("file:///music/a%20b.wav"), local_path("http://a.org/store"), local_path("a%20b.wav")
        ('/music/a b.wav', 'http://a.org/store', 'a%20b.wav')
    """
    text = str(written)
    if text == "~" or text.startswith(("~/", f"~{os.sep}")):
        return str(Path(text).expanduser())
    if not text.lower().startswith("file:/"):
        return text
    found = _FILE_URL.fullmatch(text)
    if found is None or (found["host"] or "localhost").lower() != "localhost":
        raise InputError(f"{argument}: expected a URL as file:///folder/name, got {text[:200]!r}")
    path = unquote(found["path"], errors="surrogateescape")
    if "\0" in path:
        raise InputError(f"{argument}: expected a path without zero bytes, got {text[:200]!r}")
    if os.name == "nt":
        from urllib.request import url2pathname

        return url2pathname(found["path"])
    return path


def user_path(path: str | os.PathLike[str], argument: str = "path") -> Path:
    """Return the path that a user gave as a `Path`, converted as by `local_path`."""
    return Path(local_path(path, argument))


def missing_hint(path: str | Path) -> str:
    r"""Return a text for an error message if a missing path exists with another spelling, or an empty string.

    The other spellings are / instead of \, and the same letters in another Unicode normal form. For example, macOS
    stores letters and accents separately.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "u\u0308ber.wav").touch()
        >>> missing_hint(folder / "\xfcber.wav")
        '; there is a file of that name with its accents in another Unicode form (NFD): rename it, or use that form'
    """
    text = str(path)
    for form, words in (
        (text, ""),
        (text.replace("\\", "/"), "write / instead of \\"),
    ):
        found = _other_normal_form(Path(form))
        if found is None or found == Path(text):
            continue
        if found == Path(form):
            return f"; there is {found}: {words}"
        normal = next((name for name in ("NFC", "NFD") if unicodedata.is_normalized(name, found.name)), "mixed")
        hint = f"; there is a file of that name with its accents in another Unicode form ({normal}): rename it, or "
        return f"{hint}use that form" + (f", and {words}" if words else "")
    return ""


def _other_normal_form(path: Path) -> Path | None:
    """Return an existing path with the same letters in another Unicode normal form, or None."""
    found = Path(path.anchor)
    for part in path.parts[len(found.parts) :]:
        if not os.path.lexists(found / part):
            wanted = unicodedata.normalize("NFC", part)
            try:
                names = sorted(p.name for p in found.iterdir() if unicodedata.normalize("NFC", p.name) == wanted)
            except OSError:
                return None
            if not names:
                return None
            part = names[0]
        found /= part
    return found


def audio_paths(folder: Path, suffixes: Collection[str]) -> tuple[list[Path], Counter[str], list[Path], list[Path]]:
    """Find the audio files below a folder.

    Links to folders are followed. Every folder is searched only once, under its own path if it is below `folder`,
    otherwise under the path of a link. Hidden files and folders are skipped, and so are those that macOS adds to
    archives (`._name`, `__MACOSX`).

    Args:
        folder: folder to search, including its subfolders.
        suffixes: suffixes of audio files, in lower case.

    Returns:
        The sorted paths, the number of other files for each suffix, all links whose target does not exist, and all
        pipes and devices with a suffix of audio files.

    Raises:
        InputError: if a folder cannot be read.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("b.wav", "a.WAV", "._a.wav", "notes.txt"):
        ...     (folder / name).touch()
        >>> (folder / "old.wav").symlink_to("gone.wav")
        >>> paths, others, dangling, _ = audio_paths(folder, [".wav"])
        >>> [path.name for path in paths], dict(others), [path.name for path in dangling]
        (['a.WAV', 'b.wav'], {'.txt': 1}, ['old.wav'])
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    dangling: list[Path] = []
    special: list[Path] = []
    seen: set[tuple[int, int]] = set()
    starts = [folder]
    for start in starts:  # links found in the loop are appended
        for place, folders, files in os.walk(start, onerror=_refuse):
            status = Path(place).stat()
            if (status.st_dev, status.st_ino) in seen:
                folders.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            folders[:] = sorted(name for name in folders if not _is_noise(name))
            starts += [Path(place, name) for name in folders if Path(place, name).is_symlink()]
            for path in (Path(place, name) for name in files if not _is_noise(name)):
                if path.is_symlink() and not path.exists():
                    dangling.append(path)
                elif path.suffix.lower() not in suffixes:
                    others[path.suffix.lower()] += 1
                else:
                    (found if path.is_file() else special).append(path)
    return sorted(found), others, sorted(dangling), sorted(special)


def _is_noise(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _refuse(error: OSError) -> None:
    raise InputError(f"cannot read folder {error.filename} ({error.strerror}); make it readable, or move it elsewhere")


def describe_others(others: Counter[str], shown: int = 8) -> str:
    """Return a text with the number of skipped files for each suffix.

    Args:
        others: number of files for each suffix.
        shown: maximum number of suffixes in the text.

    Examples:
        >>> describe_others(Counter({".m4a": 12, "": 1}))
        '13 files with other suffixes: 12 .m4a, 1 without suffix'
    """
    total = sum(others.values())
    parts = [
        f"{count} {_printable(suffix)[:16]}" if suffix else f"{count} without suffix"
        for suffix, count in sorted(others.items(), key=lambda item: (-item[1], item[0]))
    ]
    more = f", and {len(parts) - shown} more suffixes" if len(parts) > shown else ""
    return f"{total} {'file' if total == 1 else 'files'} with other suffixes: {', '.join(parts[:shown])}{more}"


def describe_skipped(kind: str, paths: Sequence[Path], folder: Path, shown: int = 5) -> str:
    """Return a text with the number and the names of skipped files.

    Args:
        kind: description of the files in the plural.
        paths: paths of the files.
        folder: folder that contains them.
        shown: maximum number of names in the text.

    Examples:
        >>> describe_skipped(DANGLING, [Path("music/a.wav"), Path("music/live")], Path("music"), shown=1)
        'links whose target does not exist (2): a.wav, and 1 more'
    """
    names = [_printable(str(path.relative_to(folder))) for path in paths[:shown]]
    names += [f"and {len(paths) - shown} more"] if len(paths) > shown else []
    return f"{kind} ({len(paths)}): {', '.join(names)}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)
