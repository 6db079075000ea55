"""A report in its three formats."""

from __future__ import annotations

import json
import re

import torch

from ssc_toolkit.reports.page import Section, render_markdown, write_report


def test_a_report_is_whole_in_three_formats(tmp_path):
    section = Section(
        "Scores <b>", ["A & B"], ["model", "key"], [["mine", "0.5"], ["other", "0.25"]], {"Plot.": "<svg></svg>"}
    )
    write_report(tmp_path, "Title", "Lead", [section], {"scores": {"key": 0.5}})
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["scores"] == {"key": 0.5}
    assert content["environment"]["torch"] == torch.__version__.split("+")[0]
    text = (tmp_path / "report.md").read_text()
    assert "| mine  | 0.5  |" in text
    page = (tmp_path / "report.html").read_text()
    assert "Scores &lt;b&gt;" in page
    assert "<svg></svg>" in page
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", page)
    assert render_markdown("Title", "Lead", [], {}).startswith("# Title\n\nLead\n")
