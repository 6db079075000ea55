"""Files that cannot be used: named, counted, reported, never silently replaced."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ssc_toolkit.csv_files import csv_text
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_text

logger = logging.getLogger(__name__)

_SHOWN = 5  # files that a message names


def too_many(problems: Mapping[str, str], total: int, most_skipped: float, strict: bool) -> bool:
    """Whether this many problems stop the work: any if strict, or more than a share, or all."""
    return bool(problems) and (strict or len(problems) > most_skipped * total or len(problems) == total)


def settle(
    problems: Mapping[str, str],
    total: int,
    most_skipped: float,
    strict: bool = False,
    report: Path | None = None,
    complete: bool = True,
) -> None:
    """Say which files cannot be used, in a warning or, if they are too many, in an error.

    Args:
        problems: path -> why.
        total: files looked at.
        most_skipped: share of them that may be left out.
        strict: none may.
        report: CSV file that lists them all, replaced atomically; there is none when there are no problems.
        complete: all files were looked at; otherwise there may be more.

    Raises:
        InputError: if they are too many.
    """
    if not problems:
        if report is not None:
            report.unlink(missing_ok=True)
        return
    where = ""
    if report is not None:
        write_text(report, csv_text(["path", "problem"], list(problems.items())))
        where = f" All {'' if complete else 'so far '}are listed in {report}."
    shown = [f"{path}: {reason}" for path, reason in list(problems.items())[:_SHOWN]]
    more = len(problems) - len(shown)
    listed = "; ".join(shown) + (f"; and {more} more" if more else "")
    summary = f"{len(problems)} of {total} audio files cannot be used{'' if complete else ' so far'}: {listed}"
    if too_many(problems, total, most_skipped, strict):
        allowed = "strict allows none" if strict else f"most_skipped, now {most_skipped:g}"
        raise InputError(f"{summary}. Mend or remove them, or allow more ({allowed}).{where}")
    logger.warning("%s. They are left out.%s", summary, where)
