"""Progress bars that write fewer lines when the output is not a terminal."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 15.0


def progress_bar(*args: Any, **kwargs: Any) -> tqdm:
    """Return a tqdm progress bar on stderr. If stderr is not a terminal, the bar is updated every 15 seconds."""
    if not sys.stderr.isatty():
        kwargs = {"mininterval": _SECONDS_BETWEEN_LINES, "miniters": 1, **kwargs}
    return tqdm(*args, **kwargs)
