"""Functions that convert a tidy table of scores, with one row for each score, to a table of a report."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.evaluation.results import list_rows

DASH = "\N{EN DASH}"


def pivot(
    frame: pd.DataFrame, index: Sequence[str], column: str, text: Callable[[Interval], str] | None = None
) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a table with one cell for each score.

    Args:
        frame: tidy table with the columns `value`, `low` and `high`, those in `index`, and `column`.
        index: columns whose values identify a row, in the order of their first occurrence.
        column: column whose values are the headers of the cells.
        text: function that formats a value with its interval; `format_value` by default.

    Examples:
        >>> frame = pd.DataFrame({"model": ["a", "a", "b"], "task": ["key", "mode", "key"], "value": [0.5, 0.25, 1.0],
        ...                       "low": math.nan, "high": math.nan})
        >>> pivot(frame, ["model"], "task")
        (['model', 'key', 'mode'], [['a', '0.500', '0.250'], ['b', '1.000', '–']])
    """
    rows: dict[tuple[Any, ...], dict[Any, str]] = {}
    for row in list_rows(frame):
        own = rows.setdefault(tuple(row[name] for name in index), {})
        own[row[column]] = (text or format_value)(read_interval(row))
    names = list(dict.fromkeys(frame[column]))
    header = [*(name.replace("_", " ") for name in index), *map(str, names)]
    return header, [[*map(str, key), *(own.get(name, DASH) for name in names)] for key, own in rows.items()]


def read_interval(row: Mapping[str, Any]) -> Interval:
    """Return the value of a row of a tidy table with its interval."""
    return Interval(row["value"], row["low"], row["high"])


def find_varying(frame: pd.DataFrame, columns: Sequence[str] = ("method", "label_fraction")) -> list[str]:
    """Return the columns that have more than one value in the table."""
    return [column for column in columns if frame[column].nunique() > 1]


def undefined_text(count: int, metric: str) -> str:
    """Return a text with the number of classes or columns for which a metric is undefined, or "" for none.

    Examples:
        >>> undefined_text(2, "accuracy"), undefined_text(1, "r2"), undefined_text(0, "r2")
        ('2 classes undefined', '1 columns undefined', '')
    """
    return f"{count} {'columns' if metric == 'r2' else 'classes'} undefined" if count else ""


def format_value(interval: Interval) -> str:
    """Format a value with its interval, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return DASH
    return f"{interval.value:.3f}" if math.isnan(interval.low) else str(interval)


def format_signed(interval: Interval) -> str:
    """Format a signed difference with its interval, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return DASH
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def format_percent(interval: Interval) -> str:
    """Format a fraction with its interval in percent, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return DASH
    return f"{100 * interval.value:.0f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
