"""Functions that read the state of a git repository without running code that the repository defines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_MAX_BYTES = 50_000_000
_MAX_LINKS = 5
_QUIET = ("core.fsmonitor=false", "core.hooksPath=/dev/null", "core.pager=cat", "core.untrackedCache=false")


def find_commit(folder: Path) -> str | None:
    """Return the hash of the checked-out commit of the git repository that contains a folder, or None without one.

    The commit is read from plain files (`HEAD`, loose and packed references). No program runs: git need not be
    installed, and hooks, filters and monitors of the repository are not used.

    Args:
        folder: folder in the repository, at any depth; worktrees and submodules are supported.
    """
    try:
        for parent in (folder.resolve(), *folder.resolve().parents):
            if (parent / ".git").exists():
                return _head_of(_git_folder(parent))
    except (OSError, ValueError):
        return None
    return None


def is_changed(checkout: Path) -> bool | None:
    """Return whether tracked files of a git checkout differ from its commit, or None if git is missing or fails.

    This runs `git status`, which may run filters that the checkout defines. Use this function only for a checkout whose
    code is already running.

    Args:
        checkout: folder that contains `.git`.
    """
    git = shutil.which("git")
    if git is None or not Path(git).is_absolute():  # a relative path would be in the working folder
        return None
    options = [word for setting in _QUIET for word in ("-c", setting)]
    command = [git, "--no-pager", *options, "-C", str(checkout), "status", "--porcelain", "--untracked-files=no"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            [*command, "--ignore-submodules=all"],
            capture_output=True,
            check=True,
            timeout=10,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return bool(done.stdout.strip())


def _git_folder(checkout: Path) -> Path:
    """Return the folder of a git checkout that contains the file `HEAD`.

    In a worktree or a submodule, `.git` is a file that contains the path of this folder.
    """
    path = checkout / ".git"
    if path.is_dir():
        return path
    text = _read(path).strip()
    if not text.startswith("gitdir:"):
        raise ValueError("not a git file")
    return checkout / text.removeprefix("gitdir:").strip()


def _head_of(git_folder: Path) -> str | None:
    common = git_folder
    if (git_folder / "commondir").is_file():  # a worktree shares the references of its repository
        common = git_folder / _read(git_folder / "commondir").strip()
    content = _read(git_folder / "HEAD").strip()
    for _ in range(_MAX_LINKS):
        if _COMMIT.fullmatch(content):
            return content
        name = content.removeprefix("ref:").strip()
        if not content.startswith("ref:") or not name.startswith("refs/") or ".." in name:
            return None
        for folder in (git_folder, common):
            if (folder / name).is_file():
                content = _read(folder / name).strip()
                break
        else:
            return _packed(common / "packed-refs", name)
    return None


def _packed(path: Path, name: str) -> str | None:
    for line in _read(path).splitlines() if path.is_file() else ():
        commit, _, reference = line.partition(" ")
        if reference == name and _COMMIT.fullmatch(commit):
            return commit
    return None


def _read(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"{path} is not a file")
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode("utf-8", errors="replace")
