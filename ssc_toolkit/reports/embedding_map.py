"""Data of the interactive map in a report, with positions, colors, neighbors and audio of the test clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from ssc_toolkit.data.labels import Labels
from ssc_toolkit.data.track_table import Tracks, TrackTable
from ssc_toolkit.data.tracks import as_track_table
from ssc_toolkit.evaluation.retrieval.neighbors import find_nearest, normalize_rows
from ssc_toolkit.progress import progress_bar
from ssc_toolkit.reports.audio_clips import encode_clips
from ssc_toolkit.reports.label_colors import make_colorings

WIDTH, HEIGHT = 1000, 700
MAP_NEIGHBORS = 5
MAX_POINTS = 1000
_MARGIN = 20
_HEARD_A_SEED = 40


def make_map_data(
    embeddings: Mapping[str, np.ndarray],
    tracks: Tracks,
    labels: Mapping[str, Labels],
    *,
    clips: int = 200,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Return the data of an interactive map of embeddings as a dictionary that can be written as JSON.

    The map shows at most 1000 tracks. If there are more, 1000 of them are drawn at random. The neighbors of a track are
    the 5 shown tracks with the largest cosine similarity. `select_audible_points` selects the tracks whose audio is
    included.

    Args:
        embeddings: (tracks, dim) embeddings by model. A track is omitted if its embedding of any model is NaN.
        tracks: track table with the columns `path`, `seconds` and, optionally, `title`.
        labels: labels of all tracks, by the column by which the points can be colored.
        clips: number of tracks whose audio is included. Each adds 12.6 kB to the page.
        seed: seed of t-SNE and of the random draws.
        progress: whether to show progress bars.

    Returns:
        Dictionary with `width` and `height` of the map, `titles`, `clips` (a data URI or None), `columns` (name,
        classes, values), and `models` (name, layouts, neighbors, similarities). The lists are in the order of the
        points.
    """
    shown = _shown(embeddings, seed)
    tracks = as_track_table(tracks).select(shown)
    models = []
    for name, vectors in progress_bar(embeddings.items(), desc="mapping", unit="model", disable=not progress):
        unit = normalize_rows(vectors[shown])
        neighbors = find_nearest(unit, min(MAP_NEIGHBORS, len(unit) - 1))
        similarities = np.einsum("nd,nkd->nk", unit, unit[neighbors])
        models.append(
            {
                "name": name,
                "layouts": compute_layouts(vectors[shown], seed),
                "neighbors": neighbors.tolist(),
                "similarities": similarities.astype(float).round(3).tolist(),
            }
        )
    chosen = select_audible_points([model["neighbors"] for model in models], clips, seed)
    uris = encode_clips(tracks, chosen, progress)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "titles": _titles(tracks),
        "clips": [uris.get(row) for row in range(len(tracks))],
        "columns": [
            coloring
            for column, signal in labels.items()
            for coloring in make_colorings(signal[torch.from_numpy(shown)], column)
        ],
        "models": models,
    }


def compute_layouts(vectors: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Compute positions of embeddings `vectors`, (N, dim), in a plane by t-SNE and by PCA.

    The embeddings are standardized. t-SNE is computed from their first 30 principal components. PCA gives the first two
    principal components.
    """
    standardized = StandardScaler().fit_transform(vectors)
    pca = PCA(min(30, *vectors.shape), random_state=seed)
    components = pca.fit_transform(standardized)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    start = "pca" if components.shape[1] > 1 else "random"
    with threadpool_limits(1):  # t-SNE is slower with more threads
        tsne = TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(components)
    share = 100 * float(pca.explained_variance_ratio_[:2].sum())
    flat = np.pad(components[:, :2], ((0, 0), (0, max(0, 2 - components.shape[1]))))
    return [
        {
            "name": "t-SNE",
            "places": _places(tsne),
            "note": "t-SNE keeps neighbors together. Distances between groups and sizes of groups have little meaning.",
        },
        {
            "name": "PCA",
            "places": _places(flat),
            "note": f"The first two principal components, which explain {share:.0f} % of the variance.",
        },
    ]


def select_audible_points(neighbors: Sequence[Sequence[Sequence[int]]], count: int, seed: int) -> list[int]:
    """Select the points of a map whose audio is included in the page.

    The selection contains many points whose neighbors are all selected too.

    First, `count` / 40 points are drawn at random, and their neighbors for every model are added. Then the point that
    has the fewest neighbors outside of the selection is added with its neighbors, until `count` points are selected.

    Args:
        neighbors: indices of the neighbors of each point, for each model.
        count: maximum number of points.
        seed: seed of the draw.

    Returns:
        Sorted indices of the selected points.

    Examples:
        >>> select_audible_points([[[1], [0], [3], [2]]], 2, seed=0) in ([0, 1], [2, 3])
        True
    """
    order = np.random.default_rng(seed).permutation(len(neighbors[0])).tolist()
    candidates = {point: {point}.union(*(model[point] for model in neighbors)) for point in order}
    chosen: set[int] = set()
    spread = order[: max(1, count // _HEARD_A_SEED)]
    while candidates and len(chosen) < count:
        point = spread.pop(0) if spread else min(candidates, key=lambda point: len(candidates[point] - chosen))
        further = [point, *sorted(candidates.pop(point) - {point})]
        chosen.update([other for other in further if other not in chosen][: count - len(chosen)])
    return sorted(chosen)


def _shown(embeddings: Mapping[str, np.ndarray], seed: int) -> np.ndarray:
    usable = np.flatnonzero(np.all([np.isfinite(vectors).all(axis=1) for vectors in embeddings.values()], axis=0))
    if len(usable) <= MAX_POINTS:
        return usable
    return np.sort(np.random.default_rng(seed).choice(usable, MAX_POINTS, replace=False))


def _titles(tracks: TrackTable) -> list[str]:
    names = [Path(path).stem for path in tracks["path"]]
    if "title" not in tracks:
        return names
    return [name if pd.isna(title) else str(title) for title, name in zip(tracks["title"], names, strict=True)]


def _places(points: np.ndarray) -> list[int]:
    """Scale points (N, 2) to the size of the map, and return the list x, y, x, y, ... of all points.

    Both axes have the same scale.
    """
    low, span = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-9)
    box = np.array([WIDTH, HEIGHT]) - 2 * _MARGIN
    scale = (box / span).min()
    offset = (np.array([WIDTH, HEIGHT]) - scale * span) / 2
    return np.rint(offset + scale * (points - low)).astype(int).ravel().tolist()
