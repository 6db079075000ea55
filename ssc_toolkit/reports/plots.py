"""Figures of a report as SVG texts. Their text has the text color of the page, which may be light or dark."""

from __future__ import annotations

import io
import itertools
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

# Colors of Okabe and Ito, which color-blind readers can distinguish. Only those visible on white and on black are used.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#888888")
_INK = "#010203"  # placeholder for the text color of the page
_PANELS_ABREAST = 3
_MAX_NAME, _MAX_TITLE = 40, 26
"""Maximum number of characters of a model name and of the title of a panel; longer ones are shortened in the middle."""
_INCHES_PER_CHARACTER = 0.08
_MAX_TICKS = 40
"""Maximum number of classes whose names are shown next to a matrix."""
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "svg.fonttype": "none",
    "svg.hashsalt": "ssc_toolkit",
    "font.family": "sans-serif",
    "text.parse_math": False,  # a $ in a name is not the start of a formula
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), _INK
    ),
}


def choose_model_colors(models: Iterable[str]) -> dict[str, str]:
    """Return a color for each model, by name, so that it has the same color in every figure of a report."""
    return dict(zip(models, itertools.cycle(COLORS)))


def plot_learning_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], measures: Mapping[str, str], colors: Mapping[str, str]
) -> str:
    """Plot measures over the training steps as SVG text, with a panel for each measure.

    Args:
        histories: for each model, rows with the keys "step" and the names of the measures.
        measures: axis label of each measure. Rows without a value of a measure are skipped.
        colors: colors by model.
    """
    width, labels = 4.2 * len(measures), _short_labels(histories)
    legend_columns, legend_height = _legend_layout(width, labels)
    with _figure(1, len(measures), width=width, height=2.6 + legend_height) as (figure, axes):
        for axis, (column, label) in zip(axes.flat, measures.items(), strict=True):
            for model, rows in histories.items():
                points = [(row["step"], row[column]) for row in rows if row.get(column) is not None]
                marker = "o" if len(points) < 30 else None
                style = {"color": colors[model], "label": labels[model], "marker": marker, "markersize": 3}
                axis.plot(*zip(*points, strict=True), **style)
            axis.set(xlabel="step", ylabel=_shortened(label, _MAX_TITLE))
        _legend_below(figure, axes.flat[0], legend_columns)
    return _svg(figure)


def plot_scores(frame: pd.DataFrame, colors: Mapping[str, str]) -> str:
    """Plot scores with 95 % intervals as SVG text, with a panel for each task and a line for each model.

    Args:
        frame: table with `panel` (the title), `model`, `metric` (the label of the horizontal axis), `value`, `low` and
            `high`.
        colors: colors by model.
    """
    models = frame["model"].unique().tolist()
    panels = _parts(frame, "panel")
    rows, columns = _layout(len(panels))
    height, labels = (0.32 * len(models) + 1) * rows, _short_labels(models)
    width = 2.3 * columns + max(1.4, _text_width(labels.values()))
    with _figure(rows, columns, width=width, height=height, sharey=True) as (figure, axes):
        for axis, (title, part) in zip(axes.flat, panels, strict=False):
            for model, own in _parts(part, "model"):
                place, color = models.index(model), colors[model]
                axis.plot(own[["low", "high"]].iloc[0], [place, place], color=color, linewidth=2, alpha=0.6)
                axis.plot(own["value"], [place], "o", color=color, markersize=5)
            metric = _shortened(str(part["metric"].iloc[0]), _MAX_TITLE)
            axis.set(title=_shortened(title, _MAX_TITLE), xlabel=metric)
            _say_if_empty(axis, part["value"].to_numpy())
        axes.flat[0].set_yticks(range(len(models)), list(labels.values()))
        axes.flat[0].invert_yaxis()
        _hide_empty(axes, len(panels))
    return _svg(figure)


