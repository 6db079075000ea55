"""Matrices of target weights as SVG, legible on light and dark pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from torch import Tensor

VIEWS, LABELS = "#0d9488", "#e07b1a"
"""Colors of pairs of views of one item, and of pairs that are positives by their labels."""
FAINT = 0.13
"""Opacity of a pair of weight 0."""


def cell(x: float, y: float, size: float, color: str, opacity: float, tip: str = "") -> str:
    """Return a square, with a tooltip if `tip` is given."""
    square = f'<rect x="{x:g}" y="{y:g}" width="{size - 1:g}" height="{size - 1:g}" fill="{color}"'
    square += f' fill-opacity="{opacity:.3g}"' if opacity < 1 else ""
    return f"{square}><title>{escape(tip)}</title></rect>" if tip else f"{square}/>"


def text(x: float, y: float, words: str, ink: str, size: float = 11, anchor: str = "middle", weight: int = 400) -> str:
    """Return text at a position."""
    style = f'fill="{ink}" font-size="{size:g}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def matrix(
    weights: Tensor, items: Sequence[int], size: float, ink: str, name: Callable[[int], str] | None = None
) -> str:
    """Return the squares of a matrix of weights, with its upper left corner at 0, 0.

    Args:
        weights: (N, N), 0 to 1.
        items: item of each row. Pairs of rows of one item are views of one item; the pair of a row and itself is
            crossed out.
        size: width and height of a square.
        ink: color of lines and of pairs of weight 0.
        name: function that describes a row, for tooltips.
    """
    parts = []
    for row, line in enumerate(weights.tolist()):
        for column, weight in enumerate(line):
            x, y = column * size, row * size
            same = items[row] == items[column]
            itself = row == column and items.count(items[row]) > 1
            color, shown = (VIEWS, 1.0) if same else (LABELS, weight)
            tip = ""
            if name is not None:
                tip = f"{name(row)} and {name(column)}: {'views of one item, 1' if same else f'{weight:.2g}'}"
            if itself:
                ends = f'x1="{x + 2:g}" y1="{y + 2:g}" x2="{x + size - 3:g}" y2="{y + size - 3:g}"'
                parts.append(f'<line {ends} stroke="{ink}" stroke-opacity="0.5"/>')
            elif shown < 1:
                parts.append(cell(x, y, size, ink, FAINT, tip))
            if shown > 0 and not itself:
                parts.append(cell(x, y, size, color, shown, tip))
    return "".join(parts)


def svg(width: float, height: float, label: str, content: str) -> str:
    """Return a picture that shrinks to the width of its container."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{escape(label)}" style="max-width: 100%; height: auto" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">{content}</svg>'
    )


def moved(x: float, y: float, content: str) -> str:
    """Return content at another position."""
    return f'<g transform="translate({x:g} {y:g})">{content}</g>'
