"""With what a run was made: versions, git state, machine."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import ssc_toolkit

PACKAGES = ("torch", "torchaudio", "pytorch-lightning", "numpy", "soundfile", "soxr", "pandas")


def provenance() -> dict[str, Any]:
    """Time, command, versions, processor, and the git state of this library and of the working directory.

    Examples:
        >>> sorted(provenance())
        ['command', 'device', 'git', 'packages', 'platform', 'python', 'started']
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "packages": {"ssc-toolkit": ssc_toolkit.__version__, **{name: _version(name) for name in PACKAGES}},
        "git": {
            "ssc_toolkit": git_state(Path(ssc_toolkit.__file__).parent),
            "working_directory": git_state(Path.cwd()),
        },
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository that a folder is in, and whether tracked files differ from it; None outside of one."""
    try:
        commit = _git(folder, "rev-parse", "HEAD").strip()
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed.strip())}


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
