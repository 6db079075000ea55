"""What the interactive map of a report shows: places, colours, neighbours and sound of the test clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ssc_toolkit.evaluation.clips import clip_uris
from ssc_toolkit.evaluation.colorings import colorings
from ssc_toolkit.evaluation.neighbors import nearest, unit_rows
from ssc_toolkit.progress import progress_bar

WIDTH, HEIGHT = 1000, 700
NEIGHBORS = 5
MOST_POINTS = 1000
_MARGIN = 20
_HEARD_A_SEED = 40


def explorer_content(
    embeddings: Mapping[str, np.ndarray],
    tracks: pd.DataFrame,
    columns: Iterable[str],
    *,
    clips: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Everything that the map of a page needs, as JSON can hold it.

    Of more than 1000 tracks, 1000 drawn from the seed are shown. Neighbours are those of largest cosine similarity
    among the tracks shown. The clips that can be heard are chosen together with their neighbours (`heard_together`).

    Args:
        embeddings: (tracks, dim) by model; rows that are NaN in any of them are left out.
        tracks: table with `path`, `seconds` and label columns, perhaps `title`; a row an embedding.
        columns: label columns to colour by.
        clips: how many tracks can be heard; each adds 12.6 kB to the page.
        seed: of t-SNE, and of what is drawn.
        progress: show progress bars.

    Returns:
        `titles`, `clips` (a data URI or None), `columns` (name, classes, values), and `models` (name, layouts,
        neighbors, similarities), all in the order of the points.
    """
    shown = _shown(embeddings, seed)
    tracks = _rows(tracks, shown)
    models = []
    for name, vectors in progress_bar(embeddings.items(), desc="mapping", unit="model", disable=not progress):
        unit = unit_rows(vectors[shown])
        neighbors = nearest(unit, min(NEIGHBORS, len(unit) - 1))
        similarities = np.einsum("nd,nkd->nk", unit, unit[neighbors])
        models.append(
            {
                "name": name,
                "layouts": layouts(vectors[shown], seed),
                "neighbors": neighbors.tolist(),
                "similarities": similarities.astype(float).round(3).tolist(),
            }
        )
    heard = heard_together([model["neighbors"] for model in models], clips, seed)
    uris = clip_uris(tracks, heard, progress)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "titles": _titles(tracks),
        "clips": [uris.get(row) for row in range(len(tracks))],
        "columns": [coloring for column in columns for coloring in colorings(tracks, column)],
        "models": models,
    }


def layouts(vectors: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Two ways to lay standardised embeddings out on a plane: t-SNE of 30 principal components, and the first two."""
    standardised = StandardScaler().fit_transform(vectors)
    pca = PCA(min(30, *vectors.shape), random_state=seed)
    components = pca.fit_transform(standardised)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    start = "pca" if components.shape[1] > 1 else "random"
    with threadpool_limits(1):  # its threads wait for each other more than they work
        tsne = TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(components)
    share = 100 * float(pca.explained_variance_ratio_[:2].sum())
    flat = np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - components.shape[1]))))
    return [
        {
            "name": "t-SNE",
            "places": _places(tsne),
            "note": "t-SNE keeps neighbours together; it says little of distances and sizes of groups.",
        },
        {
            "name": "PCA",
            "places": _places(flat),
            "note": f"The first two principal components, which hold {share:.0f} % of the variance.",
        },
    ]


def heard_together(neighbors: Sequence[Sequence[Sequence[int]]], count: int, seed: int) -> list[int]:
    """Which points can be heard, so that many of them can be heard with all their neighbours under every model.

    Some points, one for every forty that can be heard, are drawn from the seed; then always that point comes whose
    neighbours ask for the fewest further ones.

    Args:
        neighbors: neighbours by model and point.
        count: at most so many.
        seed: of the draw.

    Examples:
        >>> heard_together([[[1], [0], [3], [2]]], 2, seed=0) in ([0, 1], [2, 3])
        True
    """
    order = np.random.default_rng(seed).permutation(len(neighbors[0])).tolist()
    asked = {point: {point}.union(*(model[point] for model in neighbors)) for point in order}
    heard: set[int] = set()
    spread = order[: max(1, count // _HEARD_A_SEED)]
    while asked and len(heard) < count:
        point = spread.pop(0) if spread else min(asked, key=lambda point: len(asked[point] - heard))
        further = [point, *sorted(asked.pop(point) - {point})]
        heard.update([other for other in further if other not in heard][: count - len(heard)])
    return sorted(heard)


def _shown(embeddings: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    usable = np.flatnonzero(np.all([np.isfinite(vectors).all(axis=1) for vectors in embeddings.values()], axis=0))
    if len(usable) <= MOST_POINTS:
        return usable
    return np.sort(np.random.default_rng(seed).choice(usable, MOST_POINTS, replace=False))


def _rows(tracks: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    chosen = tracks.iloc[rows].reset_index(drop=True)
    chosen.attrs = tracks.attrs
    return chosen


def _titles(tracks: pd.DataFrame) -> list[str]:
    names = [Path(path).stem for path in tracks["path"]]
    if "title" not in tracks:
        return names
    return [name if pd.isna(title) else str(title) for title, name in zip(tracks["title"], names, strict=True)]


def _places(points: np.ndarray) -> list[int]:
    """X and y of each point in turn, in the units of the map, both axes to one scale."""
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-9)
    box = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = (box / span).min()
    offset = (np.array([WIDTH, HEIGHT]) - scale * span) / 2
    return np.rint(offset + scale * (points - low)).astype(int).ravel().tolist()
