"""A report in its three formats."""

from __future__ import annotations

import json
import re

import pytest
import torch

from ssc_toolkit.commands.inputs import output_folder
from ssc_toolkit.errors import InputError
from ssc_toolkit.reports import page
from ssc_toolkit.reports.page import REPORTS, Section, render_markdown, write_report


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
    html = (tmp_path / "report.html").read_text()
    assert "Scores &lt;b&gt;" in html
    assert "<svg></svg>" in html
    assert not re.search(r"""(src|href)\s*=|url\(|@import""", html)
    assert render_markdown("Title", "Lead", [], {}).startswith("# Title\n\nLead\n")


@pytest.mark.parametrize("blocked", REPORTS)
def test_a_report_that_cannot_be_written_changes_no_file(tmp_path, blocked, monkeypatch):
    write_report(tmp_path, "First", "Lead", [], {})
    (tmp_path / blocked).unlink()
    (tmp_path / blocked).mkdir()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=f"out: expected a file or nothing at .*{blocked}, got a folder"):
        write_report(tmp_path, "Second", "Lead", [], {})
    monkeypatch.setattr(page, "check_report_files", lambda folder: None)  # the folder is made during the work
    if blocked == "report.html":
        with pytest.raises(OSError, match=blocked):
            write_report(tmp_path, "Second", "Lead", [], {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_command_refuses_a_blocked_report_before_work(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(InputError, match="out: expected a file or nothing"), output_folder(str(tmp_path)):
        pytest.fail("the command began its work")


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize(
    "text", ["", "{}", "# My notes\n", '{"title": "Mine"}', "ssc_toolkit 0.1.0 is what I use\n", "\xff"]
)
def test_a_command_keeps_a_foreign_file_named_as_a_report(tmp_path, name, text):
    write_report(tmp_path, "Title", "Lead", [], {})
    (tmp_path / name).write_text(text, encoding="latin-1")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("report.*")}
    with pytest.raises(InputError, match=f"out: .*{name}, got another file"), output_folder(str(tmp_path)):
        pytest.fail("the command began its work")
    with pytest.raises(InputError, match=f"out: .*{name}, got another file"):
        write_report(tmp_path, "Second", "Lead", [], {})
    assert {path.name: path.read_bytes() for path in tmp_path.glob("report.*")} == before


def test_notes_below_a_report_are_kept(tmp_path):
    write_report(tmp_path, "Title", "Lead", [], {})
    with (tmp_path / "report.md").open("a") as file:
        file.write("\nMy notes\n")
    with pytest.raises(InputError, match=r"report\.md, got another file"):
        write_report(tmp_path, "Second", "Lead", [], {})


@pytest.mark.parametrize("missing", [[], ["report.json"], ["report.md", "report.html"]])
def test_a_report_replaces_an_earlier_report(tmp_path, missing):
    write_report(tmp_path, "First", "Lead", [Section("Scores", ["A"], ["model"], [["mine"]])], {})
    for name in missing:
        (tmp_path / name).unlink()
    with output_folder(str(tmp_path)) as folder:
        write_report(folder, "Second", "Lead", [], {})
    assert all("Second" in (tmp_path / name).read_text() for name in REPORTS)
