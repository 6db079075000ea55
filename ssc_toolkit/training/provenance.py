"""Record of how a run was started, with versions, git commits and machine."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import ssc_toolkit
from ssc_toolkit.environment import describe_environment
from ssc_toolkit.training.git import find_commit, is_changed


def describe_start() -> dict[str, Any]:
    """Return a dictionary with time, command, versions, device, and the git commits of library and working folder.

    Examples:
        >>> sorted(describe_start())
        ['command', 'device', 'environment', 'git', 'started']
    """
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "environment": describe_environment(),
        "git": read_git_state(),
    }


def read_git_state() -> dict[str, dict[str, Any] | None]:
    """Return the git commits of the source of this library and of the working folder, None outside of a repository.

    The entry `changed` says whether tracked files differ from the commit. It is determined only for this library,
    because git may run programs that a repository defines.
    """
    package = Path(ssc_toolkit.__file__).resolve().parent.parent
    own: dict[str, Any] | None = None
    if (package / ".git").exists():  # otherwise the library is installed, possibly inside another repository
        own = {"commit": find_commit(package), "changed": is_changed(package)}
    here = find_commit(Path.cwd())
    return {"ssc_toolkit": own, "working_directory": None if here is None else {"commit": here}}
