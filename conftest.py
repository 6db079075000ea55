"""Slow tests run with --slow or where their file is named; each worker of pytest-xdist uses one thread."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: threads that wait for each other are slow
    os.environ.setdefault("OMP_NUM_THREADS", "1")

LEFT_OUT = pytest.StashKey[int]()
"""Number of slow tests that a run leaves out."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run slow tests too: trainings, browsers, rendered corpora")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.option.slow or "slow" in config.option.markexpr:
        return
    named = {config.invocation_params.dir.joinpath(argument.split("::")[0]).resolve() for argument in config.args}
    slow = [item for item in items if item.get_closest_marker("slow") and item.path not in named]
    config.stash[LEFT_OUT] = len(slow)
    if slow:
        left_out = set(slow)
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Escape file names that are not UTF-8 in captured output, which workers cannot send."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["slow_tests_left_out"] = session.config.stash.get(LEFT_OUT, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    config, output = node.config, getattr(node, "workeroutput", {})  # type: ignore[attr-defined]
    config.stash[LEFT_OUT] = max(config.stash.get(LEFT_OUT, 0), output.get("slow_tests_left_out", 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if number := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{number} slow tests were left out; --slow runs them too")
