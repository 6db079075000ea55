"""Functions for atomic writes, checksums, locks, and errors that name damaged files."""

from __future__ import annotations

import json
import re
import tempfile
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from ssc_toolkit.errors import InputError
from ssc_toolkit.hashing import file_hash, new_digest, stream_digest, text_hash

_LEFTOVER = re.compile(r"\.(.+\.)?[0-9a-f]+\.tmp")
_LEFTOVER_SECONDS = 24 * 3600
_CHECKSUM_KEY = "checksum"
CHECKSUMS = "checksums.json"
"""Name of the file with the checksums of other files in its folder."""
_TRAILER = b"\nblake2b-128 "
_TRAILER_BYTES = len(_TRAILER) + 32 + 1
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22  # size of the end record of a zip archive without a comment
_PARQUET_END = b"PAR1"
_PARQUET_END_BYTES = 8  # size of the footer's length and of the magic number


class DamagedFile(InputError):
    """Error raised for a file whose content is invalid or has changed since it was written.

    Args:
        argument: name of the argument that gave the file.
        path: path or URL of the file.
        reason: what is wrong with the file.
        advice: what the user can do.

    Attributes:
        path: path or URL of the file.
    """

    def __init__(self, argument: str, path: Path | str, reason: str, advice: str) -> None:
        super().__init__(f"{argument}: {path} is damaged ({reason}); {advice}")
        self.path = path


@contextmanager
def reading(argument: str, path: Path | str, advice: str) -> Iterator[None]:
    """Context manager for code that reads a file, which converts errors to errors that name the file.

    Args:
        argument: name of the argument that gave the file.
        path: path or URL of the file.
        advice: what the user can do.

    Raises:
        DamagedFile: for an error of a parser or a codec, or any other error in the code.
        InputError: if the file does not exist or cannot be read. An InputError in the code is raised unchanged.

    Examples:
        >>> with reading("config", "my.yaml", "correct it"):
        ...     json.loads("{")
        Traceback (most recent call last):
        ssc_toolkit.files.DamagedFile: config: my.yaml is damaged (Expecting property name enclosed in double quotes: \
line 1 column 2 (char 1)); correct it
    """
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{argument}: there is no file {path}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:  # parsers raise OSError without a number
            raise InputError(f"{argument}: cannot read {path} ({error.strerror or error})") from error
        text = " ".join(str(error).split())
        reason = text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}"
        raise DamagedFile(argument, path, reason.partition(". ")[0][:400], advice) from error


def path_inside(folder: Path, name: Any, argument: str) -> Path:
    """Return the path of a file in a folder. The file name may come from an untrusted source.

    Args:
        folder: folder that must contain the file.
        name: a plain file name, without separators.
        argument: name of the argument for the error message.

    Raises:
        InputError: if the name is not a plain file name, or names a symbolic link to a place outside of the folder.

    Examples:
        >>> path_inside(Path("store"), "../key", "index")
        Traceback (most recent call last):
        ssc_toolkit.errors.InputError: index: expected a plain file name, got '../key'
    """
    if not isinstance(name, str) or not name or len(name.encode(errors="replace")) > 255 or _is_reserved(name):
        raise InputError(f"{argument}: expected a plain file name, got {str(name)[:200]!r}")
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{argument}: {path} is a link that leads out of {folder}")
    return path


def _is_reserved(name: str) -> bool:
    return bool(re.search(r"[/\\:\x00-\x1f\x7f]", name)) or name in (".", "..") or name != name.strip()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Context manager that yields a temporary path, and renames the file there to `path` at the end of the code.

    After an error in the code, the file is not renamed.

    The temporary name is unique among processes and machines. If the process is killed, the temporary file remains. A
    later call for the same path removes it when it is a day old. `clear_leftovers` removes it immediately.
    """
    clear_leftovers(path.parent, _LEFTOVER_SECONDS, [path.name])
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:16]}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            error.filename = str(path)  # most errors about a full disk have no file name
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_leftover(path: Path, name: str | None = None) -> bool:
    """Return whether a file has a name that this library gives to temporary files.

    Args:
        path: path of the file. Only its name is used; the file need not exist.
        name: name of the file for which the temporary file was written; by default any name.

    Examples:
        >>> is_leftover(Path(".store.json.1234.tmp")), is_leftover(Path("song.tmp"))
        (True, False)
    """
    found = _LEFTOVER.fullmatch(path.name)
    return found is not None and (name is None or found[1] == f"{name}.")


def clear_leftovers(folder: Path, min_age_seconds: float = 0.0, names: Collection[str] | None = None) -> None:
    """Remove the temporary files of killed processes from a folder.

    Call it only if the folder belongs to this library, because other files may have similar names.

    Args:
        folder: folder whose files are removed. Subfolders are not searched. The folder may be missing.
        min_age_seconds: minimum age of the removed files in seconds. Use 0 only while a lock excludes other processes.
        names: names of the files for which the temporary files were written; by default all names.
    """
    wanted = [None] if names is None else names
    try:
        found = [path for path in folder.iterdir() if any(is_leftover(path, name) for name in wanted)]
    except OSError:
        return
    for path in found:
        try:
            if time.time() - path.lstat().st_mtime >= min_age_seconds:
                path.unlink()
        except OSError:  # another process removed it first, or there is no permission to remove it
            continue


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, format_json(content))


def format_json(content: Any) -> str:
    """Return the JSON text of content, as `write_json` writes it."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # paths may be invalid UTF-8


