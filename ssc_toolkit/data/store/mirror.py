"""Files of a store, here or elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

from filelock import FileLock
from platformdirs import user_cache_path

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import atomic_path, writable_folder


class Files(Protocol):
    """Where the files of a store are."""

    name: str

    def local(self, file: str, least_bytes: int = 0, fresh: bool = False) -> Path:
        """A path on this machine."""


class LocalFiles:
    """Files in a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder.absolute()  # the process may go to another folder

    def local(self, file: str, least_bytes: int = 0, fresh: bool = False) -> Path:
        return self._folder / file


class MirroredFiles:
    """Files under a URL, each copied here when it is first asked for, by one process at a time.

    Args:
        url: anything that fsspec opens.
        cache: folder of the copies; one in the user's cache by default.

    Raises:
        InputError: if the URL cannot be opened.
    """

    def __init__(self, url: str, cache: str | Path | None = None) -> None:
        import fsspec

        self.name = url.rstrip("/")
        try:
            self._remote, self._root = fsspec.core.url_to_fs(self.name)
        except (ValueError, ImportError) as error:
            raise InputError(f"store: cannot open {url} ({error})") from error
        digest = hashlib.blake2b(self.name.encode(), digest_size=8).hexdigest()
        base = user_cache_path("ssc-toolkit", appauthor=False) / "stores" if cache is None else Path(cache)
        self._folder = writable_folder(base / digest, "cache")

    def local(self, file: str, least_bytes: int = 0, fresh: bool = False) -> Path:
        path = self._folder / file
        if path.is_file() and not fresh:
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock")):
            if fresh or not path.is_file():
                self._copy(file, path, least_bytes)
        return path

    def _copy(self, file: str, path: Path, least_bytes: int) -> None:
        with atomic_path(path) as temporary:
            try:
                self._remote.get_file(f"{self._root}/{file}", str(temporary))
            except FileNotFoundError:
                raise InputError(f"store: there is no {file} in {self.name}; was it copied whole?") from None
            except Exception as error:  # every file system has errors of its own
                raise InputError(f"store: cannot copy {self.name}/{file} ({error})") from error
            size = temporary.stat().st_size
            if size < least_bytes:
                raise InputError(
                    f"store: {self.name}/{file} has {size} bytes instead of {least_bytes}; was it copied whole?"
                )
