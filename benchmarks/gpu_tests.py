"""Part of the GPU benchmark: the tests that need a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from results import MEASURED, NOT_MEASURED, Results, Rows
from timing import Deadline

KEYS = ("test",)
ROOT = Path(__file__).parents[1]
FILE = "tests/test_gpu.py"


class Recorder:
    """Plugin of pytest that writes the outcome of every test as it comes.

    Args:
        results: table of the outcomes.
        until: deadline, after which no test begins.
    """

    def __init__(self, results: Results, until: Deadline) -> None:
        self.results = results
        self.until = until

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Plan a row for each test."""
        self.results.rows = [{"test": item.nodeid, "state": NOT_MEASURED} for item in session.items]
        self.results.write()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the outcome of a test. A skipped test counts as not measured."""
        if report.failed:
            text = report.longreprtext.strip().splitlines() or [""]
            self.results.put({"test": report.nodeid, "state": f"failed: {text[-1][:200]}"})
        elif report.when == "call" and report.passed:
            self.results.put({"test": report.nodeid, "state": MEASURED, "seconds": report.duration})

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """End the session after the deadline."""
        if self.until.left() < 0:
            item.session.shouldstop = "the time budget is used up"


def plan(tiny: bool, device: str) -> Rows:
    """Return no rows: the tests are listed when pytest has collected them."""
    return []


def measure(results: Results, until: Deadline, tiny: bool, device: str) -> None:
    """Run the tests."""
    results.header += f": outcome of {FILE}."
    results.write()
    options = ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}", f"--config-file={ROOT / 'pyproject.toml'}"]
    ended = pytest.main([*options, str(ROOT / FILE)], plugins=[Recorder(results, until)])
    if ended in (pytest.ExitCode.INTERNAL_ERROR, pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise RuntimeError(f"pytest ended with {ended!r}")


def tables(rows: Rows, header: str) -> str:
    """Return the number of outcomes by test function, and the tests that failed."""
    lines = [header, "", "| test | passed | failed | not measured |", "|---|---|---|---|"]
    functions: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        functions.setdefault(row["test"].partition("[")[0].rpartition("::")[2], []).append(row)
    for name, own in functions.items():
        passed, left = (sum(row["state"] == state for row in own) for state in (MEASURED, NOT_MEASURED))
        lines.append(f"| {name} | {passed} | {len(own) - passed - left} | {left} |")
    if not rows:
        lines.append(f"| all | | | {NOT_MEASURED} |")
    failed = [row for row in rows if row["state"] not in (MEASURED, NOT_MEASURED)]
    lines += ["", *(f"- {row['test'].rpartition('::')[2]}: {row['state']}" for row in failed)] if failed else []
    return "\n".join(lines) + "\n"
