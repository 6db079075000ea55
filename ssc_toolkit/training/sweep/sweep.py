"""Execution of the pretrainings of a study."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.data.track_table import TrackTable
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import clear_leftovers, lock_folder, make_writable_folder, write_text
from ssc_toolkit.options.files import read_options
from ssc_toolkit.options.grid import as_text
from ssc_toolkit.options.names import DEFAULT_CORPUS
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.run_settings import STEPS, check_run_settings, trained_steps
from ssc_toolkit.options.study import Run, raise_for_runs
from ssc_toolkit.options.sweep import SweepOptions
from ssc_toolkit.options.tracks import TrackSource
from ssc_toolkit.paths import user_path
from ssc_toolkit.training.callbacks.history import read_history
from ssc_toolkit.training.checkpoints import check_steps
from ssc_toolkit.training.dataset_factory import load_source
from ssc_toolkit.training.pretrain import prepare_tables
from ssc_toolkit.training.run_folder import HISTORY
from ssc_toolkit.training.sweep.one_by_one import OneByOne
from ssc_toolkit.training.sweep.plot import choose_measure, plot_study
from ssc_toolkit.training.sweep.search import Search, import_optuna

_ONE_RUN = """
import pathlib, sys
from ssc_toolkit.training.sweep.one_run import main
sys.exit(main(pathlib.Path(sys.argv[1])))
"""

TABLE = "sweep.csv"
PLOT = "sweep.png"
_FOLDER = re.compile(r"(?P<run>.+)-seed-(?P<seed>\d{1,18})", re.ASCII | re.DOTALL)
"""Pattern of the name of the output folder of a run, <name>-seed-<seed>."""


def sweep(options: SweepOptions) -> Path:
    """Run the pretrainings of a study one after another.

    Args:
        options: study file, output folder, and options for all runs.

    Returns:
        The folder of the runs.

    Raises:
        InputError: before anything is written, if the file cannot be read or contains an unknown option, if the name of
            a run cannot be a folder name, if a track table cannot be loaded, or if the output folder contains runs with
            other settings. At the end, if at least one run failed.
        SystemExit: with status 143 after SIGTERM. The current run is stopped first.
        KeyboardInterrupt: after Ctrl-C. The current run is stopped first.
    """
    options.check()
    if options.search is not None:
        return _search(options, options.search)
    runs = options.runs()
    _check_sources(options.file, runs)
    folder = make_writable_folder(user_path(options.out, "out"), "out")
    failed = []
    with lock_folder(folder, "out"), OneByOne() as processes:
        _check_folders(folder, runs)
        clear_leftovers(folder, names=(TABLE, PLOT, *(run.config.name for run in runs)))
        for number, run in enumerate(runs, start=1):
            label = f"{number} of {len(runs)}, {run.folder.name}"
            if run.is_done:
                print(f"{label}: done", flush=True)
                continue
            print(f"{label}: started", flush=True)
            begin = time.monotonic()
            if _pretrain(run, label, processes):
                print(f"{label}: done in {(time.monotonic() - begin) / 60:.1f} minutes", flush=True)
            else:
                failed.append(run.folder.name)
            write_text(folder / TABLE, _table(folder, runs))
        write_text(folder / TABLE, _table(folder, runs))
        known = {(run.name, run.seed): run for run in runs}
        found = [(known[key], row) for row in _rows(folder, runs) if (key := (row["run"], row["seed"])) in known]
        plot_study(folder / PLOT, found, choose_measure(found))
        processes.check()
    if failed:
        raise InputError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see above")
    return folder


def _search(options: SweepOptions, trials: int) -> Path:
    """Run the trials of a search one after another until `trials` have ended, and return the folder of the runs."""
    import_optuna()
    space = options.space()
    _check_sources(options.file, space.corners())
    folder = make_writable_folder(user_path(options.out, "out"), "out")
    with lock_folder(folder, "out"), OneByOne() as processes:
        search = Search(space)
        clear_leftovers(folder, names=(TABLE, PLOT))
        print(f"{search.ended} of {trials} trials have ended", flush=True)
        while search.ended < trials:
            trial, values = search.begin()
            label = f"trial {trial.number + 1} of {trials}"
            print(f"{label}: started with {', '.join(f'{name}={value}' for name, value in values.items())}", flush=True)
            state, runs = _run_trial(search, trial, values, label, processes)
            search.end(trial, state, runs)
            print(f"{label}: {state.lower()}", flush=True)
            write_text(folder / TABLE, _format(search.rows()))
        write_text(folder / TABLE, _format(search.rows()))
        plot_study(folder / PLOT, search.complete(), search.monitor)
    return folder


def _run_trial(
    search: Search, trial: Any, values: Mapping[str, Any], label: str, processes: OneByOne
) -> tuple[str, list[Run]]:
    """Run the pretrainings of a trial, one for each seed. Return the state of the trial for Optuna, and the runs.

    Only the first run can be stopped by its validation.
    """
    runs: list[Run] = []
    for seed in search.space.seeds:
        try:
            run = search.space.run(f"trial-{trial.number}", seed, values)
            run.options.check()
        except InputError as error:
            print(f"{label}: {error}", file=sys.stderr, flush=True)
            return "FAIL", runs
        is_hopeless = None if runs else partial(search.is_hopeless, trial, run)
        runs.append(run)
        if not run.is_done and (succeeded := _pretrain(run, label, processes, is_hopeless)) is not True:
            return ("PRUNED" if succeeded is None else "FAIL"), runs
        search.is_hopeless(trial, runs[0])  # stores the last validations
    return "COMPLETE", runs


def _check_folders(out: Path, runs: Sequence[Run]) -> None:
    """Raise InputError if a run of the study exists in the folder `out` with other settings or damaged files.

    A run that has completed more steps than its options specify is an error too.
    """
    for run in runs:
        check_run_settings(run.folder, run.options)
        if not run.is_done:
            check_steps(run.folder, run.options.steps)
    _table(out, runs)


def _check_sources(file: str, runs: Sequence[Run]) -> None:
    """Raise InputError if incomplete runs cannot work with their tracks. The message names all of these runs.

    Each track table is loaded once. No audio file is opened. Runs that differ in their seed are checked once.
    """
    loaded: dict[TrackSource, TrackTable] = {}
    errors: dict[str, InputError] = {}
    for run in {run.name: run for run in runs if not run.is_done}.values():
        sources = run.options.sources
        try:
            for argument, source in sources.items():
                if source not in loaded and source.tracks != DEFAULT_CORPUS:  # this one is rendered if it is missing
                    loaded[source] = load_source(source, argument)
            if loaded.keys() >= set(sources.values()):
                with torch.random.fork_rng():
                    prepare_tables(run.options, [loaded[source] for source in sources.values()])
        except InputError as error:
            errors[run.name] = error
    raise_for_runs(errors, file)


def _pretrain(run: Run, label: str, processes: OneByOne, is_hopeless: Callable[[], bool] | None = None) -> bool | None:
    """Run one pretraining of a study in a separate process, and return whether it succeeded.

    If `is_hopeless` returns True during the pretraining, it is stopped, and None is returned. `label` is the text
    before messages about the run.
    """
    if not run.is_done:
        write_text(run.config, yaml.safe_dump(run.arguments, sort_keys=False, allow_unicode=True))
    try:
        with lock_folder(make_writable_folder(run.folder, "out"), "out", wait=True):
            pass  # the process of a killed study saves its checkpoint before it ends
        status = processes.call([sys.executable, "-P", "-c", _ONE_RUN, str(run.config)], is_hopeless)
    except SystemExit:
        print(f"{label}: stopped by SIGTERM; rerun the command to resume", file=sys.stderr, flush=True)
        raise
    if status is None:
        return None
    if status:
        print(f"{label}: failed with status {status}", file=sys.stderr, flush=True)
    return status == 0


def _table(out: Path, runs: Sequence[Run]) -> str:
    """Return a CSV text with the rows of `_rows`."""
    return _format(_rows(out, runs))


def _format(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows of columns by name as the text of a CSV file. The columns are in the order in which they occur."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["run", "seed"]
    return format_csv(columns, [[row.get(column) for column in columns] for row in rows])


def _rows(out: Path, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the changed options and the last row of `history.csv` of each complete run in the folder `out`.

    The rows of `runs`, the runs of the current study, come first. If a changed option has the name of a column of the
    history, its column is named `options.<name>`.
    """
    done = {run.folder.name: (run.name, run.seed) for run in runs if run.is_done}
    changes = {run.folder.name: run.changes for run in runs}
    ours = {run.folder.name for run in runs}
    for config in sorted(out.glob("*.yaml")):
        found = _FOLDER.fullmatch(config.stem)
        if found is None or config.stem in ours or not (steps := trained_steps(out / config.stem)):
            continue
        if steps == read_options(config, "out").get(STEPS, PretrainOptions.steps):  # otherwise it is made longer
            done[config.stem] = (found["run"], int(found["seed"]))
    rows: list[dict[str, Any]] = []
    for folder, (name, seed) in done.items():
        *_, last = read_history(out / folder / HISTORY, "out")
        own = {
            f"options.{option}" if option in last else option: as_text(value)
            for option, value in changes.get(folder, {}).items()
        }
        rows.append({"run": name, "seed": seed, **own, **last})
    return rows
