"""Searches of options: their spaces, pruning, and trials that survive a kill."""

from __future__ import annotations

import csv
import signal
import sys
from pathlib import Path

import pytest
import yaml
from training_runs import TINY, begin, wait_until

from ssc_toolkit.errors import InputError
from ssc_toolkit.options import SweepOptions
from ssc_toolkit.training.sweep import sweep
from ssc_toolkit.training.sweep.one_by_one import OneByOne
from ssc_toolkit.training.sweep.search import Search

BASE = {"tracks": "scores", "labels": "key", "validation": {"monitor": "val_loss", "every": 1}}
RANGE = {"loss.label_weight": {"low": 0.1, "high": 1.0, "log": True}, "encoder.max_hz": [5000, 8000]}


def study(folder: Path, base: dict, grid: dict, **content: object) -> str:
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    (folder / "study.yaml").write_text(yaml.safe_dump({"base": "base.yaml", "grid": grid, **content}))
    return str(folder / "study.yaml")


def options_of(folder: Path, base: dict, grid: dict, trials: int = 2, **content: object) -> SweepOptions:
    return SweepOptions(file=study(folder, base, grid, **content), out=str(folder / "out"), search=trials)


def open_search(folder: Path, grid: dict) -> Search:
    (folder / "out").mkdir(exist_ok=True)
    return Search(options_of(folder, BASE, grid).space())


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        (
            {"loss.label_weight": {"low": 1}},
            "loss.label_weight: expected low, high and optionally log or step, got low",
        ),
        ({"steps": {"low": 5, "high": 5}}, "expected low below high, got 5 and 5"),
        ({"steps": {"low": "a", "high": 5}}, "grid of .*steps.low: expected"),
        ({"steps": {"low": 0, "high": 5, "log": True}}, "steps.log: expected"),
        ({"stepz": {"low": 1, "high": 5}}, "'stepz' is not an option; did you mean steps"),
        ({"views": {"low": 0, "high": 5}}, "run 'views=0' of .*views: expected"),
        ({"views": 3}, "views: expected a list of values, got 3"),
        ({"validation.monitor": ["val_loss", None]}, "validation.monitor: expected a measure to search by"),
    ],
)
def test_wrong_search_spaces_are_errors(tmp_path, grid, words):
    with pytest.raises(InputError, match=words):
        sweep(options_of(tmp_path, BASE, grid))
    assert not (tmp_path / "out").exists()


def test_a_range_needs_a_search_and_a_search_no_runs(tmp_path):
    file = study(tmp_path, BASE, RANGE)
    with pytest.raises(InputError, match=r"label_weight: expected a list of values, got .*low"):
        SweepOptions(file=file, out=str(tmp_path / "out")).check()
    with pytest.raises(InputError, match=r"expected a grid and optionally base and seeds in .* got base, grid, runs"):
        options_of(tmp_path, BASE, RANGE, runs={"a": {}}).check()
    with pytest.raises(InputError, match="search: expected an integer of at least 1, got 0"):
        options_of(tmp_path, BASE, RANGE, trials=0).check()


def test_trials_worse_than_the_median_are_pruned(tmp_path):
    search = open_search(tmp_path, RANGE)

    def trial_with(*losses: float):
        trial, values = search.begin()
        assert 0.1 <= values["loss.label_weight"] <= 1.0
        assert values["encoder.max_hz"] in (5000, 8000)
        run = search.space.run(f"trial-{trial.number}", 0, values)
        run.folder.mkdir()
        rows = "".join(f"{step},{loss}\n" for step, loss in enumerate(losses, start=1))
        (run.folder / "history.csv").write_text(f"step,val_loss\n{rows}99,0.")  # the last line is being written
        return trial, run

    for losses in ((3.0, 2.0), (3.0, 1.5), (3.0, 1.0)):
        trial, run = trial_with(*losses)
        assert not search.is_hopeless(trial, run)
        search.end(trial, "COMPLETE", [run])
    good, bad = trial_with(3.0, 0.5), None
    assert not search.is_hopeless(*good)
    search.end(good[0], "COMPLETE", [good[1]])
    bad = trial_with(3.0, 2.5)
    assert search.is_hopeless(*bad)
    search.end(bad[0], "PRUNED", [bad[1]])
    assert [row["state"] for row in search.rows()] == ["complete"] * 4 + ["pruned"]
    assert [row["val_loss"] for row in search.rows()][:4] == [2.0, 1.5, 1.0, 0.5]


def test_an_interrupted_trial_keeps_its_values(tmp_path):
    trial, values = open_search(tmp_path, RANGE).begin()
    search = open_search(tmp_path, RANGE)
    again, same = search.begin()
    assert (again.number, same) == (trial.number, values)
    search.end(again, "FAIL", [])
    following, other = search.begin()
    assert following.number == trial.number + 1
    assert other != values
    with pytest.raises(InputError, match="contains a search with other options"):
        open_search(tmp_path, {"encoder.max_hz": [4000, 8000]})


def test_a_hopeless_process_is_stopped_without_an_error(tmp_path):
    trap = f"trap 'touch {tmp_path}/saved; exit 143' TERM; while :; do sleep 0.01; done"
    with OneByOne() as processes:
        assert processes.call(["sh", "-c", trap], lambda: True) is None
        assert processes.call(["sh", "-c", "exit 3"], lambda: True) == 3
    assert (tmp_path / "saved").exists()


@pytest.mark.slow
def test_a_killed_search_is_resumed(corpus, tmp_path, capfd):
    base = BASE | {"tracks": str(corpus), **TINY, "checkpoint_every": 1, "logs": {"tensorboard": False}}
    options = options_of(tmp_path, base, RANGE)
    out = tmp_path / "out"
    process = begin(sys.executable, "-m", "ssc_toolkit.cli", "sweep", options.file, f"--out={out}", "--search=2")
    wait_until((out / "trial-1-seed-0").exists, process)
    config = (out / "trial-1-seed-0.yaml").read_text()
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in (out / "trial-0-seed-0").rglob("*") if path.is_file()}
    sweep(options)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert (out / "trial-1-seed-0.yaml").read_text() == config
    assert "1 of 2 trials have ended" in capfd.readouterr().out
    with (out / "sweep.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [(row["run"], row["state"]) for row in rows] == [("trial-0", "complete"), ("trial-1", "complete")]
    assert float(rows[1]["loss.label_weight"]) == yaml.safe_load(config)["loss"]["label_weight"]
    assert (out / "sweep.png").exists()
