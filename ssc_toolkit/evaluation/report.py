"""A report as JSON, Markdown and one self-contained HTML page."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from ssc_toolkit import __version__
from ssc_toolkit.files import write_json, write_text


@dataclass
class Section:
    """A part of a report: a heading, what it says, and perhaps a table and figures.

    Attributes:
        title: heading.
        text: paragraphs.
        header, rows: of the table, all cells text.
        figures: SVG texts by caption; only the HTML page shows them.
    """

    title: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Mapping[str, str] = field(default_factory=dict)


def write_report(folder: Path, title: str, lead: str, sections: Sequence[Section], content: Mapping[str, Any]) -> None:
    """Write `report.json`, `report.md` and `report.html` to a folder.

    Args:
        folder: where to.
        title: of the report.
        lead: what it is about, one paragraph.
        sections: what the Markdown and the HTML show.
        content: what the JSON holds; versions, date and machine are added.
    """
    provenance = environment()
    write_json(folder / "report.json", {"title": title, "environment": provenance, **content})
    write_text(folder / "report.md", markdown(title, lead, sections, provenance))
    write_text(folder / "report.html", html(title, lead, sections, provenance))


def markdown(title: str, lead: str, sections: Sequence[Section], provenance: Mapping[str, str]) -> str:
    """The report without its figures."""
    parts = [f"# {title}", lead]
    for section in sections:
        parts += [f"## {section.title}", *section.text]
        if section.rows:
            parts.append(table(section.header, section.rows))
        if section.figures:
            parts.append("Figures: see report.html.")
    parts.append(" · ".join(f"{name} {value}" for name, value in provenance.items()))
    return "\n\n".join(parts) + "\n"


def html(title: str, lead: str, sections: Sequence[Section], provenance: Mapping[str, str]) -> str:
    """The report as a page that needs nothing but itself."""
    source = files("ssc_toolkit.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(title=title, lead=lead, sections=sections, provenance=provenance)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned as text too."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return "\n".join([line(header), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)])


def environment() -> dict[str, str]:
    """What the numbers were measured with."""
    versions = {"ssc_toolkit": __version__, "python": platform.python_version()}
    for package in ("torch", "torchaudio", "scikit-learn"):
        versions[package] = importlib.metadata.version(package)
    return versions | {
        "machine": f"{platform.machine()} {platform.system()}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
