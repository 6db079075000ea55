"""Tables and figures of the study, computed from its results.

    python benchmarks/study_page.py docs/study

The numbers on the page docs/study.md are copied from these tables. The tables are computed from the files of results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from study_runs import (
    BUDGETS,
    FRACTIONS,
    MAIN,
    RANDOM,
    SELF,
    SEMI,
    SEMI_ALL,
    SETTINGS,
    SIGNALS,
    STATISTICS,
    SUPERVISED,
)
from study_scores import CLEAN, NOTE_COLUMNS, RETRIEVED, SEVERITIES, UNSEEN

from ssc_toolkit.evaluation import Interval
from ssc_toolkit.files import write_text
from ssc_toolkit.reports.page import render_table
from ssc_toolkit.reports.plots import choose_model_colors, plot_scores, plot_severity_curves

TASKS = ("key", "family", "family, new timbres", "mode", "collection", "meter")
STRESSED = ("key", "family", "mode", "collection")
CHAIN = {0.0: CLEAN} | {severity: f"chain {severity:g}" for severity in SEVERITIES}
RESAMPLES = 2000


@dataclass(frozen=True)
class Results:
    """Results of all runs.

    Attributes:
        runs: results by setting, one for each seed.
        groups: tune of each test clip, for each task.
    """

    runs: Mapping[str, Sequence[Mapping[str, Any]]]
    groups: Mapping[str, Sequence[int]]

    def there(self, *settings: str) -> list[str]:
        """Return the settings that have results."""
        return [name for name in dict.fromkeys(settings) if name in self.runs]

    def correct(self, setting: str, task: str, *conditions: str) -> np.ndarray:
        """Return the fraction of conditions in which the probe was right for each test clip, (seeds, clips)."""
        return np.mean([self._correct_in(setting, task, condition) for condition in conditions], axis=0)

    def _correct_in(self, setting: str, task: str, condition: str) -> np.ndarray:
        records = [run["probes"][task][condition] for run in self.runs[setting]]
        bits = [np.frombuffer(bytes.fromhex(record["correct"]), dtype=np.uint8) for record in records]
        return np.unpackbits(np.stack(bits), axis=1)[:, : records[0]["clips"]].astype(float)

    def accuracy(self, setting: str, task: str, condition: str = CLEAN) -> Interval:
        """Return the mean accuracy over seeds and test clips."""
        return interval(self.correct(setting, task, condition), self._groups(task))

    def difference(self, setting: str, other: str, task: str, *conditions: str) -> Interval:
        """Return the mean difference of two settings on the same clips (clean by default) over their common seeds."""
        first, second = (self.correct(name, task, *(conditions or (CLEAN,))) for name in (setting, other))
        if SETTINGS[other].seeds > 1:  # otherwise its single result is used for every seed
            seeds = min(len(first), len(second))
            first, second = first[:seeds], second[:seeds]
        return interval(first - second, self._groups(task))

    def relative_drop(self, setting: str, task: str, condition: str) -> float:
        """Return the fraction of the clean accuracy that a corruption loses."""
        clean, corrupted = (self.correct(setting, task, name).mean() for name in (CLEAN, condition))
        return float((clean - corrupted) / clean)

    def _groups(self, task: str) -> np.ndarray:
        return np.asarray(self.groups[task])


def interval(values: np.ndarray, groups: np.ndarray) -> Interval:
    """Return the mean of values with a 95 % interval from a bootstrap over both seeds and groups.

    Args:
        values: (seeds, clips) values.
        groups: (clips,) tune of each clip. Clips of the same tune are resampled together.
    """
    _, group = np.unique(groups, return_inverse=True)
    counts = np.bincount(group)
    sums = np.stack([np.bincount(group, weights=row) for row in values])
    weights = redrawn(len(counts))
    by_seed = (weights @ sums.T) / (weights @ counts)[:, None]
    seeds = np.random.default_rng(1).integers(len(values), size=(RESAMPLES, len(values)))
    means = np.take_along_axis(by_seed, seeds, axis=1).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


@cache
def redrawn(groups: int) -> np.ndarray:
    """Return the number of occurrences of each group in each resample, (resamples, groups)."""
    return np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=RESAMPLES).astype(float)


def load(folder: Path) -> Results:
    """Read the results of a study."""
    reference = json.loads((folder / "tracks.json").read_text())
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for path in sorted(folder.glob("*-*.json")):
        run = json.loads(path.read_text())
        if run["tracks"] != reference["hash"]:
            raise SystemExit(f"{path} has results of other clips than tracks.json")
        runs[run["setting"]].append(run)
    by_seed = {name: sorted(own, key=lambda run: run["seed"]) for name, own in runs.items() if own}
    return Results(by_seed, reference["groups"])


MAIN_ROWS = (RANDOM, STATISTICS, *(setting.name for setting in MAIN))
SIGNAL_ROWS = (SELF, SEMI_ALL, *(setting.name for setting in SIGNALS))
PAIRS = ((SEMI, SELF), (SEMI_ALL, SELF), (SUPERVISED, SELF), (SEMI, STATISTICS), (SEMI_ALL, SUPERVISED))
SWEPT = (BUDGETS[0].name, SEMI, BUDGETS[1].name, SEMI_ALL, *(setting.name for setting in (*FRACTIONS, *SIGNALS)))
NOTE_TASKS = tuple(f"notes: {column}" for column in NOTE_COLUMNS)


def summary_table(results: Results) -> str:
    """Return the table of the main comparison on clean and corrupted clips, for the README."""
    tasks = [(task, condition) for task in ("key", "family") for condition in (CLEAN, CHAIN[1.0])]
    rows = [
        [SETTINGS[name].title, *(text(results.accuracy(name, *task)) for task in tasks)]
        for name in results.there(*MAIN_ROWS)
    ]
    return render_table(["encoder", "key", "key, corrupted", "instrument family", "family, corrupted"], rows)


def main_table(results: Results) -> str:
    """Return the clean accuracy of the main comparison."""
    return accuracies(results, MAIN_ROWS, TASKS)


def signal_table(results: Results) -> str:
    """Return the clean accuracy by label signal."""
    return accuracies(results, SIGNAL_ROWS, TASKS)


def transfer_table(results: Results) -> str:
    """Return the accuracy for the pitch of single notes by label signal. No run was trained on single notes."""
    return accuracies(results, (RANDOM, STATISTICS, SUPERVISED, *SIGNAL_ROWS), NOTE_TASKS)


def budget_table(results: Results) -> str:
    """Return the clean accuracy by fraction of the labels."""
    return accuracies(results, (SELF, BUDGETS[0].name, SEMI, BUDGETS[1].name, SEMI_ALL), TASKS)


def fraction_table(results: Results) -> str:
    """Return the clean accuracy by fraction of labeled clips in a batch."""
    return accuracies(results, (SELF, FRACTIONS[0].name, SEMI, FRACTIONS[1].name), TASKS)


def accuracies(results: Results, settings: Sequence[str], tasks: Sequence[str]) -> str:
    """Return a table with a row for each setting and a column for each task."""
    rows = [
        [SETTINGS[name].title, str(len(results.runs[name])), *(text(results.accuracy(name, task)) for task in tasks)]
        for name in results.there(*settings)
    ]
    return render_table(["encoder", "seeds", *tasks], rows)


def difference_table(results: Results) -> str:
    """Return paired differences of the main comparison, with a row for each pair."""
    rows = [
        [
            f"{SETTINGS[first].title} \N{MINUS SIGN} {SETTINGS[second].title}",
            *(signed(results.difference(first, second, task)) for task in TASKS),
        ]
        for first, second in PAIRS
        if len(results.there(first, second)) == 2
    ]
    return render_table(["difference", *TASKS], rows)


def sweep_table(results: Results) -> str:
    """Return paired differences between every sweep and the self-supervised encoder."""
    return beside_self(results, SWEPT, {task: (task,) for task in TASKS})


def sweep_robustness_table(results: Results) -> str:
    """Return paired differences between every sweep and the self-supervised encoder, under corruption."""
    parts = {"chain 1": (CHAIN[1.0],), "chain 2": (CHAIN[2.0],), "nine unseen": UNSEEN}
    columns = {f"{task}, {part}": (task, *parts[part]) for task in ("key", "family") for part in parts}
    return beside_self(results, SWEPT, columns)


def transfer_difference_table(results: Results) -> str:
    """Return paired differences from the self-supervised encoder on single notes."""
    return beside_self(results, (SEMI, SUPERVISED, *SIGNAL_ROWS[1:]), {task: (task,) for task in NOTE_TASKS})


def beside_self(results: Results, settings: Sequence[str], columns: Mapping[str, tuple[str, ...]]) -> str:
    """Return paired differences from the self-supervised encoder, with a row for each setting."""
    rows = [
        [SETTINGS[name].title, *(signed(results.difference(name, SELF, *asked)) for asked in columns.values())]
        for name in results.there(*settings)
        if SELF in results.runs
    ]
    return render_table(["minus self-supervised", *columns], rows)


def robustness_table(results: Results) -> str:
    """Return paired differences from the self-supervised encoder under corruption, for key and family."""
    rows = []
    for condition in (*CHAIN.values(), *UNSEEN):
        cells = [
            signed(results.difference(setting, SELF, task, condition))
            for task in ("key", "family")
            for setting in results.there(SEMI, SEMI_ALL)
        ]
        rows.append([condition.replace("_", " "), *cells])
    shares = {SEMI: "5 % of the labels", SEMI_ALL: "all labels"}
    header = [f"{task}, {shares[setting]}" for task in ("key", "family") for setting in results.there(*shares)]
    return render_table(["condition", *header], rows)


def drop_table(results: Results) -> str:
    """Return the fraction of the clean accuracy that corruptions lose, averaged over nine unseen corruptions."""
    rows = []
    for setting in results.there(*MAIN_ROWS):
        cells = []
        for task in STRESSED:
            drops = [results.relative_drop(setting, task, condition) for condition in UNSEEN]
            cells += [f"{results.relative_drop(setting, task, CHAIN[1.0]):.2f}", f"{np.mean(drops):.2f}"]
        rows.append([SETTINGS[setting].title, *cells])
    header = [f"{task}, {what}" for task in STRESSED for what in ("chain", "unseen")]
    return render_table(["encoder", *header], rows)


def retrieval_table(results: Results) -> str:
    """Return the mean average precision of retrieval by label, as mean and range over seeds."""
    rows = []
    for setting in results.there(*MAIN_ROWS, *SIGNAL_ROWS):
        cells = []
        for column in RETRIEVED:
            values = [run["retrieval"][column] for run in results.runs[setting]]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}")
        rows.append([SETTINGS[setting].title, *cells])
    return render_table(["encoder", *RETRIEVED], rows)


def main_figure(results: Results) -> str:
    """Plot the clean accuracy of the main comparison."""
    return dots(results, MAIN_ROWS)


def signal_figure(results: Results) -> str:
    """Plot the clean accuracy by label signal."""
    return dots(results, SIGNAL_ROWS)


def dots(results: Results, settings: Sequence[str]) -> str:
    """Plot a panel for each task and a line for each setting."""
    titles = {name: SETTINGS[name].title for name in results.there(*settings)}
    rows = [
        {"panel": task, "model": title, "metric": "accuracy", **vars(results.accuracy(name, task))}
        for task in TASKS
        for name, title in titles.items()
    ]
    return plot_scores(pd.DataFrame(rows), choose_model_colors(titles.values()))


def severity_figure(results: Results) -> str:
    """Plot the accuracy over the severity of the chain."""
    titles = {name: SETTINGS[name].title for name in results.there(*MAIN_ROWS)}
    rows = [
        {"panel": task, "model": title, "severity": severity, **vars(results.accuracy(name, task, condition))}
        for task in STRESSED
        for name, title in titles.items()
        for severity, condition in CHAIN.items()
    ]
    return plot_severity_curves(pd.DataFrame(rows), "accuracy", choose_model_colors(titles.values()))


def text(value: Interval) -> str:
    """Return a value and its interval without leading zeros. A no-break space keeps the interval on one line."""
    return f"{value.value:.3f} [{value.low:.3f},\N{NO-BREAK SPACE}{value.high:.3f}]".replace("0.", ".")


def signed(value: Interval) -> str:
    """Return a difference and its interval."""
    cells = (
        f"{number:+.3f}".replace("0.", ".").replace("-", "\N{MINUS SIGN}")
        for number in (value.value, value.low, value.high)
    )
    return "{} [{},\N{NO-BREAK SPACE}{}]".format(*cells)


TABLES: Mapping[str, Callable[[Results], str]] = {
    "summary": summary_table,
    "main": main_table,
    "differences": difference_table,
    "sweeps": sweep_table,
    "robustness": robustness_table,
    "sweep_robustness": sweep_robustness_table,
    "drops": drop_table,
    "budgets": budget_table,
    "fractions": fraction_table,
    "signals": signal_table,
    "transfer": transfer_table,
    "transfer_differences": transfer_difference_table,
    "retrieval": retrieval_table,
}
FIGURES: Mapping[str, Callable[[Results], str]] = {
    "main": main_figure,
    "signals": signal_figure,
    "severities": severity_figure,
}


def main() -> None:
    """Write the tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the results; gets the tables and figures")
    folder = parser.parse_args().folder
    results = load(folder)
    for name, make in TABLES.items():
        write_text(folder / f"{name}.md", make(results) + "\n")
    for name, draw in FIGURES.items():
        write_text(folder / f"{name}.svg", draw(results))


if __name__ == "__main__":
    main()
