"""The pages of the documentation and the code blocks on them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "configs").glob("*.md")])
_FENCE = re.compile(r"^```+ *(?P<language>\w*)(?P<rest>[^\n`]*)\n(?P<code>.*?)^```+ *$", flags=re.S | re.M)
_NEEDS = re.compile(r' title="needs (a download|a cluster|a GPU)"')


class Block(NamedTuple):
    """A code block: its page, language, code, and what it needs that the tests do not have, if anything."""

    page: Path
    language: str
    code: str
    needs: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.page.read_text().split(self.code)[0].count(chr(10)) + 1}"


def blocks(page: Path, language: str = "") -> list[Block]:
    """The blocks of a page, those of one language if it is named; what is included from a file is none."""
    found = []
    for match in _FENCE.finditer(page.read_text()):
        needs = _NEEDS.fullmatch(match["rest"])
        if match["rest"] and needs is None:
            raise ValueError(f"{page.name}: what does a block marked {match['rest'].strip()!r} need?")
        if "--8<--" not in match["code"] and language in ("", match["language"]):
            found.append(Block(page, match["language"], match["code"], needs[1] if needs else None))
    return found


def pages_with(language: str) -> list[Path]:
    """Pages with blocks of a language that can be run here."""
    return [page for page in PAGES if any(block.needs is None for block in blocks(page, language))]


def name_of(value: object) -> str:
    """A page or block, as pytest calls it."""
    return value.place if isinstance(value, Block) else str(Path(str(value)).relative_to(ROOT))
