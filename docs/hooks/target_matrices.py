"""Page of target matrices: weights of one batch for every label signal, computed when the site is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from generated import add
from matrix_svg import FAINT, LABELS, VIEWS, cell, matrix, moved, svg, text
from torch import Tensor

from ssc_toolkit.targets import (
    GaussianKernel,
    KeySimilarity,
    LabelOverlap,
    MaxTarget,
    SameClass,
    SharedLabels,
    SimilarityMatrix,
    Target,
    TempoKernel,
    WeightedSum,
)
from ssc_toolkit.targets.base import as_target

SIZE, INK = 19.0, "currentColor"
TAGS = ("piano", "strings", "vocal", "fast", "sad")
KEYS = {"C": 0, "G": 7, "D": 2, "Am": 21, "Em": 16, "F#": 6, "Cm": 12}


class Track(NamedTuple):
    """Labels of a track of the batch."""

    genre: str
    tags: tuple[str, ...]
    arousal: float
    tempo: float
    key: str
    artist: int


TRACKS = (
    Track("jazz", ("piano",), 0.20, 60, "C", 0),
    Track("jazz", ("piano", "vocal"), 0.30, 62, "G", 0),
    Track("jazz", ("piano", "vocal", "sad"), 0.35, 120, "Am", 1),
    Track("folk", ("vocal", "strings"), 0.40, 90, "C", 2),
    Track("folk", ("vocal", "strings", "sad"), 0.45, 92, "Em", 2),
    Track("rock", ("vocal", "fast"), 0.80, 124, "G", 3),
    Track("rock", ("fast",), 0.90, 128, "D", 3),
    Track("rock", ("fast", "vocal", "sad"), 0.85, 180, "F#", 4),
    Track("film", ("strings", "sad"), 0.10, 60, "Cm", 5),
    Track("film", ("strings", "piano", "sad"), 0.15, 90, "Am", 5),
)
LABEL_SIGNALS: dict[str, Tensor] = {
    "genre": torch.tensor([sorted({t.genre for t in TRACKS}).index(t.genre) for t in TRACKS]),
    "tags": torch.tensor([[int(tag in t.tags) for tag in TAGS] for t in TRACKS]),
    "arousal": torch.tensor([t.arousal for t in TRACKS]),
    "tempo": torch.tensor([float(t.tempo) for t in TRACKS]),
    "key": torch.tensor([KEYS[t.key] for t in TRACKS]),
    "artist": torch.tensor([t.artist for t in TRACKS]),
}
RELATED = torch.eye(6).index_put((torch.tensor([0, 1, 3, 4]), torch.tensor([1, 0, 4, 3])), torch.tensor(0.5))
"""Similarity of the six artists. Two pairs of them are similar."""
KNOWN = {
    "tags": torch.arange(10) < 6,
    "key": torch.arange(10) >= 4,
    "tempo": torch.arange(10) % 2 == 0,
}


def within_a_decade(rows: Tensor, columns: Tensor) -> Tensor:
    """Return 1 for tempi that differ by less than ten beats per minute."""
    return ((rows[:, None] - columns).abs() <= 10).float()


class Shown(NamedTuple):
    """Matrix of the page: code, name of the signal, target, and a description."""

    code: str
    signal: str | None
    target: Target
    says: str


SIGNALS: dict[str, Target] = {
    "tags": SharedLabels(minimum=2),
    "key": KeySimilarity(),
    "tempo": TempoKernel(0.06),
}
SHARES = {"tags": 0.5, "key": 0.3, "tempo": 0.2}
INVERSE_FREQUENCY = 10 / LABEL_SIGNALS["tags"].sum(0)
SECTIONS: dict[str, tuple[Shown, ...]] = {
    "No labels": (Shown("NTXentLoss()", None, SameClass(), "Only views of one track are positives."),),
    "One class per track: genre": (Shown("SameClass()", "genre", SameClass(), "1 if the genres are equal."),),
    "Tags": (
        Shown(
            "SharedLabels(minimum=1)",
            "tags",
            SharedLabels(1),
            "1 if one tag is in common: nearly all pairs are positives.",
        ),
        Shown("SharedLabels(minimum=2)", "tags", SharedLabels(2), "1 if two tags are in common."),
        Shown(
            'LabelOverlap("dice")',
            "tags",
            LabelOverlap("dice"),
            "Twice the number of common tags divided by the sum of the numbers of tags.",
        ),
        Shown(
            'LabelOverlap("jaccard")',
            "tags",
            LabelOverlap("jaccard"),
            "Number of common tags divided by the number of tags that either has.",
        ),
        Shown(
            'LabelOverlap("dice", class_weights)',
            "tags",
            LabelOverlap("dice", INVERSE_FREQUENCY),
            "Rare tags have more weight: class weights are inverse frequencies.",
        ),
    ),
    "Numbers: arousal": (
        Shown("GaussianKernel(0.1)", "arousal", GaussianKernel(0.1), "Similar within about 0.1."),
        Shown("GaussianKernel(0.3)", "arousal", GaussianKernel(0.3), "A wide kernel leaves few negatives."),
    ),
    "Tempo": (
        Shown("TempoKernel(0.06)", "tempo", TempoKernel(0.06), "Within about 4 % of the tempo."),
        Shown(
            "TempoKernel(0.06, octave_blind=True)",
            "tempo",
            TempoKernel(0.06, octave_blind=True),
            "Half and double tempo count as equal: 60 and 120, 62 and 124, 90 and 180.",
        ),
        Shown("your own function", "tempo", as_target(within_a_decade), "1 within ten beats per minute, 0 otherwise."),
    ),
    "Musical key": (
        Shown("KeySimilarity()", "key", KeySimilarity(), "MIREX weights: fifth 0.5, relative 0.3, parallel 0.2."),
        Shown(
            'KeySimilarity("fifths")',
            "key",
            KeySimilarity("fifths"),
            "By the distance of the key signatures; C major and A minor have the same one.",
        ),
    ),
    "Your own similarity": (
        Shown(
            "SimilarityMatrix(matrix)",
            "artist",
            SimilarityMatrix(RELATED),
            "The entry of the matrix for the numbers of the two artists.",
        ),
    ),
    "Several signals, each known for some tracks only": (
        Shown("MaxTarget({...})", "all", MaxTarget(SIGNALS), "The largest weight of the signals."),
        Shown(
            "WeightedSum({...})",
            "all",
            WeightedSum({name: (target, SHARES[name]) for name, target in SIGNALS.items()}),
            "The sum with weights of 0.5 for tags, 0.3 for key and 0.2 for tempo; an unknown signal adds 0.",
        ),
    ),
}

INTRODUCTION = """# Target matrices

