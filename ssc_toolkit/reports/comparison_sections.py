"""Sections of the report of `compare`.

The scores are in a table with one row for each model, task, method, condition (clean audio or a corruption) and metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from ssc_toolkit.data import Labels, TrackTable
from ssc_toolkit.evaluation.comparison import RETRIEVAL
from ssc_toolkit.evaluation.conditions import name_condition
from ssc_toolkit.evaluation.results import CLEAN, list_cautions, select_headlines, sort_in_order
from ssc_toolkit.reports import plots
from ssc_toolkit.reports.embedding_map import make_map_data
from ssc_toolkit.reports.page import Section
from ssc_toolkit.reports.pivot import (
    DASH,
    find_varying,
    format_percent,
    format_signed,
    pivot,
    undefined_text,
)

INTERVALS = "95 % intervals from resampling the groups of test tracks"


def overview_section(frame: pd.DataFrame) -> Section:
    """Return the report section with the main metric of each task on clean audio, with a row for each model.

    Args:
        frame: table of scores (`Results.frame`).
    """
    clean = select_headlines(_probed(frame, corruption=CLEAN))
    methods = list(dict.fromkeys(clean["method"]))
    named = clean.assign(column=clean["task"] + " (" + clean["metric"] + ")")
    header, rows = pivot(sort_in_order(named, ("method", "model")), [*find_varying(clean), "model"], "column")
    text = (
        f"Scores on the test set, with {INTERVALS}. The models are frozen. The settings of each probe are selected on "
        "the validation set."
    )
    if frame["folds"].max():
        text = (
            f"Scores of cross-validation in {frame['folds'].max()} folds, with 95 % intervals from resampling the "
            "groups of tracks. The models are frozen. Each track is predicted by a probe that was not fitted to its "
            "group. The settings of each probe are selected on inner folds of its training tracks."
        )
    dots = plots.plot_scores(_panels(clean, "task"), plots.choose_model_colors(clean["model"].unique()))
    title = f"Probes on clean audio ({', '.join(methods)})"
    figures = {"Test scores with 95 % intervals.": dots}
    return Section(title, [text], header, rows, figures, notes=[_describe_groups(clean), *list_cautions(clean)])


def task_section(frame: pd.DataFrame, task: str) -> Section:
    """Return the report section with all metrics of one task on clean audio, with a row for each model.

    Args:
        frame: table of scores (`Results.frame`).
        task: name of the task.
    """
    clean = _probed(frame, corruption=CLEAN, task=task)
    some = clean.iloc[0]
    text = f"{some['tracks']} test tracks in {some['groups']} groups."
    if some["undefined_classes"]:
        text += f" {undefined_text(some['undefined_classes'], some['metric'])} and omitted from the means."
    named = clean.assign(metric=[name.replace("_", " ") for name in clean["metric"]])
    header, rows = pivot(sort_in_order(named, ("method",)), [*find_varying(clean), "model"], "metric")
    return Section(f"Task: {task}", [text], header, rows)


def robustness_section(frame: pd.DataFrame, task: str) -> Section:
    """Return the report section with the main metric of one task on corrupted audio.

    The table has a row for each corruption and model, and a column for each severity.

    Args:
        frame: table of scores (`Results.frame`).
        task: name of the task.
    """
    own = select_headlines(_probed(frame, task=task))
    clean, corrupted = own[own["corruption"] == CLEAN], own[own["corruption"] != CLEAN]
    repeated = [clean.assign(corruption=name) for name in corrupted["corruption"].unique()]
    curves = sort_in_order(pd.concat([*repeated, corrupted]), ("corruption", "method", "label_fraction", "model"))
    curves = curves.sort_values("severity", kind="stable")
    metric = clean["metric"].iloc[0]
    named = curves.assign(column=[f"severity {s:g}" if s else CLEAN for s in curves["severity"]])
    header, rows = pivot(named, ["corruption", *find_varying(curves), "model"], "column")
    panels = sort_in_order(_panels(curves, "corruption"), ("method", "label_fraction", "corruption"))
    figure = plots.plot_severity_curves(panels, metric, plots.choose_model_colors(frame["model"].unique()))
    text = (
        f"The probes are fitted on clean audio. The test tracks are corrupted in the same way for every model. "
        f"The table shows {metric}, with {INTERVALS}."
    )
    caption = f"{metric.capitalize()} by severity, with 95 % intervals."
    return Section(f"Robustness: {task}", [text], header, rows, {caption: figure}, notes=list_cautions(own))


def drop_section(drops: pd.DataFrame) -> Section:
    """Return the report section with the fractions by which corruptions reduce the scores on clean audio.

    Args:
        drops: table of relative drops (`Results.relative_drops`).
    """
    index = ("task", "corruption", "method", "label_fraction", "model")
    ordered = sort_in_order(drops, index).sort_values("severity", kind="stable")
    named = ordered.assign(column=[f"severity {severity:g}" for severity in ordered["severity"]])
    header, rows = pivot(named, ["task", "corruption", *find_varying(drops), "model"], "column", format_percent)
    text = (
        f"Fraction of the clean score that is lost, with {INTERVALS}. Clean and corrupted scores are paired. The "
        "drop is undefined where the clean score is 0 or below."
    )
    figure = plots.plot_heat_map(_with_conditions(_panels(drops, "task")), "relative drop")
    return Section("Relative drop", [text], header, rows, {"Relative drop by model and condition.": figure})


def difference_section(differences: pd.DataFrame) -> Section:
    """Return the report section with differences of the scores of two models on the same test tracks.

    The table has a row for each task and pair of models, and a column for each condition (clean audio or a corruption).

    Args:
        differences: table of paired differences (`Results.differences`).
    """
    named = _with_conditions(differences)
    named["models"] = named["model"] + " \N{MINUS SIGN} " + named["less"]
    index = ["task", *find_varying(named), "models"]
    header, rows = pivot(named, index, "condition", format_signed)
    clean = named[named["condition"] == CLEAN]
    _, detectable = pivot(clean.assign(value=clean["detectable"], low=math.nan), index, "condition")
    smallest = {tuple(row[:-1]): row[-1] for row in detectable}
    shown = [[*row, smallest.get(tuple(row[: len(index)]), DASH)] for row in rows]
    text = (
        f"Difference of the scores on the same test tracks, with {INTERVALS}. Both models use the same resamples. If "
        "an interval contains 0, the models may be equally good. Even if they are equally good, about one interval in "
        "twenty does not contain 0. The last column is the smallest difference on clean audio that these tracks would "
        "show with a probability of 80 %. Smaller true differences usually stay unnoticed."
    )
    return Section("Paired differences", [text], [*header, "smallest detectable"], shown)


def retrieval_section(frame: pd.DataFrame) -> Section:
    """Return the report section with retrieval scores on the test tracks, with a row for each label and model.

    Args:
        frame: table of scores (`Results.frame`).
    """
    found = sort_in_order(frame[frame["method"] == RETRIEVAL], ("task", "model")).rename(columns={"task": "label"})
    shown = found[found["metric"].str.match("mAP|hit rate@")]
    header, rows = pivot(shown, ["label", "model"], "metric")
    queries = shown.drop_duplicates(["label", "model"])["tracks"]
    text = (
        "Each clean test track that has its label in common with another test track is a query. The other test tracks "
        "are ranked by the cosine similarity of their embeddings, without a probe. mAP is the mean average precision. "
        f"Hit rate@k is the fraction of queries with a relevant track among the first k. Scores have {INTERVALS}."
    )
    asked = [[*row, str(count)] for row, count in zip(rows, queries, strict=True)]
    return Section("Retrieval", [text], [*header, "queries"], asked)


def explorer_section(
    embeddings: Mapping[str, np.ndarray],
    tracks: TrackTable,
    labels: Mapping[str, Labels],
    clips: int = 200,
    seed: int = 0,
) -> Section:
    """Return the report section with an interactive map of the embeddings of the test tracks.

    Args:
        embeddings: (tracks, dim) embeddings of all tracks by model. The map shows the first model at the start.
        tracks: table of all tracks; the map shows the test set.
        labels: labels of all tracks, by the column by which the points can be colored.
        clips: number of tracks whose audio is included.
        seed: seed of t-SNE and of the choice of tracks with audio.
    """
    is_test = (tracks["split"] == "test").to_numpy()
    test = tracks.select(is_test)
    shown = torch.tensor(is_test)
    content = make_map_data(
        {model: vectors[is_test] for model, vectors in embeddings.items()},
        test,
        {column: signal[shown] for column, signal in labels.items()},
        clips=clips,
        seed=seed,
    )
    filled = sum(clip is not None for clip in content["clips"])
    text = (
        f"Each point is one of {len(content['titles'])} test clips. The {filled} filled points have three seconds of "
        "audio. For the larger points, the audio of all their neighbors is included too. Select a point to play it. "
        "Its nearest neighbors, which have the largest cosine similarity of embeddings, are then marked on the map. A "
        "list below the map shows the neighbors for every model. You can play them from the list."
    )
    return Section("Map of the test clips", [text], explorer=content)


def _describe_groups(frame: pd.DataFrame) -> str:
    """Return a text with the number of test tracks and of their groups for each task of a table of scores."""
    sizes = frame.drop_duplicates("task")
    return "; ".join(
        f"{task}: {tracks} test tracks in {groups} groups"
        for task, tracks, groups in zip(sizes["task"], sizes["tracks"], sizes["groups"], strict=True)
    )


def _probed(frame: pd.DataFrame, **where: str) -> pd.DataFrame:
    """Return the rows of a table of scores that are scores of probes and have the given values in columns."""
    chosen = frame["method"] != RETRIEVAL
    for column, value in where.items():
        chosen &= frame[column] == value
    return frame[chosen]


def _panels(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return a table of scores with an added column `panel`, the title of the panel of a figure that shows the row.

    The title is the value of `column`, with the method and the label fraction if the table has several of them.
    """
    panel = frame[column].astype(str)
    for name in find_varying(frame):
        panel = panel + ", " + frame[name].astype(str)
    return frame.assign(panel=panel)


def _with_conditions(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table of scores with an added column `condition`, the name of the corruption and its severity."""
    names = [name_condition(*pair) for pair in zip(frame["corruption"], frame["severity"], strict=True)]
    return frame.assign(condition=names)
