"""Figures of scores under corruption, each an SVG text."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ssc_toolkit.evaluation.bootstrap import Interval
from ssc_toolkit.evaluation.plots import _figure, _legend_below, _svg

_MOST_COLUMNS = 4


def corruption_curves(
    scores: Mapping[str, Mapping[str, Mapping[float, Interval]]], label: str, colors: Mapping[str, str]
) -> str:
    """Lines over severity with 95 % bands: a panel a corruption, a line a model.

    Args:
        scores: intervals by corruption, model and severity.
        label: of the vertical axes.
        colors: of the models.
    """
    columns = min(_MOST_COLUMNS, len(scores))
    rows = math.ceil(len(scores) / columns)
    with _figure(rows, columns, width=2.4 * columns + 0.6, height=2.1 * rows + 0.7, sharey=True) as (figure, axes):
        for axis, (corruption, by_model) in zip(axes.flat, scores.items(), strict=False):
            for model, by_severity in by_model.items():
                severities = sorted(by_severity)
                found = [by_severity[severity] for severity in severities]
                axis.plot(severities, [f.value for f in found], "o-", color=colors[model], markersize=3, label=model)
                band = [f.low for f in found], [f.high for f in found]
                axis.fill_between(severities, *band, color=colors[model], alpha=0.13, linewidth=0)
            axis.set(title=corruption.replace("_", " "), xlabel="severity", xticks=severities)
        for axis in axes.flat[len(scores) :]:
            axis.set_visible(False)
        for axis in axes[:, 0]:
            axis.set_ylabel(label)
        _legend_below(figure, axes.flat[0])
    return _svg(figure)


def drop_heat_map(drops: Mapping[str, Mapping[str, Mapping[float, float]]]) -> str:
    """Relative drops as colours and percentages: a panel a model, a row a corruption, a column a severity.

    Args:
        drops: share of the clean score that is lost, by model, corruption and severity.
    """
    corruptions = list(next(iter(drops.values())))
    severities = sorted(next(iter(next(iter(drops.values())).values())))
    width = 0.55 * len(severities) * len(drops) + 2.4
    with _figure(1, len(drops), width, 0.3 * len(corruptions) + 1.2, sharey=True) as (figure, axes):
        for axis, (model, by_corruption) in zip(axes.flat, drops.items(), strict=True):
            values = np.array([[by_corruption[name][severity] for severity in severities] for name in corruptions])
            image = axis.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
            for (row, column), value in np.ndenumerate(values):
                color = "black" if value > 0.6 else "white"
                text = "" if math.isnan(value) else f"{100 * value:.0f}"
                axis.text(column, row, text, ha="center", va="center", color=color, fontsize=7)
            axis.set_title(model, fontsize=9)
            axis.set(xticks=range(len(severities)), xticklabels=[f"{s:g}" for s in severities], xlabel="severity")
            axis.grid(False)
        axes.flat[0].set_yticks(range(len(corruptions)), [name.replace("_", " ") for name in corruptions])
        figure.colorbar(image, ax=list(axes.flat), label="share of the clean score lost")
    return _svg(figure)
