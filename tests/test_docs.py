"""The documentation's Python runs, and its commands are commands."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from ssc_toolkit.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.S | re.M)
    return [block for block in found if "--8<--" not in block]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page):
    namespace: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)
    assert any(getattr(value, "__module__", "").startswith("ssc_toolkit") for value in namespace.values())


@cache
def help_text(command: str) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        main([command, "--help"])
    return text.getvalue()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")], ids=lambda page: page.name)
def test_the_commands_of_a_page_exist_with_their_options(page):
    for line in "\n".join(blocks(page, "bash")).splitlines():
        for part in line.split("&&"):
            words = shlex.split(part)
            if not words or not words[0].endswith("ssc-toolkit") or words[1].startswith("--"):
                continue
            assert words[1] in COMMANDS
            for option in re.findall(r"--\w+", part):
                assert option in help_text(words[1]), (page.name, part)
