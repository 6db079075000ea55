"""Plot of the results of a study for each changed option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ssc_toolkit.files import atomic_path
from ssc_toolkit.options.grid import as_text
from ssc_toolkit.options.study import Run
from ssc_toolkit.options.validation import MEASURES, NEIGHBOR_AGREEMENT, PROBE_SCORE

_PANEL_INCHES = 3.6


def plot_study(path: Path, found: Sequence[tuple[Run, Mapping[str, Any]]], measure: str) -> None:
    """Plot a measure of the complete runs of a study against each option that differs between them.

    A point is a run, and the line connects the means. If no option differs, the runs are on the axis.

    Args:
        path: path of the PNG file. Without runs, no file is written.
        found: complete runs and their rows of the table of the study.
        measure: name of the column to plot.
    """
    if not found:
        return
    values = [_as_number(row.get(measure)) for _, row in found]
    names = dict.fromkeys(name for run, _ in found for name in run.changes)
    texts = {name: [as_text(run.changes.get(name)) for run, _ in found] for name in names}
    axes = {name: own for name, own in texts.items() if len(set(own)) > 1} or {"run": [run.name for run, _ in found]}
    figure = Figure(figsize=(_PANEL_INCHES * len(axes), _PANEL_INCHES), layout="constrained")
    panels = figure.subplots(1, len(axes), squeeze=False, sharey=True)[0]
    for panel, (name, own) in zip(panels, axes.items(), strict=True):
        _draw(panel, own, values)
        panel.set_xlabel(name)
    panels[0].set_ylabel(measure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _draw(panel: Any, texts: Sequence[str], values: Sequence[float]) -> None:
    """Draw a point for each value above the text of its option, and a line of the means."""
    places = {text: place for place, text in enumerate(sorted(set(texts), key=_order))}
    panel.plot([places[text] for text in texts], values, "o", alpha=0.6)
    means = []
    for text in places:
        own = [value for other, value in zip(texts, values, strict=True) if other == text and math.isfinite(value)]
        means.append(sum(own) / len(own) if own else math.nan)
    panel.plot(range(len(means)), means, "-")
    panel.set_xticks(range(len(places)), [text[:20] for text in places], rotation=30 if len(places) > 3 else 0)


def choose_measure(found: Sequence[tuple[Run, Mapping[str, Any]]]) -> str:
    """Return the name of the measure of the runs of a study to plot.

    It is `validation.monitor` of the first run, or the first that all runs have of the probe score, the neighbor
    agreement and the other measures of the validation, or the loss.
    """
    monitor = found[0][0].options.validation.monitor if found else None
    for name in (monitor, PROBE_SCORE, NEIGHBOR_AGREEMENT, *MEASURES):
        if name is not None and all(row.get(name) for _, row in found):
            return name
    return "loss"


def _order(text: str) -> tuple[float, str]:
    number = _as_number(text)
    return (number if math.isfinite(number) else math.inf, text)


def _as_number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
