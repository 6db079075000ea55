"""Reports of labels, titles, files and models whose names are made to break out of a page."""

from __future__ import annotations

import functools
import json
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from page_parts import Parts

from ssc_toolkit.data import encode_labels
from ssc_toolkit.evaluation.metrics.bootstrap import Interval
from ssc_toolkit.reports import plots
from ssc_toolkit.reports.embedding_map import make_map_data
from ssc_toolkit.reports.page import Section, render_html, write_report
from ssc_toolkit.reports.training_sections import learning_section, similarity_section

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script><!--",
    "]]><script>alert(1)</script><![CDATA[",
    "\"' onload=alert(1) x='",
    "</text></svg><svg onload=alert(1)>",
    "</title></style><img src=x onerror=alert(1)>",
    "nul \x00 bell \x07 escape \x1b[31m vertical \x0b csi \x9b \ufffe",
    "\u202e right to left \u2066 \u200f",
    "--> {{ 7 * 7 }} {% include 'x' %} $x^2$ \\alpha &amp; &lt;",
    "line\nbreak\r\u2028",
    "_\udcff.wav",
    "javascript:alert(1)",
)
PLAIN = tuple(f"name {number}" for number in range(len(HOSTILE)))
SOME = Interval(0.5, 0.4, 0.6)


def figures(names: tuple[str, ...]) -> dict[str, str]:
    colors = plots.choose_model_colors(names)
    drawable = [name.encode(errors="backslashreplace").decode() for name in names]  # as `open_models` names them
    table = pd.DataFrame(
        [
            {"panel": panel, "model": model, "metric": names[0], "condition": condition, "severity": 1.0, **vars(SOME)}
            for place, panel in enumerate(drawable)
            for model in (panel, drawable[place - 1])
            for condition in (panel, drawable[place - 1])
        ]
    )
    once = table.drop_duplicates(["panel", "model"])
    drawable_colors = plots.choose_model_colors(drawable)
    square = np.eye(4)
    found = {
        "dots": plots.plot_scores(once, drawable_colors),
        "curves": plots.plot_severity_curves(pd.concat([once.assign(severity=0.0), once]), names[0], drawable_colors),
        "heat": plots.plot_heat_map(table, names[0]),
        "learning": plots.plot_learning_curves(
            {n: [{"step": 1, "loss": 2.0}] for n in names}, {"loss": names[0]}, colors
        ),
    }
    sections = (
        learning_section({n: [{"step": 1, "loss": 2.0}] for n in names}, {"loss": names[1]}, names),
        similarity_section(square, dict.fromkeys(names, square), names[2]),
    )
    for section in sections:
        found |= section.figures
    return found


@functools.cache
def drawn(names: tuple[str, ...]) -> list[str]:
    return list(figures(names).values())


def sections(names: tuple[str, ...]) -> list[Section]:
    points = np.random.default_rng(0).standard_normal((24, 5)).astype(np.float32)
    cells = pd.Series([names[n % len(names)] for n in range(24)], dtype=object)
    tracks = pd.DataFrame({"path": "/nowhere/" + cells, "seconds": 6.0, "title": cells})
    tracks[names[3]] = [name.encode(errors="ignore").decode() for name in cells]  # a table is text in UTF-8
    tagged = Section(
        names[0], names, names, [names, names[::-1]], {names[n % len(names)]: f for n, f in enumerate(drawn(names))}
    )
    content = make_map_data(
        dict.fromkeys(names, points), tracks, {names[3]: encode_labels(tracks, names[3])}, clips=0, progress=False
    )
    return [tagged, *(Section(name) for name in names), Section("map", explorer=content)]


@pytest.fixture(scope="module")
def pages() -> dict[tuple[str, ...], str]:
    return {
        names: render_html(names[5], names[1], sections(names), {names[0]: names[4], names[1]: names[0]})
        for names in (HOSTILE, PLAIN)
    }


def test_no_name_adds_a_tag_an_attribute_or_a_script(pages):
    hostile, plain = Parts(pages[HOSTILE]), Parts(pages[PLAIN])
    assert hostile.attributes == plain.attributes
    assert len(hostile.scripts) == len(plain.scripts) == 3
    assert [json.loads(hostile.scripts[0])["titles"][:6]] == [list(HOSTILE[:6])]
    assert hostile.scripts[1:] == plain.scripts[1:]
    assert not any("alert" in value or "name " in value for _, value in hostile.active_values)
    assert not any(name.startswith("on") for name, _ in hostile.active_values)
    assert "<script>alert(1)</script>" in hostile.text  # shown as it is
    assert "{{ 7 * 7 }}" in hostile.text


def test_no_control_character_comes_into_a_page(pages):
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", pages[HOSTILE])


def test_figures_are_well_formed_whatever_the_names():
    for svg in drawn(HOSTILE):
        root = ElementTree.fromstring(svg.encode(errors="backslashreplace"))
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert not tags & {"script", "img", "foreignObject", "a", "iframe"}
        assert not any(name.startswith("on") for element in root.iter() for name in element.attrib)
        for element in root.iter():
            for name, value in element.attrib.items():
                assert not (name.endswith(("href", "style")) and "alert" in value)


def test_a_report_of_hostile_names_is_written_whole(tmp_path):
    content = {"records": [{"model": name} for name in HOSTILE]}
    write_report(tmp_path, HOSTILE[0], HOSTILE[10], sections(HOSTILE), content)
    read = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [record["model"] for record in read["records"]] == list(HOSTILE)
    lines = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "\\<script\\>" in lines
    assert "<script" not in lines.replace("\\<", "")
    assert Parts((tmp_path / "report.html").read_text(encoding="utf-8")).scripts[0]
