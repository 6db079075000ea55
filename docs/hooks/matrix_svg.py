"""Matrices of target weights as SVG, legible on light and on dark pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from torch import Tensor

VIEWS, LABELS = "#0d9488", "#e07b1a"
"""Colours of the pairs that are views of one item, and of those that labels make positives."""
FAINT = 0.13
"""Opacity of a pair of weight 0."""


def cell(x: float, y: float, size: float, color: str, opacity: float, tip: str = "") -> str:
    """A square, with a tooltip if it has something to say."""
    square = f'<rect x="{x:g}" y="{y:g}" width="{size - 1:g}" height="{size - 1:g}" fill="{color}"'
    square += f' fill-opacity="{opacity:.3g}"' if opacity < 1 else ""
    return f"{square}><title>{escape(tip)}</title></rect>" if tip else f"{square}/>"


def text(x: float, y: float, words: str, ink: str, size: float = 11, anchor: str = "middle", weight: int = 400) -> str:
    """Words at a place."""
    style = f'fill="{ink}" font-size="{size:g}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(words)}</text>'


def matrix(
    weights: Tensor, items: Sequence[int], size: float, ink: str, name: Callable[[int], str] | None = None
) -> str:
    """Squares of a matrix of weights, its upper left corner at 0, 0.

    Args:
        weights: (N, N), 0 to 1.
        items: item of each row; pairs within an item are views of one another, a row and itself is crossed.
        size: of a square.
        ink: colour of lines and of pairs of weight 0.
        name: a row in words, for tooltips.
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
    """A picture that takes the width it is given, at most its own."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" role="img" '
        f'aria-label="{escape(label)}" style="max-width: 100%; height: auto" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">{content}</svg>'
    )


def moved(x: float, y: float, content: str) -> str:
    """Content elsewhere."""
    return f'<g transform="translate({x:g} {y:g})">{content}</g>'
