"""Targets of the GPU benchmark and the lines that compare them with the measured values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from results import NOT_MEASURED, Rows


class Target(NamedTuple):
    """Target of a measurement.

    Attributes:
        text: what is to be reached.
        find: function that returns the row of the measurement and its figures as text, or None if it did not run.
        is_met: function that returns whether the row reaches the target.
    """

    text: str
    find: Callable[[Rows], tuple[dict[str, Any], str] | None]
    is_met: Callable[[dict[str, Any]], bool]


def list_targets(targets: list[Target], rows: Rows) -> str:
    """Return a table of targets and measured values."""
    lines = ["", "| target | measured | reached |", "|---|---|---|"]
    for target in targets:
        found = target.find(rows)
        if found is None:
            lines.append(f"| {target.text} | {NOT_MEASURED} | |")
        else:
            lines.append(f"| {target.text} | {found[1]} | {'yes' if target.is_met(found[0]) else 'no'} |")
    return "\n".join(lines) + "\n"
