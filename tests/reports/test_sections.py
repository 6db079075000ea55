"""Tables and figures of a report as pivots of the table of scores."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from ssc_toolkit.evaluation import Predictions, Results, make_score_row, measure
from ssc_toolkit.reports.comparison_sections import (
    difference_section,
    drop_section,
    overview_section,
    robustness_section,
    task_section,
)
from ssc_toolkit.reports.confusion_sections import confusion_sections
from ssc_toolkit.reports.evaluation_sections import probe_section
from ssc_toolkit.reports.page import render_html, render_markdown, render_table
from ssc_toolkit.reports.pivot import DASH

RAGGED = (("clean", 0.0), ("mp3", 2.0), ("reverb", 0.5), ("mp3", 1.0))
"""Conditions that do not have the same severities, and are not in order."""


def predictions(right: int, kind: str = "class") -> list[Predictions]:
    """Predictions for twelve tracks, of which some are right."""
    truth = np.arange(12) % 2
    outputs = np.eye(2)[np.where(np.arange(12) < right, truth, 1 - truth)]
    if kind == "multi-hot":
        truth = np.stack([truth, truth * 0, 1 - truth], axis=1)
        outputs = np.concatenate([outputs, outputs[:, :1]], axis=1)
    names = ("a", "b", "c")[: outputs.shape[1]]
    return [Predictions(outputs, truth, np.arange(12), np.arange(12), kind, names)]


def results(methods: tuple[str, ...] = ("linear",)) -> Results:
    rows = [
        make_score_row(
            measure(predictions(12 - 3 * round(severity) - place - number, kind)),
            model=model,
            task=task,
            method=method,
            corruption=corruption,
            severity=severity,
        )
        for corruption, severity in RAGGED
        for place, model in enumerate(("z", "a"))
        for task, kind in (("key", "class"), ("tags", "multi-hot"))
        for number, method in enumerate(methods)
    ]
    return Results.of(rows)


def test_severities_are_in_order_and_missing_ones_are_dashes():
    section = robustness_section(results().frame, "key")
    assert section.header == ["corruption", "model", "clean", "severity 0.5", "severity 1", "severity 2"]
    cells = [[cell.partition(" [")[0] for cell in row] for row in section.rows]
    assert cells == [
        ["mp3", "z", "1.000", DASH, "0.750", "0.500"],
        ["mp3", "a", "0.917", DASH, "0.667", "0.417"],
        ["reverb", "z", "1.000", "1.000", DASH, DASH],
        ["reverb", "a", "0.917", "0.917", DASH, DASH],
    ]
    (figure,) = section.figures.values()
    assert all(f">{name}<" in figure for name in ("mp3", "reverb", "z", "a", "accuracy"))


def test_drops_and_differences_have_a_cell_for_each_condition():
    drops = drop_section(results().relative_drops())
    assert drops.header == ["task", "corruption", "model", "severity 0.5", "severity 1", "severity 2"]
    assert [row[3].partition(" [")[0] for row in drops.rows if row[:2] == ["key", "reverb"]] == ["0 %", "0 %"]
    assert [row[5].partition(" [")[0] for row in drops.rows if row[:2] == ["key", "mp3"]] == ["50 %", "55 %"]
    (figure,) = drops.figures.values()
    assert all(f">{name}<" in figure for name in ("key", "tags", "mp3 2", "reverb 0.5"))
    differences = difference_section(results().differences([("z", "a")]))
    conditions = ["clean", "mp3 2", "reverb 0.5", "mp3 1"]
    assert differences.header == ["task", "models", *conditions, "smallest detectable"]
    assert differences.rows[0][:2] == ["key", "z \N{MINUS SIGN} a"]
    assert differences.rows[0][2].startswith("+0.083 [")


@pytest.mark.parametrize("methods", [("linear",), ("linear", "knn")])
def test_methods_have_a_column_if_there_are_several(methods):
    found = results(methods)
    several = len(methods) > 1
    sections = [
        overview_section(found.frame),
        task_section(found.frame, "key"),
        robustness_section(found.frame, "key"),
        drop_section(found.relative_drops()),
        difference_section(found.differences([("z", "a")])),
    ]
    for section in sections:
        assert ("method" in section.header) == several
        assert len({tuple(row[: 3 + several]) for row in section.rows}) == len(section.rows)  # no row twice
        assert render_table(section.header, section.rows)
    assert sections[0].header[several:] == ["model", "key (accuracy)", "tags (average precision)"]
    assert [row[0] for row in sections[0].rows] == (["linear", "linear", "knn", "knn"] if several else ["z", "a"])
    (dots,) = sections[0].figures.values()
    assert (">key, knn<" in dots) == several


def test_undefined_classes_are_counted():
    assert "1 class undefined" in " ".join(task_section(results().frame, "tags").text)
    assert task_section(results().frame, "key").text == ["12 test tracks in 12 groups."]
    clean = results().select(corruption="clean")
    rows = {tuple(row[:3]): row for row in probe_section(clean.frame).rows}
    assert rows["z", "tags", "linear"][6].endswith("1 class undefined")
    assert rows["z", "key", "linear"][3:6] == ["100 %", "accuracy", "1.000 [1.000, 1.000]"]


def test_few_groups_are_cautioned_wherever_scores_are_shown():
    grouped = [dataclasses.replace(one, groups=np.arange(12) // 3) for one in predictions(9)]
    few = Results.of([make_score_row(measure(grouped), model="z", task="key")]).frame
    for section in (probe_section(few), overview_section(few), robustness_section(with_corruption(few), "key")):
        caution = section.notes[-1]
        assert caution.startswith("key: Caution: the intervals are from 4 groups")
        assert "4 groups" in render_markdown("t", "l", [section], {})
        assert "4 groups" in render_html("t", "l", [section], {})
    clean = results().select(corruption="clean").frame
    assert not probe_section(clean).notes
    assert overview_section(clean).notes == ["key: 12 test tracks in 12 groups; tags: 12 test tracks in 12 groups"]
    assert {row[8] for row in probe_section(clean).rows} == {"12"}


def with_corruption(frame):
    return pd.concat([frame, frame.assign(corruption="mp3", severity=1.0)])


def test_confusion_matrices_have_a_row_for_each_class():
    section = confusion_sections(results(("linear", "knn")))
    (shown,) = section  # the task with one class per track
    assert (shown.title, shown.header) == ("Confusion matrix: key", ["model", "true class", "a", "b"])
    assert shown.rows[:2] == [["z", "a", "6", "0"], ["z", "b", "0", "6"]]
    assert shown.rows[3] == ["a", "b", "1", "5"]
    (figure,) = shown.figures.values()
    assert figure.count("<image") >= 2


def test_many_classes_are_listed_by_their_confusions():
    truth = np.arange(80) % 40
    said = np.where(np.isin(truth, (3, 5)), 7, truth)
    names = tuple(f"class {number:02}" for number in range(40))
    score = measure([Predictions(np.eye(40)[said], truth, np.arange(80), np.arange(80), "class", names)])
    (section,) = confusion_sections(Results.of([make_score_row(score, model="z", task="key")]))
    assert section.header == ["model", "true class", "predicted class", "tracks"]
    assert section.rows == [["z", "class 03", "class 07", "2"], ["z", "class 05", "class 07", "2"]]
