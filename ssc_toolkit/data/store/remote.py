"""Access to the files of an audio store in a local folder or at a URL."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from ssc_toolkit.caches import find_cache_root, limit_store_copies
from ssc_toolkit.data.store.layout import PREPARE_ADVICE
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, atomic_path, make_writable_folder, path_inside, reading
from ssc_toolkit.hashing import text_hash

_SILENT_SECONDS = 30

MAX_BYTES = 2**38
"""Maximum size, in bytes, of a file that is copied from a URL."""

Check = Callable[[Path], Any]
"""Type of a function that reads a file, and raises an exception of any type if its content is wrong."""


class Files(Protocol):
    """Protocol of a class that provides the files of an audio store at a folder or URL."""

    name: str
    advice: str

    def local(self, file: str, check: Check, *, fresh: bool = False, max_bytes: int = MAX_BYTES) -> Path:
        """Return the local path of a file. If the store is at a URL, the file is copied first.

        Args:
            file: path of the file relative to the folder of the store.
            check: function that verifies a new copy.
            fresh: whether to copy the file even if there is a local copy.
            max_bytes: maximum size of a copy in bytes. Copying a larger file is an error.
        """


class LocalFiles:
    """Files of an audio store in a local folder."""

    advice = PREPARE_ADVICE

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder.absolute()  # stays valid if the process changes its working folder

    def local(self, file: str, check: Check, *, fresh: bool = False, max_bytes: int = MAX_BYTES) -> Path:
        return _inside(self._folder, file)


class MirroredFiles:
    """Files of an audio store at a URL, with local copies.

    A file is copied when it is used for the first time. A lock prevents that several processes copy the same file at
    once. A copy is verified before it is used. If this fails, the file is copied again, once.

    Args:
        url: URL that fsspec supports.
        cache: folder for the local copies. By default, a folder in the user's cache.

    Raises:
        InputError: if the URL cannot be opened.
    """

    advice = "ask the provider of the store to copy it there again"

    def __init__(self, url: str, cache: str | Path | None = None) -> None:
        import fsspec

        url = url.rstrip("/")
        self.name = hide_secrets(url)
        try:
            options = {"client_kwargs": {"timeout": _timeout()}} if url.startswith(("http://", "https://")) else {}
            self._remote, self._root = fsspec.core.url_to_fs(url, **options)
        except Exception as error:  # each file system of fsspec raises other types of errors
            raise InputError(f"store: cannot open {self.name} ({_reason(error, url)})") from error
        self._url = url
        digest = text_hash(url, size=8)
        base = find_cache_root() / "stores" if cache is None else Path(cache)
        self._folder = make_writable_folder(base / digest, "cache")
        if cache is None:
            limit_store_copies(self._folder)

    def local(self, file: str, check: Check, *, fresh: bool = False, max_bytes: int = MAX_BYTES) -> Path:
        path = _inside(self._folder, file)
        if path.is_file() and not fresh:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if fresh or not path.is_file():
                try:
                    self._copy(file, path, check, max_bytes)
                except DamagedFile:  # the damage may be due to the transfer, so try once more
                    self._copy(file, path, check, max_bytes)
        return path

    def _copy(self, file: str, path: Path, check: Check, max_bytes: int) -> None:
        with atomic_path(path) as temporary:
            try:
                self._remote.get_file(f"{self._root}/{file}", str(temporary), callback=_bounded(max_bytes))
            except FileNotFoundError:
                raise InputError(f"store: there is no {file} in {self.name}; was it copied completely?") from None
            except Exception as error:  # each file system of fsspec raises other types of errors
                reason = _reason(error, self._url)
                raise InputError(f"store: cannot copy {self.name}/{file} ({reason})") from error
            with reading("store", f"{self.name}/{file}", self.advice):
                check(temporary)


def hide_secrets(url: str) -> str:
    """Return a URL without user name, password and query, for error messages.

    Examples:
        >>> hide_secrets("https://me:secret@host/store?token=1")
        'https://host/store'
    """
    return re.sub(r"://[^/@]*@", "://", url.partition("?")[0])


def _reason(error: Exception, url: str) -> str:
    """Return the message of an error without the secrets in a URL, or the type of the error if it has no message."""
    text = str(error).replace(url, hide_secrets(url))
    for secret in re.findall(r"://([^/@]+)@|\?(.+)$", url):
        for part in filter(None, secret):
            text = text.replace(part, "…")
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    return text if text.strip("() ,0'\"") else kind


def _timeout() -> Any:
    """Return a timeout setting that stops waiting for a web server that sends no data. Long transfers are allowed."""
    import aiohttp

    return aiohttp.ClientTimeout(total=None, connect=_SILENT_SECONDS, sock_read=_SILENT_SECONDS)


def _bounded(max_bytes: int) -> Any:
    """Return a callback for fsspec that raises an error if more than `max_bytes` bytes are transferred."""
    import fsspec

    class Bounded(fsspec.Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > max_bytes:
                raise ValueError(f"it has more than {max_bytes} bytes")

    return Bounded()


def _inside(folder: Path, file: str) -> Path:
    """Return the path of a file in the folder of a store. Raise InputError if it is outside the folder."""
    path = folder
    for part in file.split("/"):
        path = path_inside(path, part, "store")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"store: {path} is a link that leads out of {folder}")
    return path


def accept_any(_: Path) -> None:
    """Accept any file, as the check of a copy of `store.json`. Its content is verified when it is read."""
