"""Files that are whole or absent, stay inside their folder, and raise one clear error when damaged."""

from __future__ import annotations

import hashlib
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

_LEFTOVER = re.compile(r"\.(.+\.)?[0-9a-f]+\.tmp")
_LEFTOVER_SECONDS = 24 * 3600
_CHECKSUM_KEY = "checksum"
CHECKSUMS = "checksums.json"
"""File with the checksums of others in its folder."""
_TRAILER = b"\nblake2b-128 "
_TRAILER_BYTES = len(_TRAILER) + 32 + 1
_ZIP_END = b"PK\x05\x06"
_ZIP_END_BYTES = 22  # of the end record of a zip archive without a comment
_PARQUET_END = b"PAR1"
_PARQUET_END_BYTES = 8  # the length of the footer, and the mark


class DamagedFile(InputError):
    """A file that does not hold what was written.

    Args:
        argument: the argument that led to the file.
        path: path or URL of the file.
        reason: what is wrong with it.
        advice: what the user can do.

    Attributes:
        path: path or URL of the file.
    """

    def __init__(self, argument: str, path: Path | str, reason: str, advice: str) -> None:
        super().__init__(f"{argument}: {path} is damaged ({reason}); {advice}")
        self.path = path


@contextmanager
def reading(argument: str, path: Path | str, advice: str) -> Iterator[None]:
    """Turn whatever reading a damaged or foreign file raises into an error that names it.

    Args:
        argument: the argument that led to the file.
        path: path or URL of the file.
        advice: what the user can do.

    Raises:
        DamagedFile: for any error of a parser, a codec or the content itself.
        InputError: if there is no such file or it may not be read; an InputError of the block as it is.

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
        if isinstance(error, OSError) and error.errno is not None:  # parsers raise it too, without a number
            raise InputError(f"{argument}: cannot read {path} ({error.strerror or error})") from error
        text = " ".join(str(error).split())
        reason = text if text and not isinstance(error, KeyError) else f"{type(error).__name__} {text}"
        raise DamagedFile(argument, path, reason[:400], advice) from error


def path_inside(folder: Path, name: Any, argument: str) -> Path:
    """Return the path of a file in a folder whose name comes from a file of somebody else.

    Args:
        folder: the only place where the file may be.
        name: a plain name, without separators; anything else is refused.
        argument: what to name in the error.

    Raises:
        InputError: if the name is not plain, or a symbolic link leads out of the folder.

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
    """Yield a temporary path in the folder of `path` that replaces it when the block ends without an error.

    The temporary name is unique among processes and machines. What a killed process left of earlier writes of the
    same file is removed when it is a day old, and by `clear_leftovers` at once.
    """
    clear_leftovers(path.parent, _LEFTOVER_SECONDS, [path.name])
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:16]}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename in (None, str(temporary), temporary):
            error.filename = str(path)  # most writers name no file when a disk is full
        raise
    finally:
        temporary.unlink(missing_ok=True)


def is_leftover(path: Path, name: str | None = None) -> bool:
    """Return whether a name is one of our own temporary names.

    Args:
        path: of which only the name counts.
        name: of the file that was to be written; by default any.

    Examples:
        >>> is_leftover(Path(".store.json.1234.tmp")), is_leftover(Path("song.tmp"))
        (True, False)
    """
    found = _LEFTOVER.fullmatch(path.name)
    return found is not None and (name is None or found[1] == f"{name}.")


def clear_leftovers(folder: Path, min_age_seconds: float = 0.0, names: Collection[str] | None = None) -> None:
    """Remove what killed processes left of their writes into a folder.

    Call it when the folder is known to be ours: files of somebody else may have names like our temporary ones.

    Args:
        folder: not searched below; nothing happens if it does not exist.
        min_age_seconds: younger files stay; 0 is safe only while other processes are locked out.
        names: of the files that were written; by default those of any.
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
        except OSError:  # another process was faster, or it is not ours to remove
            continue


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Return the text that `write_json` writes."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace").decode()  # a path may not be text in UTF-8


def write_checked_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object atomically, with a checksum of its text under the key "checksum"."""
    write_text(path, _checked_text(content))


def read_checked_json(path: Path, argument: str, advice: str, *, required: bool = True) -> dict[str, Any]:
    """Read what `write_checked_json` wrote, without the checksum.

    Args:
        path: of the file.
        argument: the argument that led to it, for the error.
        advice: what the user can do if it is damaged.
        required: refuse a file without a checksum.

    Raises:
        DamagedFile: if any byte of the file differs from what was written.
        InputError: if there is no such file or it may not be read.
    """
    with reading(argument, path, advice):
        return parse_checked_json(path, required=required)


