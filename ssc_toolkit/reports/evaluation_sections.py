"""Sections of the reports of `probe` and `retrieval`.

The scores are in a table with one row for each model, label, method and metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.evaluation.results import SCORE_KEYS, list_cautions, list_rows, sort_in_order
from ssc_toolkit.evaluation.retrieval.geometry import embedding_geometry
from ssc_toolkit.reports.page import Section
from ssc_toolkit.reports.pivot import format_value, read_interval, undefined_text


def probe_section(frame: pd.DataFrame) -> Section:
    """Return the report section with scores of probes, with a row for each label, method, label fraction and model.

    Args:
        frame: table of scores (`Results.frame`).
    """
    header = ["model", "label", "method", "labels used", "metric", "test score", "other metrics", "tracks", "groups"]
    rows = []
    for found in _scores(sort_in_order(frame, ("task", "method", "label_fraction"))):
        first = found[0]
        rows.append(
            [
                *(first["model"], first["task"], first["method"], f"{100 * first['label_fraction']:g} %"),
                *(first["metric"], format_value(read_interval(first)), _others(found)),
                *(str(first["tracks"]), str(first["groups"])),
            ]
        )
    folds = frame["folds"].max()
    title = f"Probes, cross-validated in {folds} folds" if folds else "Probes"
    return Section(title, header=header, rows=rows, notes=list_cautions(frame))


def query_section(frame: pd.DataFrame) -> Section:
    """Return the report section with retrieval scores, with a row for each model and label.

    Args:
        frame: table of scores (`Results.frame`).
    """
    rows = []
    for found in _scores(frame):
        first = found[0]
        value, others = format_value(read_interval(first)), _others(found)
        rows.append([first["model"], first["task"], value, others, str(first["tracks"]), str(first["groups"])])
    header = ["model", "label", "mAP", "other metrics", "queries", "groups"]
    return Section("Retrieval", header=header, rows=rows, notes=list_cautions(frame))


def frame_section(frame: pd.DataFrame) -> Section:
    """Return the report section with scores of probes on frames, with a row for each model and layer.

    Args:
        frame: table of scores (`Results.frame`). The column `method` contains the layer.
    """
    firsts = [found[0] for found in _scores(frame)]
    rows = [
        [row["model"], row["method"], row["task"], row["metric"], format_value(read_interval(row)), str(row["tracks"])]
        for row in firsts
    ]
    header = ["model", "layer", "task", "metric", "test score", "tracks"]
    text = "Mean over the test tracks, with 95 % intervals from resampling the groups of test tracks."
    return Section("Frame probes", [text], header, rows)


def geometry_section(embeddings: Mapping[str, np.ndarray], tracks: TrackTable) -> Section:
    """Return the report section with hubness and anisotropy of the test embeddings, with a row for each model.

    Args:
        embeddings: (tracks, dim) embeddings of all tracks by model.
        tracks: table of all tracks.
    """
    test = (tracks["split"] == "test").to_numpy()
    rows = []
    for name, own in embeddings.items():
        vectors = own[test]
        usable = int(np.isfinite(vectors).all(axis=1).sum())
        if usable > 1:
            found = embedding_geometry(vectors, min(10, usable - 1))
            numbers = (found.hub_skewness, found.robin_hood, found.anti_hubs, found.mean_cosine, found.effective_rank)
            rows.append([name, *(f"{number:.3f}" for number in numbers)])
    header = ["model", "hub skewness", "Robin Hood index", "anti-hubs", "mean cosine", "effective rank"]
    return Section("Hubness and anisotropy of the test embeddings", header=header, rows=rows)


def _scores(frame: pd.DataFrame) -> list[list[dict[str, Any]]]:
    """Return a list of scores from a table, each as the list of its rows. The first row has the main metric."""
    return [list_rows(found) for _, found in frame.groupby(list(SCORE_KEYS), sort=False)]


def _others(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a table cell with all metrics of a score except the first, given the rows of the score."""
    cells = []
    for row in found[1:]:
        metric, value = row["metric"], row["value"]
        shown = f"{value:.0f}" if metric.startswith("undefined") else f"{value:.3f}"
        cells.append(f"{metric.replace('_', ' ')} {'undefined' if math.isnan(value) else shown}")
    return ", ".join(filter(None, [*cells, undefined_text(found[0]["undefined_classes"], found[0]["metric"])]))
