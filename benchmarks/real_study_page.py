"""Tables and figure of the study on real recordings, computed from its results.

    python benchmarks/real_study_page.py docs/real

Intervals are bootstrap intervals over groups of tracks and over seeds. The music and the notes are resampled
independently, and all tasks and models of a set with the same draws.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from real_study import CLEAN, CORRUPTIONS, MODELS
from scipy.stats import t
from screening import METHODS, MUSIC_TASKS, NOTE_TASKS

from ssc_toolkit.evaluation import Interval
from ssc_toolkit.evaluation.metrics.bootstrap import draw_weights, interval_over_runs, resample_runs
from ssc_toolkit.evaluation.metrics.weighted import weighted_mean, weighted_r2
from ssc_toolkit.files import write_text
from ssc_toolkit.reports.plots import choose_model_colors, plot_scores

TITLES = {
    "mfcc": "MFCC statistics",
    "log-mel": "log-mel statistics",
    "random": "untrained encoder",
    "self-full-band": "self-supervised",
    "semi-full-band-weight-0.2": "semi-supervised",
}
"""Titles of the models in tables, in the order of `real_study.MODELS`."""
SELF, SEMI = MODELS[3:]
PAIRS = ((SELF, "mfcc"), (SELF, "log-mel"), (SELF, "random"), (SEMI, SELF), (SEMI, "mfcc"))
SCOPES = {"test": "test tracks", "all": "all tracks that are not used in pretraining"}
CONDITIONS = {"clean": (CLEAN,), "corrupted": CORRUPTIONS}
TASKS = (*MUSIC_TASKS, *NOTE_TASKS)
RESAMPLES = 2000
POWER = 0.8


@dataclass(frozen=True, eq=False)
class Results:
    """Predictions of all encoders.

    Attributes:
        tracks: table of the tracks of each set, with `group` and `split`, by the name of the set.
        records: records of predictions by (model, seed, task, method, condition).
        seeds: seeds for which all models have results.
    """

    tracks: dict[str, pd.DataFrame]
    records: dict[tuple[str, int, str, str, str], dict[str, Any]]
    seeds: Sequence[int]

    def resampled(self, model: str, task: str, method: str, condition: str, scope: str) -> np.ndarray:
        """Return the score of a task on all tracks of a scope (first row) and on resamples, (1 + resamples, seeds)."""
        return np.stack([self._one(model, seed, task, method, condition, scope) for seed in self.seeds], axis=1)

    def _one(self, model: str, seed: int, task: str, method: str, condition: str, scope: str) -> np.ndarray:
        record = self.records[model, seed, task, method, condition]
        name = "music" if task in MUSIC_TASKS else "notes"
        tracks, rows = self.tracks[name], np.array(record["rows"])
        chosen = np.ones(len(rows), bool) if scope == "all" else (tracks["split"].iloc[rows] == "test").to_numpy()
        weights = self.weights(name)[:, rows[chosen]].astype(float)
        if "correct" in record:
            return weighted_mean(np.array(record["correct"], float)[chosen], weights)
        return weighted_r2(np.array(record["output"])[chosen], np.array(record["truth"])[chosen], weights)

    @cache  # noqa: B019 - one object per process
    def weights(self, name: str) -> np.ndarray:
        """Return ones, and the number of times that each resample contains each track, (1 + resamples, tracks)."""
        groups = self.tracks[name]["group"].to_numpy()
        drawn = np.concatenate(list(draw_weights(groups, seed=len(name), resamples=RESAMPLES)))
        return np.concatenate([np.ones((1, len(groups)), dtype=drawn.dtype), drawn])

    def mean(self, model: str, tasks: Sequence[str], method: str, conditions: Sequence[str], scope: str) -> np.ndarray:
        """Return the mean over tasks and conditions of `resampled`. Pitch is scored by linear probes only."""
        cells = [(task, one) for task in tasks for one in conditions if (task, method) != ("pitch", "knn")]
        return np.mean([self.resampled(model, task, method, one, scope) for task, one in cells], axis=0)

    def groups(self, scope: str) -> int:
        """Return the number of groups of the smaller set in a scope."""
        kept = (one if scope == "all" else one[one["split"] == "test"] for one in self.tracks.values())
        return min(one["group"].nunique() for one in kept)


def main() -> None:
    """Write the tables and the figure next to the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the results")
    folder = parser.parse_args().folder
    results = load(folder)
    for scope in SCOPES:
        write_text(folder / f"scores-{scope}.md", score_table(results, scope))
        write_text(folder / f"differences-{scope}.md", difference_table(results, scope))
    write_text(folder / "tasks.md", task_table(results))
    write_text(folder / "main.svg", figure(results))


