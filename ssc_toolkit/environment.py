"""Software and machine that results are computed with."""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import UTC, datetime

from ssc_toolkit import __version__

PACKAGES = ("torch", "torchaudio", "pytorch-lightning", "numpy", "pandas", "scikit-learn", "soundfile", "soxr")
"""Packages whose versions can change results."""


def describe_environment() -> dict[str, str]:
    """Return the versions of this library, of Python and of `PACKAGES`, the machine, and the current date (UTC).

    Examples:
        >>> list(describe_environment())[:3], list(describe_environment())[-2:]
        (['ssc_toolkit', 'python', 'torch'], ['machine', 'date'])
    """
    return {
        "ssc_toolkit": __version__,
        "python": platform.python_version(),
        **{package: installed_version(package) or "none" for package in PACKAGES},
        "machine": f"{platform.machine()} {platform.system()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def installed_version(package: str) -> str | None:
    """Return the version of a package, or None if the package is not installed.

    Examples:
        >>> installed_version("no-such-package") is None
        True
    """
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
