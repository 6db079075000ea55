"""Environment for Python processes that do not import modules from the working folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import ssc_toolkit

_SAFE, _PATH = "PYTHONSAFEPATH", "PYTHONPATH"


def safe_environment() -> dict[str, str]:
    """Return the environment variables for a Python process that imports nothing from the working folder.

    The child processes of that process also import nothing from the working folder. `PYTHONPATH` is kept, except for
    empty entries, which Python reads as the working folder. If the working folder contains this library, as in a clone
    that is not installed, the folder is added to `PYTHONPATH`.

    Examples:
        >>> safe_environment()["PYTHONSAFEPATH"]
        '1'
    """
    entries = [entry for entry in os.environ.get(_PATH, "").split(os.pathsep) if entry]
    root = Path(ssc_toolkit.__file__).parent.parent
    if root == Path.cwd():
        entries.append(str(root))
    environment = {name: value for name, value in os.environ.items() if name != _PATH}
    path = {_PATH: os.pathsep.join(entries)} if entries else {}
    return {**environment, **path, _SAFE: "1"}


@contextmanager
def restored_variables(names: Iterable[str]) -> Iterator[None]:
    """Context manager that restores environment variables with these names on exit."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


@contextmanager
def safe_children() -> Iterator[None]:
    """Context manager in which new processes, such as workers of joblib or `DataLoader`, get `safe_environment`."""
    safe = safe_environment()
    with restored_variables((_SAFE, _PATH)):
        os.environ.pop(_PATH, None)
        os.environ.update({name: safe[name] for name in (_SAFE, _PATH) if name in safe})
        yield