def parse_checked_json(path: Path, *, required: bool = True) -> dict[str, Any]:
    """Read what `write_checked_json` wrote, inside a block of `reading` that names the file in another way.

    Raises:
        ValueError: if any byte of the file differs from what was written.
        OSError: if it cannot be read.
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
    checksum = hashlib.blake2b(json_text(dict(content)).encode(), digest_size=16).hexdigest()
    return json_text({**content, _CHECKSUM_KEY: checksum})


def append_checksum(path: Path) -> None:
    """Add the checksum of a file's content to it.

    A zip archive stays one (the checksum becomes its comment), and so does a Parquet file (the checksum lies in front
    of its footer, where no reader looks). `verify_checksum` checks it.
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
        checksum = hashlib.file_digest(file, _blake2b).hexdigest()
        file.seek(place)
        footer = file.read()
        file.seek(place)
        file.write(_TRAILER + checksum.encode() + b"\n" + footer)


def verify_checksum(path: Path, argument: str, advice: str, *, required: bool = True) -> None:
    """Raise DamagedFile unless a file holds what it held when `append_checksum` was called.

    Args:
        path: of the file.
        argument: the argument that led to it, for the error.
        advice: what the user can do.
        required: refuse a zip archive without a checksum, as earlier versions wrote them.
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
        digest, remaining = _blake2b(), place
        while remaining and (chunk := file.read(min(remaining, 1 << 20))):
            digest.update(chunk)
            remaining -= len(chunk)
        digest.update(footer)
        if digest.hexdigest().encode() != trailer[len(_TRAILER) : -1]:
            raise ValueError("its checksum differs")


def _footer_bytes(file: BinaryIO) -> int:
    """Return how many bytes a Parquet file has behind its data, or 0 for any other file."""
    size = file.seek(0, 2)
    if size < _PARQUET_END_BYTES:
        return 0
    file.seek(size - _PARQUET_END_BYTES)
    end = file.read()
    length = int.from_bytes(end[:4], "little") + _PARQUET_END_BYTES
    return length if end[4:] == _PARQUET_END and length <= size else 0


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Write the checksums of some files of a folder to its `checksums.json`, in the order of their names.

    Args:
        folder: of the files.
        names: paths below the folder, with slashes.
    """
    ordered = sorted(names)
    with ThreadPoolExecutor() as pool:
        sums = list(pool.map(lambda name: file_checksum(folder / name), ordered))
    write_checked_json(folder / CHECKSUMS, dict(zip(ordered, sums, strict=True)))


def verify_listed(folder: Path, argument: str, advice: str, names: Collection[str] | None = None) -> list[str]:
    """Raise DamagedFile if a file of a folder differs from what `write_checksums` found there.

    Args:
        folder: of the files; without a `checksums.json`, as earlier versions left it, nothing is checked.
        argument: the argument that led to it, for the error.
        advice: what the user can do.
        names: the files to check; by default all that are listed.

    Returns:
        The listed files that are missing, among those to check.

    Raises:
        DamagedFile: naming the first file that differs, or is not listed though it was asked for.
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
            if file_checksum(path) != known.get(name):
                raise ValueError("its checksum differs")
        return False

    with ThreadPoolExecutor() as pool:
        return [name for name, missing in zip(names, pool.map(is_missing, names), strict=True) if missing]


def file_checksum(path: str | Path) -> str:
    """Return the BLAKE2b hash of a file's content, 16 bytes in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, _blake2b).hexdigest()


def _blake2b() -> Any:
    return hashlib.blake2b(digest_size=16)


@contextmanager
def held(folder: Path, name: str, *, wait: bool = False) -> Iterator[None]:
    """Lock other processes out of a folder for the length of the block.

    A process that dies releases the lock. The lock file takes the folder's permissions, so that a folder which a
    group may write to can be used by all of it in turn. Nothing else in the folder is touched; call `clear_leftovers`
    when it is known to be ours.

    Args:
        folder: exists and can be written.
        name: the argument that names it, for the error.
        wait: wait for another process that holds the lock.

    Raises:
        InputError: if another process holds the lock, or the lock file cannot be used.
    """
    with _locked(folder / ".lock", name, f"another process is at work in {folder}; choose another folder", wait):
        yield


@contextmanager
def held_file(path: Path, name: str) -> Iterator[None]:
    """Lock other processes out of writing a file for the length of the block; the rest of its folder stays free.

    Args:
        path: of the file, in a folder that exists and can be written.
        name: the argument that names it, for the error.

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


def writable_folder(path: Path, name: str) -> Path:
    """Make a folder, or raise InputError now if nothing can be written there.

    Args:
        path: the folder.
        name: the argument that names it, for the error.
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
