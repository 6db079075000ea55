"""Reporting of audio files that cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ssc_toolkit.csv_files import csv_text
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import write_text

logger = logging.getLogger(__name__)

_SHOWN = 5  # maximum number of files in a message


def too_many(problems: Mapping[str, str], total: int, most_skipped: float, strict: bool) -> bool:
    """Return whether there are too many problems: any if `strict`, more than the allowed fraction, or all files."""
    return bool(problems) and (strict or len(problems) > most_skipped * total or len(problems) == total)


def settle(
    problems: Mapping[str, str],
    total: int,
    most_skipped: float,
    strict: bool = False,
    report: Path | None = None,
    complete: bool = True,
) -> None:
    """Report the files that cannot be used, in a warning or, if there are too many, in an error.

    Args:
        problems: reason for each path that cannot be used.
        total: number of files that were checked.
        most_skipped: fraction of the files that may be left out.
        strict: whether a single problem is an error.
        report: CSV file that lists all problems, replaced atomically; it is removed if there are no problems.
        complete: whether all files were checked.

    Raises:
        InputError: if there are too many problems.
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
        raise InputError(f"{summary}. Fix or remove them, or allow more ({allowed}).{where}")
    logger.warning("%s. They are left out.%s", summary, where)