def write_checked_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with a checksum of its text under the key "checksum"."""
    write_text(path, _checked_text(content))


def read_checked_json(path: Path, argument: str, advice: str, *, required: bool = True) -> dict[str, Any]:
    """Read a file that `write_checked_json` wrote.

    Args:
        path: path of the file.
        argument: name of the argument that gave the path, for the error message.
        advice: what the user can do if the file is damaged.
        required: whether a file without a checksum is an error.

    Returns:
        The JSON object as a dictionary, without the checksum.

    Raises:
        DamagedFile: if any byte of the file differs from what was written.
        InputError: if the file does not exist or cannot be read.
    """
    with reading(argument, path, advice):
        return parse_checked_json(path, required=required)


def parse_checked_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    """Read a file that `write_checked_json` wrote. Errors do not name the file.

    Call this function within the context manager `reading`, which adds the name to errors.

    Args:
        path: path of the file.
        required: whether a file without a checksum is an error.

    Raises:
        ValueError: if any byte of the file differs from what was written.
        OSError: if the file cannot be read.
    """
    text = path.read_bytes().decode("utf-8")
    content = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object")
    checksum = content.pop(_CHECKSUM_KEY, None)
    if checksum is None and required:
        raise ValueError("it has no checksum")
    if checksum is not None and text != _checked_text(content):
        raise ValueError("its checksum differs")
    return content


def _checked_text(content: Mapping[str, Any]) -> str:
    checksum = text_hash(format_json(dict(content)))
    return format_json({**content, _CHECKSUM_KEY: checksum})


def append_checksum(path: Path) -> None:
    """Append the checksum of a file's content to the file.

    Zip archives and Parquet files stay valid. In a zip archive, the checksum is stored as the comment of the archive.
    In a Parquet file, it is stored before the footer, where readers ignore it. Use `verify_checksum` to check the file.
    """
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        if size >= _ZIP_END_BYTES:
            file.seek(size - _ZIP_END_BYTES)
            if file.read(4) == _ZIP_END:
                file.seek(size - 2)
                file.write(_TRAILER_BYTES.to_bytes(2, "little"))
        place = size - _footer_bytes(file)
        file.seek(0)
        checksum = stream_digest(file).hexdigest()
        file.seek(place)
        footer = file.read()
        file.seek(place)
        file.write(_TRAILER + checksum.encode() + b"\n" + footer)


def verify_checksum(path: Path, argument: str, advice: str, *, required: bool = True) -> None:
    """Raise DamagedFile if a file has changed since `append_checksum` was called on it.

    Args:
        path: path of the file.
        argument: name of the argument that gave the path, for the error message.
        advice: what the user can do.
        required: whether a zip archive without a checksum is an error. Earlier versions wrote archives without one.
    """
    with reading(argument, path, advice), path.open("rb") as file:
        size = file.seek(0, 2)
        if not required and size >= _ZIP_END_BYTES:
            file.seek(size - _ZIP_END_BYTES)
            end = file.read()
            if end[:4] == _ZIP_END and end[-2:] == b"\0\0":
                return
        place = size - _footer_bytes(file) - _TRAILER_BYTES
        if place < 0:
            raise ValueError("it has no checksum")
        file.seek(place)
        trailer, footer = file.read(_TRAILER_BYTES), file.read()
        if not (trailer.startswith(_TRAILER) and trailer.endswith(b"\n")):
            raise ValueError("it is cut short, or has no checksum")
        file.seek(0)
        digest, remaining = new_digest(), place
        while remaining and (chunk := file.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
        digest.update(footer)
        if digest.hexdigest().encode() != trailer[len(_TRAILER) : -1]:
            raise ValueError("its checksum differs")


def _footer_bytes(file: BinaryIO) -> int:
    """Return the size in bytes of the footer of a Parquet file, or 0 for any other file."""
    size = file.seek(0, 2)
    if size < _PARQUET_END_BYTES:
        return 0
    file.seek(size - _PARQUET_END_BYTES)
    end = file.read()
    length = int.from_bytes(end[:4], "little") + _PARQUET_END_BYTES
    return length if end[4:] == _PARQUET_END and length <= size else 0


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the checksums of files of a folder to the file `checksums.json` in this folder, sorted by name.

    Args:
        folder: folder of the files.
        names: paths of the files relative to the folder, separated by /.
    """
    ordered = sorted(names)
    with ThreadPoolExecutor() as pool:
        sums = list(pool.map(lambda name: file_hash(folder / name), ordered))
    write_checked_json(folder / CHECKSUMS, dict(zip(ordered, sums, strict=True)))


