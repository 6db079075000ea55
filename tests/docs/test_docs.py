"""The Python of every page runs, and what is marked as needing something at least compiles."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys

import pytest
import yaml
from pages import PAGES, ROOT, Block, blocks, name_of, pages_with

PEERS = {"pytorch_metric_learning", "lightly", "torch_audiomentations"}
"""Packages of the extra `peers`: a page that needs one of them is skipped without it."""
MARKED = [block for page in PAGES for block in blocks(page, "python") if block.needs]


@pytest.mark.parametrize("page", pages_with("python"), ids=name_of)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = [block.code for block in blocks(page, "python") if block.needs is None]
    for package in sorted(PEERS & imported("\n".join(code))):
        pytest.importorskip(package, reason=f"{package} (extra peers) is not installed")
    namespace: dict[str, object] = {"__name__": "page"}
    for block in code:
        exec(compile(block, str(page), "exec"), namespace)
    assert any(getattr(value, "__module__", "").startswith("ssc_toolkit") for value in namespace.values())


def imported(code: str) -> set[str]:
    """Names of the packages that code imports."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("block", MARKED, ids=name_of)
def test_marked_python_compiles_and_imports_what_is_there(block: Block):
    compile(block.code, block.place, "exec")
    for node in ast.walk(ast.parse(block.code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ssc_toolkit"):
            module = importlib.import_module(str(node.module))
            assert all(hasattr(module, alias.name) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_code_is_hidden_from_these_tests(page):
    assert {block.language for block in blocks(page)} <= {"python", "bash", "text", "yaml"}
    for block in blocks(page, "yaml"):
        assert isinstance(yaml.safe_load(block.code), dict)
    for block in (block for block in blocks(page, "text") if block.needs is None):
        assert "import " not in block.code, f"{block.place} is Python: say so, or what it needs"
        assert "ssc-toolkit " not in block.code, f"{block.place} is a command: say so, or what it needs"


@pytest.mark.slow
def test_the_picture_of_the_readme_is_that_of_the_targets():
    made = subprocess.run(
        [sys.executable, "-c", "import overview, sys; sys.stdout.write(overview.picture())"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "docs" / "hooks",
    )
    assert (ROOT / "docs" / "images" / "target-matrix.svg").read_text() == made.stdout


def test_the_benchmarks_of_the_readme_are_the_measured_ones():
    rows = (ROOT / "README.md").read_text().split("## Speed and memory")[1].split("## ")[0]
    measured = "".join(file.read_text() for file in (ROOT / "docs" / "benchmarks").glob("*.md"))
    numbers = re.findall(r"\d[\d.,]* (?:x|ms|MB|GB)\b|\d+,\d{3}", rows)
    assert len(numbers) > 15
    assert [number for number in numbers if number not in measured] == []
