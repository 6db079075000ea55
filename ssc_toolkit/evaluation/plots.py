"""Figures of a report, each an SVG text."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssc_toolkit.evaluation.bootstrap import Interval

# Okabe and Ito's colours, told apart by colour-blind readers as well.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "svg.fonttype": "none",
    "svg.hashsalt": "ssc_toolkit",
    "font.family": "sans-serif",
}


def model_colors(models: Iterable[str]) -> dict[str, str]:
    """A colour for each model, the same in every figure of a report."""
    return dict(zip(models, itertools.cycle(COLORS)))


def learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], measures: Mapping[str, str], colors: Mapping[str, str]
) -> str:
    """Lines over the training steps, a panel a measure.

    Args:
        histories: rows with "step" and the measures, by model.
        measures: column of the rows to axis label; rows without a value are passed over.
        colors: of the models.
    """
    with _figure(1, len(measures), width=4.2 * len(measures), height=2.8) as (figure, axes):
        for axis, (column, label) in zip(axes.flat, measures.items(), strict=True):
            for model, rows in histories.items():
                points = [(row["step"], row[column]) for row in rows if row.get(column) is not None]
                marker = "o" if len(points) < 30 else None
                axis.plot(*zip(*points, strict=True), color=colors[model], label=model, marker=marker, markersize=3)
            axis.set(xlabel="step", ylabel=label)
        _legend_below(figure, axes.flat[0])
    return _svg(figure)


def score_dots(scores: Mapping[str, Mapping[str, Interval]], label: str, colors: Mapping[str, str]) -> str:
    """Dots with 95 % intervals: a panel a task, a line a model.

    Args:
        scores: intervals by task and model.
        label: of the horizontal axes.
        colors: of the models.
    """
    models = list(next(iter(scores.values())))
    with _figure(1, len(scores), width=2.1 * len(scores) + 1.4, height=0.32 * len(models) + 1, sharey=True) as (
        figure,
        axes,
    ):
        for axis, (task, by_model) in zip(axes.flat, scores.items(), strict=True):
            for place, model in enumerate(models):
                interval, color = by_model[model], colors[model]
                axis.plot([interval.low, interval.high], [place, place], color=color, linewidth=2, alpha=0.6)
                axis.plot(interval.value, place, "o", color=color, markersize=5)
            axis.set(title=task, xlabel=label)
        axes.flat[0].set_yticks(range(len(models)), models)
        axes.flat[0].invert_yaxis()
    return _svg(figure)


def severity_curves(
    scores: Mapping[str, Mapping[str, Mapping[float, Interval]]], label: str, colors: Mapping[str, str]
) -> str:
    """Lines over severity with 95 % bands: a panel a task, a line a model.

    Args:
        scores: intervals by task, model and severity.
        label: of the vertical axes.
        colors: of the models.
    """
    with _figure(1, len(scores), width=3.6 * len(scores), height=2.9) as (figure, axes):
        for axis, (task, by_model) in zip(axes.flat, scores.items(), strict=True):
            for model, by_severity in by_model.items():
                color = colors[model]
                severities = sorted(by_severity)
                values = [by_severity[severity] for severity in severities]
                axis.plot(severities, [v.value for v in values], "o-", color=color, markersize=3, label=model)
                axis.fill_between(
                    severities, [v.low for v in values], [v.high for v in values], color=color, alpha=0.13, linewidth=0
                )
            axis.set(title=task, xlabel="severity of the chain", ylabel=label, xticks=severities)
            axis.set_ylim(bottom=0)
        _legend_below(figure, axes.flat[0])
    return _svg(figure)


def matrices(blocks: Mapping[str, np.ndarray]) -> str:
    """Square matrices side by side, the first on a scale from 0 to 1, the rest from -1 to 1.

    Args:
        blocks: matrix by title: target weights, then cosine similarities.
    """
    with _figure(1, len(blocks), width=2.5 * len(blocks), height=2.7) as (figure, axes):
        for number, (axis, (title, block)) in enumerate(zip(axes.flat, blocks.items(), strict=True)):
            if number == 0:
                image = axis.imshow(block, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
            else:
                image = axis.imshow(block, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(title, fontsize=9)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
    return _svg(figure)


def maps(points: Mapping[str, np.ndarray], classes: Mapping[str, Sequence[str]]) -> str:
    """Maps of the embedding space: a column a model, a row a way of colouring.

    Args:
        points: (tracks, 2) by model.
        classes: class name of each track, by the title of the colouring.
    """
    with _figure(len(classes), len(points), width=2.9 * len(points) + 1.2, height=2.7 * len(classes)) as (figure, axes):
        for row, (title, names) in enumerate(classes.items()):
            distinct = sorted(set(names))
            colors = mpl.colormaps["hsv" if len(distinct) > 10 else "tab10"]
            for axis, (model, places) in zip(axes[row], points.items(), strict=True):
                for number, name in enumerate(distinct):
                    chosen = np.array([other == name for other in names])
                    color = colors(number / len(distinct)) if len(distinct) > 10 else colors(number)
                    axis.scatter(*places[chosen].T, s=6, color=color, label=name, linewidths=0)
                axis.set(xticks=[], yticks=[])
                axis.grid(False)
                if row == 0:
                    axis.set_title(model, fontsize=9)
            axes[row][0].set_ylabel(title)
            axes[row][-1].legend(
                loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7, markerscale=2, frameon=False
            )
    return _svg(figure)


@contextmanager
def _figure(
    rows: int, columns: int, width: float, height: float, sharey: bool = False
) -> Iterator[tuple[Figure, np.ndarray]]:
    # Not through pyplot: it keeps global state, and a window system where there is one.
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False, sharey=sharey)


def _legend_below(figure: Figure, axis: Axes) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), frameon=False, fontsize=8)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]