def plot_severity_curves(frame: pd.DataFrame, label: str, colors: Mapping[str, str]) -> str:
    """Plot scores by severity with 95 % intervals as SVG text.

    There is a panel for each task or corruption, with a curve for each model.

    Args:
        frame: table with `panel` (the title), `model`, `severity`, `value`, `low` and `high`.
        label: label of the vertical axes.
        colors: colors by model.
    """
    panels = _parts(frame.sort_values("severity", kind="stable"), "panel")
    rows, columns = _layout(len(panels))
    width, labels = max(4.2, 3.3 * columns), _short_labels(frame["model"].unique())
    legend_columns, legend_height = _legend_layout(width, labels)
    with _figure(rows, columns, width=width, height=2.7 * rows + legend_height + 0.1) as (figure, axes):
        for axis, (title, part) in zip(axes.flat, panels, strict=False):
            for model, own in _parts(part, "model"):
                color, severities = colors[model], own["severity"]
                axis.plot(severities, own["value"], "o-", color=color, markersize=3, label=labels[model])
                axis.fill_between(severities, own["low"], own["high"], color=color, alpha=0.13, linewidth=0)
            axis.set_xticks(part["severity"].unique())
            axis.set(title=_shortened(title, _MAX_TITLE), xlabel="severity", ylabel=_shortened(label, _MAX_TITLE))
            axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
            _say_if_empty(axis, part["value"].to_numpy())
        _hide_empty(axes, len(panels))
        _legend_below(figure, axes.flat[0], legend_columns)
    return _svg(figure)


def plot_heat_map(frame: pd.DataFrame, label: str) -> str:
    """Plot fractions as colored cells with their values in percent, as SVG text.

    There is a panel for each task, with a row for each model and a column for each condition.

    Args:
        frame: table with `panel` (the title), `model`, `condition` and `value`. A cell with NaN is empty. A panel
            without values has the text "not defined".
        label: label of the color bar.
    """
    names, conditions = frame["model"].unique().tolist(), frame["condition"].unique().tolist()
    blocks = {
        title: part.pivot(index="model", columns="condition", values="value").reindex(index=names, columns=conditions)
        for title, part in _parts(frame, "panel")
    }
    highest = np.nanmax([0.1, *frame["value"]])
    labels, shown = _short_labels(names), [_shortened(condition, _MAX_TITLE) for condition in conditions]
    width = 0.62 * len(conditions) + 1.2 + max(1.6, _text_width([*labels.values(), *shown]))
    height = (0.36 * len(names) + 1.1) * len(blocks) + max(0.4, 0.6 * _text_width(shown))
    with _figure(len(blocks), 1, width=width, height=height, sharex=True) as (figure, axes):
        for axis, (title, block) in zip(axes.flat, blocks.items(), strict=True):
            image = _heat_panel(axis, title, block.to_numpy(), highest)
            axis.set_yticks(np.arange(len(names)) + 0.5, list(labels.values()))
            axis.set_xticks(np.arange(len(conditions)) + 0.5, shown, rotation=35, ha="right")
            axis.invert_yaxis()
        bar = figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.8)
        bar.set_label(_shortened(label, _MAX_TITLE))
        bar.ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.0f} %")
    return _svg(figure)


def _heat_panel(axis: Axes, title: str, block: np.ndarray, highest: float) -> QuadMesh:
    image = axis.pcolormesh(block, cmap="YlOrRd", vmin=0, vmax=highest, edgecolors="none")
    for (row, column), value in np.ndenumerate(block):
        if np.isfinite(value):
            ink = "white" if value > 0.6 * highest else "black"
            text = f"{100 * value:.0f} %".replace("-", "\N{MINUS SIGN}")
            axis.text(column + 0.5, row + 0.5, text, color=ink, ha="center", va="center", fontsize=7.5)
    axis.set_title(_shortened(title, _MAX_TITLE))
    axis.grid(False)
    axis.tick_params(length=0)
    _say_if_empty(axis, block)
    return image


