"""Grids of studies: names, combinations, errors, and runs that survive a kill."""

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
from ssc_toolkit.options.grid import grid_points
from ssc_toolkit.options.study import read_study
from ssc_toolkit.training.sweep import sweep

SOURCE = {"tracks": "scores", "labels": "key"}


def study(folder: Path, base: dict, **content: object) -> str:
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump({"base": "base.yaml", **content}, sort_keys=False))
    return str(file)


def runs_of(folder: Path, base: dict, **content: object) -> dict:
    return {run.folder.name: run for run in read_study(Path(study(folder, base, **content)), folder / "out", None, {})}


def test_a_grid_is_all_combinations_of_any_options(tmp_path):
    grid = {"loss.label_weight": [1, 0.2], "encoder": {"max_hz": [5000, 8000]}, "omit": [["delay", "gain"], []]}
    runs = runs_of(tmp_path, SOURCE, grid=grid, seeds=[0, 3])
    assert len(runs) == 16
    found = {
        (run.options.loss.label_weight, run.options.encoder.max_hz, run.options.omit, run.options.seed)
        for run in runs.values()
    }
    omits = [("delay", "gain"), ()]
    assert found == {(w, hz, omit, seed) for w in (1, 0.2) for hz in (5000, 8000) for omit in omits for seed in (0, 3)}
    changed = runs["label_weight=0.2,max_hz=8000,omit=1-seed-3"]
    assert changed.changes == {"loss.label_weight": 0.2, "encoder.max_hz": 8000, "omit": ["delay", "gain"]}


def test_each_run_is_combined_with_each_point(tmp_path):
    runs = runs_of(
        tmp_path, SOURCE, runs={"small": {"trainer": {"chunk_size": 4}}, "big": {"views": 4}}, grid={"views": [2, 3]}
    )
    assert list(runs) == [f"{name},views={views}-seed-0" for name in ("small", "big") for views in (2, 3)]
    assert [run.options.views for run in runs.values()] == [2, 3, 2, 3]
    assert runs["small,views=3-seed-0"].options.trainer.chunk_size == 4
    assert runs["small,views=3-seed-0"].changes == {"trainer.chunk_size": 4, "views": 3}


def test_values_without_a_plain_name_are_numbered():
    points = grid_points({"tracks": ["/music/a", "/music/b"], "labels": ["x/y", "x-y", None]}, "grid")
    assert list(points)[:2] == ["tracks=music-a,labels=1", "tracks=music-a,labels=2"]
    assert points["tracks=music-b,labels=3"] == {"tracks": "/music/b", "labels": None}


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"loss.label_wieght": [1, 2]}, "grid of .*'loss.label_wieght' .*did you mean loss.label_weight"),
        ({"stepz": [1, 2]}, "grid of .*'stepz' is not an option; did you mean steps"),
        ({"loss": {"beta": 0.5}}, r"loss.beta: expected a list of values, got 0\.5"),
        ({"steps": []}, r"steps: expected a list of values, got \[\]"),
        ({"steps": [3, 3]}, "steps: expected different values, got 3, 3"),
        ({"steps": [3, "many"]}, "run 'steps=many' of .*steps: expected an integer"),
        ({"seed": [3, 4]}, "seed is set by the study"),
        ({}, "grid of .*expected lists of values by option"),
        ({"loss.beta": [0.1], "loss": {"beta": [0.2]}}, "loss.beta occurs twice"),
        ({"steps": list(range(1, 50)), "views": list(range(2, 50))}, "expected at most 1000 combinations, got 2352"),
        (
            {"labels": [None, "key"], "label_budget": [0.5, 1.0]},
            "run 'labels=null,label_budget=0.5' of .*label_budget: expected labels as well",
        ),
        (
            {"projector.heads": ["shared", "separate"], "views": [1, 2], "labeled_fraction": [1]},
            "run 'heads=separate,views=1,labeled_fraction=1' of .*views: expected at least 2",
        ),
        (
            {"loss.beta": [-1, 0, -2]},
            "2 runs cannot work: run 'beta=-1' of .*loss.beta.*; run 'beta=-2' of .*loss.beta",
        ),
    ],
)  # fmt: skip
def test_wrong_grids_are_errors_before_the_first_run(tmp_path, grid, words):
    options = SweepOptions(file=study(tmp_path, SOURCE, grid=grid), out=str(tmp_path / "out"))
    with pytest.raises(InputError, match=words):
        sweep(options)
    assert not (tmp_path / "out").exists()


def test_an_option_of_the_grid_is_not_set_for_every_run(tmp_path):
    file = study(tmp_path, SOURCE, grid={"loss.beta": [0.1, 0.2]})
    with pytest.raises(InputError, match=r"options.loss.beta: expected an option that is not in the grid"):
        SweepOptions(file=file, out=str(tmp_path / "out"), options={"loss.beta": 0.5}).check()


def test_runs_that_cannot_use_their_tracks_are_all_named(corpus, tmp_path):
    base = {"tracks": str(corpus), **TINY}
    grid = {"labels": ["key", "mood", "famly"], "encoder.max_hz": [5000, 8000]}
    with pytest.raises(InputError, match=r"4 runs cannot work: .*labels=mood,max_hz=5000.*labels=famly,max_hz=8000"):
        sweep(SweepOptions(file=study(tmp_path, base, grid=grid), out=str(tmp_path / "out")))
    grid = {"view_seconds": [0.5, 0.001], "views": [2, 3]}
    with pytest.raises(InputError, match=r"2 runs cannot work: run 'view_seconds=0.001,views=2' of .*view_seconds"):
        sweep(SweepOptions(file=study(tmp_path, base, grid=grid), out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_killed_grid_is_resumed_and_tabulated(corpus, tmp_path, capfd):
    base = {"tracks": str(corpus), "labels": "key", **TINY, "checkpoint_every": 1, "logs": {"tensorboard": False}}
    file = study(tmp_path, base, grid={"loss.label_weight": [1, 0.2]})
    out = tmp_path / "out"
    first, second = (out / f"label_weight={value}-seed-0" for value in (1, 0.2))
    command = [sys.executable, "-m", "ssc_toolkit.cli", "sweep", file, f"--out={out}"]
    process = begin(*command)
    wait_until(second.exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in first.rglob("*") if path.is_file()}
    sweep(SweepOptions(file=file, out=str(out)))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert "1 of 2, label_weight=1-seed-0: done\n" in capfd.readouterr().out
    with (out / "sweep.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [(row["run"], row["seed"], row["step"]) for row in rows] == [
        ("label_weight=1", "0", "2"),
        ("label_weight=0.2", "0", "2"),
    ]
    assert [row.get("options.loss.label_weight", row.get("loss.label_weight")) for row in rows] == ["1", "0.2"]
    assert rows[0]["loss"] != rows[1]["loss"]
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG")