def verify_listed(folder: Path, argument: str, advice: str, names: Collection[str] | None = None) -> list[str]:
    """Raise DamagedFile if a file of a folder has changed since `write_checksums` was called.

    Args:
        folder: folder of the files. If it has no `checksums.json`, as in earlier versions, nothing is checked.
        argument: name of the argument that gave the folder, for the error message.
        advice: what the user can do.
        names: files to check; by default all listed files.

    Returns:
        The names of missing files.

    Raises:
        DamagedFile: if a file has changed or is not listed. The message names the first such file.
    """
    if not (folder / CHECKSUMS).exists():
        return []
    known = read_checked_json(folder / CHECKSUMS, argument, advice)
    names = known.keys() if names is None else names

    def is_missing(name: str) -> bool:
        path = folder / name
        if any(map(_is_reserved, name.split("/"))):
            raise DamagedFile(argument, folder / CHECKSUMS, f"it lists {name[:200]!r}", advice)
        if not path.is_file():
            return True
        with reading(argument, path, advice):
            if file_hash(path) != known.get(name):
                raise ValueError("its checksum differs")
        return False

    with ThreadPoolExecutor() as pool:
        return [name for name, missing in zip(names, pool.map(is_missing, names), strict=True) if missing]


@contextmanager
def lock_folder(folder: Path, name: str, *, wait: bool = False) -> Iterator[None]:
    """Context manager that locks a folder, so that no other process can lock it at the same time.

    The lock is also released if the process is killed. The lock file has the permissions of the folder, so every user
    who can write to the folder can lock it. No other file in the folder changes. To remove temporary files, call
    `clear_leftovers` after you have checked that the folder belongs to this library.

    Args:
        folder: an existing folder that can be written.
        name: name of the argument that gave the folder, for the error message.
        wait: whether to wait until another process releases the lock, instead of raising an error.

    Raises:
        InputError: if another process holds the lock, or the lock file cannot be used.
    """
    with _locked(folder / ".lock", name, f"another process is using {folder}; choose another folder", wait):
        yield


@contextmanager
def lock_file(path: Path, name: str) -> Iterator[None]:
    """Context manager that locks a file, so that no other process can lock it at the same time.

    Other files in the folder are not locked.

    Args:
        path: path of the file, in an existing folder that can be written.
        name: name of the argument that gave the path, for the error message.

    Raises:
        InputError: if another process holds the lock, or the lock file cannot be used.
    """
    lock = path.with_name(f".{path.name}.lock")
    with _locked(lock, name, f"another process is writing {path}; choose another file"):
        yield


@contextmanager
def _locked(path: Path, name: str, busy: str, wait: bool = False) -> Iterator[None]:
    folder = path.parent
    try:
        lock = FileLock(path, mode=folder.stat().st_mode & 0o666)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise InputError(f"{name}: {busy}") from None
    except PermissionError as error:
        raise InputError(
            f"{name}: cannot lock {folder}: {path} belongs to another user and is not writable for you; ask its owner "
            "to run `chmod g+w` on it, or choose another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise InputError(f"{name}: cannot lock {folder} ({error}); choose a folder on another disk") from error
    try:
        yield
    finally:
        lock.release()


def make_writable_folder(path: Path, name: str) -> Path:
    """Create a folder if it is missing, and check that files can be written to it.

    Args:
        path: path of the folder.
        name: name of the argument that gave the folder, for the error message.

    Raises:
        InputError: if the folder cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError as error:
        raise InputError(f"{name}: {path} is a file; choose a folder") from error
    except OSError as error:
        raise InputError(f"{name}: cannot write to {path} ({error.strerror}); choose another folder") from error
    return path
