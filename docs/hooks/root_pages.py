"""Pages that the site includes from the root of the repository, such as the changelog, with corrected links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
INCLUDED = re.compile(r'\A--8<-- "(\w+\.md)"\s*\Z')


def on_page_markdown(markdown: str, config: Any, **_: object) -> str:
    """Return the included page with links relative to `docs/`. A link to a file that is not a page becomes its name."""
    found = INCLUDED.match(markdown)
    if found is None:
        return markdown
    text = (Path(config["config_file_path"]).parent / found[1]).read_text(encoding="utf-8")

    def link(match: re.Match[str]) -> str:
        words, place = match.groups()
        if place in PAGES or place.startswith("docs/"):
            return f"[{words}]({PAGES.get(place, place.removeprefix('docs/'))})"
        return match[0] if "://" in place or place.startswith("#") else words

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, text)
