"""Files of a store, here or elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock

from ssc_toolkit.caches import cache_root
from ssc_toolkit.data.store.layout import PREPARE_ADVICE
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import DamagedFile, atomic_path, path_inside, reading, writable_folder

_SILENT_SECONDS = 30

MAX_BYTES = 2**38
"""No file of a store is larger."""

Check = Callable[[Path], Any]
"""Reads a file; raises anything unless it holds what it should."""


class Files(Protocol):
    """Where the files of a store are."""

    name: str
    advice: str

    def local(self, file: str, check: Check, *, fresh: bool = False, max_bytes: int = MAX_BYTES) -> Path:
        """Return a path on this machine.

        Args:
            file: a plain name, or one in a subfolder of the store.
            check: what a file has to pass after a transfer, before it takes its name.
            fresh: transfer it even if it is here.
            max_bytes: a transfer that goes on beyond this is refused.
        """


class LocalFiles:
    """Files in a folder of this machine."""

    advice = PREPARE_ADVICE

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder.absolute()  # the process may go to another folder

    def local(self, file: str, check: Check, *, fresh: bool = False, max_bytes: int = MAX_BYTES) -> Path:
        return _inside(self._folder, file)


class MirroredFiles:
    """Files under a URL, each copied here when it is first needed, by one process at a time.

    A copy takes its name only when its content has passed its check; one that does not is transferred once more.

    Args:
        url: anything that fsspec opens.
        cache: folder of the copies; one in the user's cache by default.

    Raises:
        InputError: if the URL cannot be opened.
    """

    advice = "ask who provides the store to copy it there again"

    def __init__(self, url: str, cache: str | Path | None = None) -> None:
        import fsspec

        url = url.rstrip("/")
        self.name = without_secrets(url)
        try:
            options = {"client_kwargs": {"timeout": _timeout()}} if url.startswith(("http://", "https://")) else {}
            self._remote, self._root = fsspec.core.url_to_fs(url, **options)
        except Exception as error:  # every file system has errors of its own
            raise InputError(f"store: cannot open {self.name} ({_reason(error, url)})") from error
        self._url = url
        digest = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
        base = cache_root() / "stores" if cache is None else Path(cache)
        self._folder = writable_folder(base / digest, "cache")

    def local(self, file: str, check: Check, *, fresh: bool = False, max_bytes: int = MAX_BYTES) -> Path:
        path = _inside(self._folder, file)
        if path.is_file() and not fresh:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if fresh or not path.is_file():
                try:
                    self._copy(file, path, check, max_bytes)
                except DamagedFile:  # perhaps only in transfer
                    self._copy(file, path, check, max_bytes)
        return path

    def _copy(self, file: str, path: Path, check: Check, max_bytes: int) -> None:
        with atomic_path(path) as temporary:
            try:
                self._remote.get_file(f"{self._root}/{file}", str(temporary), callback=_bounded(max_bytes))
            except FileNotFoundError:
                raise InputError(f"store: there is no {file} in {self.name}; was it copied whole?") from None
            except Exception as error:
                reason = _reason(error, self._url)
                raise InputError(f"store: cannot copy {self.name}/{file} ({reason})") from error
            with reading("store", f"{self.name}/{file}", self.advice):
                check(temporary)


def without_secrets(url: str) -> str:
    """Return a URL without user, password and query, for messages.

    Examples:
        >>> without_secrets("https://me:secret@host/store?token=1")
        'https://host/store'
    """
    return re.sub(r"://[^/@]*@", "://", url.partition("?")[0])


def _reason(error: Exception, url: str) -> str:
    """What an error says, without the secrets of the URL; its kind if it says nothing."""
    text = str(error).replace(url, without_secrets(url))
    for secret in re.findall(r"://([^/@]+)@|\?(.+)$", url):
        for part in filter(None, secret):
            text = text.replace(part, "…")
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()
    return text if text.strip("() ,0'\"") else kind


def _timeout() -> Any:
    """Seconds that a web server may be silent; a transfer as a whole may last."""
    import aiohttp

    return aiohttp.ClientTimeout(total=None, connect=_SILENT_SECONDS, sock_read=_SILENT_SECONDS)


def _bounded(max_bytes: int) -> Any:
    """Return a callback of fsspec that ends a transfer which is larger than it may be."""
    import fsspec

    class Bounded(fsspec.Callback):
        def relative_update(self, inc: int = 1) -> None:
            super().relative_update(inc)
            if self.value > max_bytes:
                raise ValueError(f"it has more than {max_bytes} bytes")

    return Bounded()


def _inside(folder: Path, file: str) -> Path:
    """Return the path of a file of a store; every part of its name is plain."""
    path = folder
    for part in file.split("/"):
        path = path_inside(path, part, "store")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"store: {path} is a link that leads out of {folder}")
    return path


def no_check(_: Path) -> None:
    """Accept any content: `store.json` is checked when it is read."""