See which weights each [target](targets.md) computes from the labels of the same ten tracks, for each kind of label. A
weight of 1 pulls a pair together as strongly as two views of one track, and 0 pushes it apart. Point at a square to
read its weight. The library computes the matrices when this page is built.

"""
PARTLY = """Tags are known for tracks 1 to 6, keys for tracks 5 to 10, and tempi for tracks with odd numbers.
`SharedLabels(2)`, `KeySimilarity()` and `TempoKernel(0.06)` use them.

"""


def weights_of(shown: Shown) -> Tensor:
    """Compute the weights (10, 10) of the batch, 1 on the diagonal."""
    if shown.signal is None:
        return torch.eye(len(TRACKS))
    if shown.signal == "all":
        labels: Any = {name: LABEL_SIGNALS[name] for name in KNOWN}
        weights = shown.target.weights(labels, labels, KNOWN, KNOWN)
    else:
        labels = LABEL_SIGNALS[shown.signal]
        shown.target.check(labels, None)
        weights = shown.target(labels, labels)
    return weights.clone().fill_diagonal_(1)


def labels_in_words(track: Track) -> dict[str, str]:
    """Return the name of the row of a track in the matrix of each signal."""
    number = TRACKS.index(track) + 1
    return {
        "genre": track.genre,
        "tags": ", ".join(track.tags),
        "arousal": f"{track.arousal:.2f}",
        "tempo": f"{track.tempo:g}",
        "key": track.key,
        "artist": f"artist {track.artist}",
        "all": f"track {number}",
    }


def drawing(shown: Shown) -> str:
    """Draw the matrix of one target, with labels as names of its rows."""
    names = [labels_in_words(track)[shown.signal or "all"] for track in TRACKS]
    left = 18 + 6.2 * max(map(len, names))
    parts = [text(left - 8, (row + 0.5) * SIZE + 4, name, INK, 11, "end") for row, name in enumerate(names)]
    squares = matrix(weights_of(shown), range(len(TRACKS)), SIZE, INK, lambda row: f"track {row + 1}, {names[row]}")
    parts.append(moved(left, 0, squares))
    return svg(left + len(TRACKS) * SIZE, len(TRACKS) * SIZE, f"Weights of ten tracks by {shown.code}", "".join(parts))


def legend() -> str:
    """Draw the legend of the colors."""
    pairs = ((VIEWS, 1.0, "views of one track"), (LABELS, 1.0, "1"), (LABELS, 0.5, "0.5"), (INK, FAINT, "0"))
    parts, x = [], 0.0
    for color, opacity, words in pairs:
        parts += [cell(x, 0, SIZE, color, opacity), text(x + SIZE + 5, 14, words, INK, 12, "start")]
        x += SIZE + 30 + 6.5 * len(words)
    return svg(x, SIZE, "Colors of the weights", "".join(parts))


def batch_table() -> str:
    """Return the ten tracks as a table."""
    lines = ["| track | genre | tags | arousal | tempo | key | artist |", "|---|---|---|---|---|---|---|"]
    for number, track in enumerate(TRACKS, start=1):
        words = labels_in_words(track)
        cells = (words[name] for name in ("genre", "tags", "arousal", "tempo", "key"))
        lines.append(f"| {number} | {' | '.join(cells)} | {track.artist} |")
    return "\n".join(lines) + "\n"


def page(sections: Mapping[str, tuple[Shown, ...]] = SECTIONS) -> str:
    """Return the page as Markdown with drawings."""
    parts = [INTRODUCTION, batch_table(), f"\n{legend()}\n"]
    for title, matrices in sections.items():
        parts.append(f"\n## {title}\n\n")
        if matrices[0].signal == "all":
            parts.append(PARTLY)
        figures = (
            f'<figure class="matrix"><figcaption><code>{shown.code}</code><br>{shown.says}</figcaption>'
            f"{drawing(shown)}</figure>"
            for shown in matrices
        )
        parts.append('<div class="matrices" data-search-exclude>' + "".join(figures) + "</div>\n")
    return "".join(parts)


def on_files(files: Any, config: Any) -> Any:
    """Add the page to the site."""
    add(files, config, "target-matrices.md", page())
    return files
