"""Functions that write a report as JSON, Markdown and one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ssc_toolkit.environment import describe_environment
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import atomic_path, format_json

# The pattern does not match brackets that contain only numbers (intervals), underscores within words, and colons
# without //.
_MARKUP = re.compile(
    r"[\\`*<>&#|~$@{}]|\[(?![-+0-9., \xa0\u2212]+\](?![(\[:]))|:(?=//)|(?<=www)\.|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])",
    re.IGNORECASE,
)


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_FOOTER = re.compile(r"<footer>ssc_toolkit \S+ · python |\nssc_toolkit \S+ · python [^\n]*\s*\Z")
REPORTS = ("report.json", "report.md", "report.html")
"""Names of the files of a report."""


@dataclass
class Section:
    """Section of a report, with a heading, paragraphs and, optionally, a table, figures and an interactive map.

    Attributes:
        title: heading of the section.
        text: paragraphs.
        header, rows: header and rows of the table; all cells are text.
        figures: figures as SVG texts, by caption. Only the HTML page shows them.
        explorer: data of an interactive map, as `make_map_data` returns it. Only the HTML page shows the map.
        notes: paragraphs that commands also print below the table.
    """

    title: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    explorer: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()


def check_report_files(folder: Path) -> None:
    """Raise InputError if the folder contains a folder or another file with the name of a file of a report.

    Files that `write_report` wrote are accepted, because a new report replaces them. They are recognized by the version
    of this library, which is in the last line of `report.md`, in the footer of `report.html`, and in the `environment`
    of `report.json`.
    """
    for name in REPORTS:
        path = folder / name
        if path.is_dir():
            raise InputError(f"out: expected a file or nothing at {path}, got a folder; choose another folder")
        if path.exists() and not _is_report(path):
            raise InputError(
                f"out: expected a report of ssc-toolkit or nothing at {path}, got another file, which would be "
                "replaced; move it, or choose another folder"
            )


def _is_report(path: Path) -> bool:
    """Return whether `write_report` wrote a file."""
    try:
        text = path.read_bytes().decode(errors="replace")
        if path.suffix != ".json":
            return _FOOTER.search(text) is not None
        content = json.loads(text)
    except (OSError, ValueError, RecursionError):  # the file cannot be read, or is not JSON
        return False
    environment = content.get("environment") if isinstance(content, dict) else None
    return isinstance(environment, dict) and "ssc_toolkit" in environment


def write_report(folder: Path, title: str, lead: str, sections: Sequence[Section], content: Mapping[str, Any]) -> None:
    """Write `report.json`, `report.md` and `report.html` to a folder: all three, or after an error none.

    Args:
        folder: output folder.
        title: title of the report.
        lead: introduction of one paragraph.
        sections: sections of the Markdown and HTML reports.
        content: content of the JSON report. Versions, date and machine are added to it.

    Raises:
        InputError: if a folder, or a file that is not a report, has the name of one of the files.
    """
    check_report_files(folder)
    provenance = describe_environment()
    texts = (
        format_json({"title": title, "environment": provenance, **content}),
        render_markdown(title, lead, sections, provenance),
        render_html(title, lead, sections, provenance),
    )
    with ExitStack() as files_to_rename:
        for name, text in zip(REPORTS, texts, strict=True):
            temporary = files_to_rename.enter_context(atomic_path(folder / name))
            temporary.write_bytes(text.encode(errors="backslashreplace"))  # file names may be invalid UTF-8


def render_markdown(title: str, lead: str, sections: Sequence[Section], provenance: Mapping[str, str]) -> str:
    """Return the text of a report in Markdown, without figures.

    Arguments are as for `write_report`. `provenance` are versions, date and machine by name.
    """
    parts = [f"# {_line(title)}", _line(lead)]
    for section in sections:
        parts += [f"## {_line(section.title)}", *map(_line, [*section.text, *section.notes])]
        if section.rows:
            parts.append(render_table(section.header, section.rows))
        if section.figures:
            parts.append("Figures: see report.html.")
        if section.explorer:
            parts.append("Interactive map: see report.html.")
    parts.append(" · ".join(_plain(f"{name} {value}") for name, value in provenance.items()))
    return "\n\n".join(parts) + "\n"


def render_html(title: str, lead: str, sections: Sequence[Section], provenance: Mapping[str, str]) -> str:
    """Return the text of a report as a self-contained HTML page. Arguments are as for `render_markdown`.

    The content of the sections is escaped. In addition, the page has a content security policy. With it, the browser
    loads no external resources and runs no scripts except those of this package.
    """
    names = ["page.js"] + ["embedding_map.js"] * any(section.explorer for section in sections)
    scripts = [_part(name) for name in names]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_visible)
    template = environment.from_string(_part("page.html.j2"))
    return template.render(
        title=title,
        lead=lead,
        sections=sections,
        provenance=provenance,
        style=Markup(_part("page.css")),
        scripts=[Markup(script) for script in scripts],
        policy=_policy(scripts),
    )


def _visible(value: Any) -> Any:
    """Replace control characters in a text, because HTML does not allow them. Other values are returned unchanged."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
    return value


def _part(name: str) -> str:
    return files("ssc_toolkit.reports").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    """Return a content security policy (W3C CSP 3) that allows no external resources and only the given scripts."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; media-src data:"


def render_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    return _align([[_plain(cell) for cell in row] for row in [header, *rows]])


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table with aligned columns to print. Its cells are not escaped for Markdown.

    Examples:
        >>> print(format_table(["hit rate@1"], [["0.5"]]))
        | hit rate@1 |
        |------------|
        | 0.5        |
    """
    return _align([[_one_line(cell) for cell in row] for row in [header, *rows]])


def _align(lines: Sequence[Sequence[str]]) -> str:
    """Return a table of lines of cells, of which the first is the header."""
    widths = [max(len(row[column]) for row in lines) for column in range(len(lines[0]))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([line(lines[0]), rule, *map(line, lines[1:])])


def _line(text: str) -> str:
    """Escape a paragraph or heading for Markdown, so that its beginning is not read as a list, quotation or line."""
    return re.sub(r"^(?:(\d{1,9})(?=[.)](?:\s|$))|(?=[-+=>:]))", r"\1\\", _plain(text))


def _plain(text: str) -> str:
    """Return a text as one escaped line of Markdown. No-break spaces are kept."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", _one_line(text))


def _one_line(text: str) -> str:
    """Return a text as one line without control characters. No-break spaces are kept."""
    line = re.sub(r"[^\S\xa0]+", " ", text).strip()
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", line)
