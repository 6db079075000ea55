"""The two tiers of tests: slow ones are left out and counted, unless they are asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import os
import pytest

@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number):
    print("ran slow", os.environ.get("OMP_NUM_THREADS"))

def test_quick():
    print("ran quick", os.environ.get("OMP_NUM_THREADS"))
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    shutil.copy(ROOT / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: takes long\n")
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "test_some.py").write_text(TESTS)
    return tmp_path


def output_of(folder: Path, *options: str) -> str:
    command = [sys.executable, "-m", "pytest", "-rP", "-p", "no:cacheprovider", "-p", "xdist.plugin", *options]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    environment = outside | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("options", [(), ("checks",), ("-n2",)])
def test_slow_tests_are_left_out_and_counted(folder, options):
    printed = output_of(folder, *options)
    assert (printed.count("ran quick"), printed.count("ran slow")) == (1, 0)
    assert "3 slow tests were left out; --slow runs them too" in printed


@pytest.mark.parametrize("options", [("--slow",), ("--slow", "-n2"), ("checks/test_some.py",), ("-mslow or not slow",)])
def test_slow_tests_run_where_they_are_asked_for(folder, options):
    printed = output_of(folder, *options)
    assert (printed.count("ran quick"), printed.count("ran slow")) == (1, 3)
    assert "left out" not in printed


def test_a_slow_test_runs_by_its_name(folder):
    assert output_of(folder, "checks/test_some.py::test_slow").count("ran slow") == 3


@pytest.mark.slow
def test_processes_of_xdist_use_one_thread(folder, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "ran quick 1" in output_of(folder, "-n2")
    assert "ran quick None" in output_of(folder)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert "ran quick 3" in output_of(folder, "-n2")