def plot_matrices(blocks: Mapping[str, np.ndarray]) -> str:
    """Plot square matrices next to each other as SVG text.

    Args:
        blocks: matrices by title. The first contains target weights, 0 to 1, the others cosine similarities, -1 to 1.
    """
    with _figure(1, len(blocks), width=2.5 * len(blocks), height=2.7) as (figure, axes):
        for number, (axis, (title, block)) in enumerate(zip(axes.flat, blocks.items(), strict=True)):
            if number == 0:
                image = axis.imshow(block, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
            else:
                image = axis.imshow(block, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
            axis.set_title(_shortened(title, _MAX_TITLE), fontsize=9)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03)
    return _svg(figure)


def plot_confusions(matrices: Mapping[str, np.ndarray], classes: Sequence[str]) -> str:
    """Plot confusion matrices as SVG text, with a panel for each model. Each cell is a fraction of its row.

    Args:
        matrices: numbers of tracks (true classes, predicted classes) by model.
        classes: names of the classes.
    """
    rows, columns = _layout(len(matrices))
    names = [_shortened(str(name), _MAX_TITLE) for name in classes] if len(classes) <= _MAX_TICKS else []
    size = max(2.0, 0.2 * len(names)) + min(1.6, _text_width(names))
    labels = _short_labels(matrices)
    with _figure(rows, columns, width=size * columns + 0.8, height=(size + 0.3) * rows) as (figure, axes):
        for axis, (model, matrix) in zip(axes.flat, matrices.items(), strict=False):
            totals = matrix.sum(axis=1, keepdims=True)
            fractions = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
            image = axis.imshow(fractions, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
            axis.set_title(_shortened(labels[model], _MAX_TITLE), fontsize=9)
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
            axis.tick_params(length=0)
            axis.grid(False)
        _hide_empty(axes, len(matrices))
        bar = figure.colorbar(image, ax=axes.ravel().tolist(), shrink=0.6)
        bar.set_label("fraction of the true class")
    return _svg(figure)


@contextmanager
def _figure(
    rows: int, columns: int, width: float, height: float, sharex: bool = False, sharey: bool = False
) -> Iterator[tuple[Figure, np.ndarray]]:
    # pyplot is not used, because it keeps global state and may open a window system.
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey)


def _parts(frame: pd.DataFrame, column: str) -> list[tuple[str, pd.DataFrame]]:
    """Return pairs of each value of a column as text and the rows with this value, in order of first occurrence."""
    return [(str(value), part) for value, part in frame.groupby(column, sort=False)]


def _layout(panels: int) -> tuple[int, int]:
    """Return the number of rows and columns of a figure with a number of panels."""
    columns = min(panels, _PANELS_ABREAST)
    return math.ceil(panels / columns), columns


def _hide_empty(axes: np.ndarray, panels: int) -> None:
    for axis in axes.flat[panels:]:
        axis.set_visible(False)


def _say_if_empty(axis: Axes, values: np.ndarray | Sequence[float]) -> None:
    if not np.isfinite(values).any():
        axis.text(0.5, 0.5, "not defined", transform=axis.transAxes, ha="center", va="center", fontstyle="italic")


def _legend_layout(width: float, labels: Mapping[str, str]) -> tuple[int, float]:
    """Return the number of columns of a legend below a figure of a width in inches, and its height in inches."""
    columns = max(1, min(3, len(labels), int(width / (_text_width(labels.values()) + 0.5))))
    return columns, 0.2 * math.ceil(len(labels) / columns)


def _legend_below(figure: Figure, axis: Axes, columns: int) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def _short_labels(names: Iterable[str]) -> dict[str, str]:
    """Return a label for each model, of limited length. Labels that would be equal are numbered."""
    labels: dict[str, str] = {}
    for name in names:
        # matplotlib leaves labels that begin with an underscore out of a legend
        label = "\N{ZERO WIDTH SPACE}" * name.startswith("_") + _shortened(name, _MAX_NAME)
        same = sum(other == label or other.startswith(f"{label} (") for other in labels.values())
        labels[name] = f"{label} ({same + 1})" if same and len(name) > _MAX_NAME else label
    return labels


def _text_width(labels: Iterable[str]) -> float:
    """Return the width of the longest label in inches, approximately."""
    return _INCHES_PER_CHARACTER * max(map(len, labels), default=0)


def _shortened(text: str, limit: int) -> str:
    """Replace the middle of a text that is longer than `limit` by an ellipsis, and characters that cannot be drawn."""
    text = _drawable(text)
    if len(text) <= limit:
        return text
    return f"{text[: limit // 2]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (limit - 1 - limit // 2) :]}"


def _drawable(name: str) -> str:
    """Replace characters that matplotlib cannot draw or that XML does not allow."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", name.encode(errors="backslashreplace").decode())


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Text is not converted to paths. The browser has the glyphs, even if the font used for the layout lacks them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