def load(folder: Path) -> Results:
    """Read the results of the seeds for which all models have results."""
    table = pd.read_csv(folder / "tracks.csv")
    tracks = {str(name): part.reset_index(drop=True) for name, part in table.groupby("set")}
    records: dict[tuple[str, int, str, str, str], dict[str, Any]] = {}
    seeds: dict[int, int] = {}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        seeds[content["seed"]] = seeds.get(content["seed"], 0) + 1
        for one in content["predictions"]:
            records[content["model"], content["seed"], one["task"], one["method"], one["condition"]] = one
    return Results(tracks, records, sorted(seed for seed, count in seeds.items() if count == len(MODELS)))


def interval(resampled: np.ndarray, groups: int) -> Interval:
    """Return the mean over seeds with its interval, for the values on all tracks and on resamples."""
    return interval_over_runs(resampled[0], resampled[1:], groups=groups)


def detectable(resampled: np.ndarray, groups: int) -> float:
    """Return the difference that a two-sided test at 5 % finds with a probability of 80 % (Bloom, 1995)."""
    deviation = float(np.std(resample_runs(resampled[1:]))) * np.sqrt(groups / (groups - 1))
    return deviation * float(t.ppf(0.975, groups - 1) + t.ppf(POWER, groups - 1))


def score_table(results: Results, scope: str) -> str:
    """Return a table of the mean scores over the seeds, by model and method, on clean tracks."""
    columns = [f"{method} {task}" for method in METHODS for task in TASKS if (task, method) != ("pitch", "knn")]
    lines = [_line(["encoder", *columns]), "|---|" + "---:|" * len(columns)]
    for model in MODELS:
        cells = [results.resampled(model, *column.split()[::-1], CLEAN, scope)[0].mean() for column in columns]
        lines.append(_line([TITLES[model], *map(_fixed, cells)]))
    return "\n".join(lines) + "\n"


def difference_table(results: Results, scope: str) -> str:
    """Return a table of the paired differences of the means over tasks."""
    lines = [
        _line(["encoder", "less", "tracks", "probe", "difference of the mean over the tasks", "detectable"]),
        "|---|---|---|---|---:|---:|",
    ]
    groups = results.groups(scope)
    for first, second in PAIRS:
        for title, conditions in CONDITIONS.items():
            for method in METHODS if (title, scope) != ("corrupted", "all") else ():
                one, other = (results.mean(name, TASKS, method, conditions, scope) for name in (first, second))
                cells = [TITLES[first], TITLES[second], title, method]
                numbers = [_interval(interval(one - other, groups)), _fixed(detectable(one - other, groups), 3)]
                lines.append(_line([*cells, *numbers]))
    return "\n".join(lines) + "\n"


def task_table(results: Results) -> str:
    """Return a table of the paired differences of each task, on clean tracks of all scopes."""
    lines = [
        _line(["encoder", "less", "task", "probe", *SCOPES.values()]),
        "|---|---|---|---|---:|---:|",
    ]
    for first, second in PAIRS:
        for method in METHODS:
            for task in TASKS:
                if (task, method) == ("pitch", "knn"):
                    continue
                cells = []
                for scope in SCOPES:
                    one, other = (results.resampled(name, task, method, CLEAN, scope) for name in (first, second))
                    cells.append(_interval(interval(one - other, results.groups(scope))))
                lines.append(_line([TITLES[first], TITLES[second], task, method, *cells]))
    return "\n".join(lines) + "\n"


def figure(results: Results) -> str:
    """Return a figure of the means over tasks with their intervals, on the test tracks."""
    rows = []
    for method, title in zip(METHODS, ("linear probes", "nearest neighbors"), strict=True):
        for condition, conditions in CONDITIONS.items():
            for model in MODELS:
                one = interval(results.mean(model, TASKS, method, conditions, "test"), results.groups("test"))
                panel = f"{title}, {condition}"
                rows.append({"panel": panel, "model": TITLES[model], "metric": "mean over the tasks", **vars(one)})
    return plot_scores(pd.DataFrame(rows), choose_model_colors(TITLES.values()))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fixed(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1)


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1).replace("-", "\N{MINUS SIGN}")


def _interval(one: Interval) -> str:
    return f"{_signed(one.value)} [{_signed(one.low)}, {_signed(one.high)}]"


if __name__ == "__main__":
    main()
