"""Pages that the site takes from the repository's root, such as the changelog: their links lead to the site's pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md"}
INCLUDED = re.compile(r'\A--8<-- "(\w+\.md)"\s*\Z')


def on_page_markdown(markdown: str, config: Any, **_: object) -> str:
    """The page that is included whole, its links as seen from `docs/`; a file that is no page is named."""
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
