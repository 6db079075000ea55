"""Progress bars that are quiet where nobody watches."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 15.0


def progress_bar(*args: Any, **kwargs: Any) -> tqdm:
    """A tqdm bar on stderr; in a log file it writes a line now and then instead of ten a second."""
    if not sys.stderr.isatty():
        kwargs = {"mininterval": _SECONDS_BETWEEN_LINES, "miniters": 1, **kwargs}
    return tqdm(*args, **kwargs)
