"""The study: its runs, a tiny one from training to tables, and that the page's tables are what the results say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from study_page import FIGURES, TABLES, interval, load  # noqa: E402
from study_runs import MAIN, SEEDS, SETTINGS, SWEEP_SEEDS, blocks  # noqa: E402

RESULTS = Path(__file__).parents[2] / "docs" / "study"
load_once = cache(load)


def study(folder: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "study.py"), "--quick", "--seeds=1", "--only", *settings]
    return subprocess.run(
        [*command, f"--out={folder / 'out'}", f"--results={folder / 'results'}"],
        capture_output=True,
        text=True,
        timeout=500,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    ended = study(folder, "statistics", "self", "semi-100")
    assert ended.returncode == 0, ended.stderr
    return folder


def test_every_run_is_planned_once():
    runs = [run.name for block in blocks() for run in block]
    assert len(set(runs)) == len(runs)
    assert all(sum(run.startswith(f"{setting.name}-") for run in runs) >= SEEDS for setting in MAIN)
    assert all(setting.seeds >= SWEEP_SEEDS for setting in SETTINGS.values() if setting.arguments is not None)


@pytest.mark.slow
def test_complete_runs_are_not_repeated(folder):
    before = {path: path.stat().st_mtime_ns for path in (folder / "results").glob("*.json")}
    ended = study(folder, "statistics", "self", "semi-100")
    assert ended.returncode == 0, ended.stderr
    assert "0 of 3 runs to do" in ended.stdout
    assert {path: path.stat().st_mtime_ns for path in (folder / "results").glob("*.json")} == before


@pytest.mark.slow
def test_accuracies_match_the_stored_predictions(folder):
    results = load(folder / "results")
    for task, by_condition in results.runs["self"][0]["probes"].items():
        for condition, record in by_condition.items():
            correct = results.correct("self", task, condition)
            assert correct.shape == (1, record["clips"]) == (1, len(results.groups[task]))
            assert correct.mean() == pytest.approx(record["accuracy"], abs=1e-5)


@pytest.mark.slow
def test_the_tables_show_the_results(folder):
    results = load(folder / "results")
    text = TABLES["main"](results)
    accuracy = json.loads((folder / "results" / "self-0.json").read_text())["probes"]["mode"]["clean"]["accuracy"]
    assert f"{accuracy:.3f}".lstrip("0") in text
    assert "semi-supervised, all labels" in text
    assert "5 %" not in text  # not run
    for draw in FIGURES.values():
        assert "semi-supervised, all labels" in draw(results)


@pytest.mark.slow
def test_other_clips_are_refused(folder, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "tracks.json").write_text('{"hash": "other"}')
    ended = study(tmp_path, "statistics")
    assert ended.returncode != 0
    assert "other clips" in ended.stderr


def test_an_interval_covers_seeds_and_tunes():
    random = np.random.default_rng(0)
    groups = np.repeat(np.arange(50), 4)
    alike = np.tile(random.random((1, 200)) < 0.5, (4, 1)).astype(float)
    apart = np.repeat([[0.2], [0.4], [0.6], [0.8]], 200, axis=1)
    by_tune, by_seed = interval(alike, groups), interval(apart, groups)
    assert by_tune.low < alike.mean() < by_tune.high
    assert by_seed.low < 0.4 < 0.5 < 0.6 < by_seed.high
    assert interval(np.ones((3, 200)), groups).low == 1.0


@pytest.mark.skipif(not RESULTS.is_dir(), reason="there are no results of the study yet")
@pytest.mark.parametrize("name", TABLES)
def test_tables_in_the_documentation_match_the_results(name):
    assert (RESULTS / f"{name}.md").read_text() == TABLES[name](load_once(RESULTS)) + "\n"
    assert f'"docs/study/{name}.md"' in (RESULTS.parent / "study.md").read_text()


@pytest.mark.skipif(not RESULTS.is_dir(), reason="there are no results of the study yet")
@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_in_the_documentation_are_there(name):
    assert "<svg" in (RESULTS / f"{name}.svg").read_text()
    assert f'"docs/study/{name}.svg"' in (RESULTS.parent / "study.md").read_text()


@pytest.mark.skipif(not RESULTS.is_dir(), reason="there are no results of the study yet")
def test_numbers_in_the_pages_are_in_the_tables():
    tables = "".join((RESULTS / f"{name}.md").read_text() for name in TABLES).replace("\N{NO-BREAK SPACE}", " ")
    readme = (RESULTS.parent.parent / "README.md").read_text()
    readme = readme[readme.index("## The effect of labels") : readme.index("## Speed and memory")]
    for text in (readme, (RESULTS.parent / "study.md").read_text()):
        said = re.findall(r"[+\N{MINUS SIGN}]?\.\d{3} \[[^]]+\]", " ".join(text.split()))
        assert said
        assert [number for number in said if number not in tables] == []
