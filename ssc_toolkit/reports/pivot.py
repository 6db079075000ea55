"""Functions that convert a table of scores, with one score per row, to a table of a report."""

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
    """Convert a table with one score per row to the header and rows of a table with one score per cell.

    Args:
        frame: table with the columns `value`, `low` and `high`, those in `index`, and `column`.
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
    """Return the score in a row with the keys `value`, `low` and `high`."""
    return Interval(row["value"], row["low"], row["high"])


def find_varying(frame: pd.DataFrame, columns: Sequence[str] = ("method", "label_fraction")) -> list[str]:
    """Return those of the given columns of a table that have more than one value."""
    return [column for column in columns if frame[column].nunique() > 1]


def undefined_text(count: int, metric: str) -> str:
    """Return a text with the number of classes or columns for which a metric is undefined, or "" for none.

    Examples:
        >>> undefined_text(2, "accuracy"), undefined_text(1, "r2"), undefined_text(0, "r2")
        ('2 classes undefined', '1 column undefined', '')
    """
    one, several = ("column", "columns") if metric == "r2" else ("class", "classes")
    return f"{count} {one if count == 1 else several} undefined" if count else ""


def format_value(interval: Interval) -> str:
    """Return the text of a value with its interval, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return DASH
    return f"{interval.value:.3f}" if math.isnan(interval.low) else str(interval)


def format_signed(interval: Interval) -> str:
    """Return the text of a difference with its sign and interval, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return DASH
    return f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"


def format_percent(interval: Interval) -> str:
    """Return the text of a fraction with its interval in percent, or a dash if it is undefined."""
    if math.isnan(interval.value):
        return DASH
    return f"{100 * interval.value:.0f} % [{100 * interval.low:.0f}, {100 * interval.high:.0f}]"
