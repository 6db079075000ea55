"""Picture that explains the target matrix, computed with the targets of the library.

python docs/hooks/overview.py       # writes docs/images/target-matrix.svg
"""

from __future__ import annotations

from pathlib import Path

import torch
from matrix_svg import FAINT, LABELS, VIEWS, cell, matrix, moved, svg, text

from ssc_toolkit.targets import SameClass

PICTURE = Path(__file__).parents[1] / "images" / "target-matrix.svg"
GENRES = ("jazz", "rock", "jazz", "folk", "rock", "jazz")
KNOWN = {
    "no labels": (False,) * 6,
    "some labels": (True, True, True, False, False, False),
    "all labels": (True,) * 6,
}
NAMES = {"no labels": "NT-Xent, SimCLR", "some labels": "SemiSupCon", "all labels": "SupCon"}
INK = "#808080"  # equally legible on white and black
SIZE, VIEW_COUNT, LEFT, TOP, GAP = 17.0, 2, 44.0, 44.0, 66.0


def panel(title: str) -> str:
    """Draw one batch of six items with two views each, some of which have known labels."""
    known = torch.tensor(KNOWN[title])
    classes = torch.tensor([sorted(set(GENRES)).index(genre) for genre in GENRES])
    by_item = SameClass().weights(classes, classes, known, known).fill_diagonal_(1)
    weights = by_item.repeat_interleave(VIEW_COUNT, 0).repeat_interleave(VIEW_COUNT, 1)
    items = [item for item in range(len(GENRES)) for _ in range(VIEW_COUNT)]
    shown = [genre if is_known else "?" for genre, is_known in zip(GENRES, KNOWN[title], strict=True)]
    middle = len(items) * SIZE / 2
    parts = [text(middle, -26, title, INK, 15, weight=700), text(middle, -9, NAMES[title], INK, 13)]
    for item, label in enumerate(shown):
        parts.append(text(-6, (item + 0.5) * VIEW_COUNT * SIZE + 4, label, INK, 12, "end"))
    parts.append(matrix(weights, items, SIZE, INK))
    return "".join(parts)


def picture() -> str:
    """Draw three matrices and a legend."""
    side = len(GENRES) * VIEW_COUNT * SIZE
    step = side + GAP
    parts = [moved(LEFT + number * step, TOP, panel(title)) for number, title in enumerate(KNOWN)]
    legend = ((VIEWS, 1.0, "views of one item"), (LABELS, 1.0, "labels known and equal"), (INK, FAINT, "pushed apart"))
    x = LEFT
    for color, opacity, words in legend:
        parts.append(cell(x, TOP + side + 16, SIZE, color, opacity))
        parts.append(text(x + SIZE + 6, TOP + side + 29, words, INK, 13, "start"))
        x += SIZE + 40 + 7 * len(words)
    label = "Pairs that are pulled together in a batch of six items with two views each, by their known labels"
    return svg(LEFT + 3 * step - GAP + 4, TOP + side + 42, label, "".join(parts)) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture())
    print(PICTURE)
