"""Execution of the pretrainings of a study."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import clear_leftovers, lock_folder, make_writable_folder, write_text
from ssc_toolkit.options.files import read_options
from ssc_toolkit.options.names import DEFAULT_CORPUS
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.run_settings import STEPS, check_run_settings, trained_steps
from ssc_toolkit.options.study import Run
from ssc_toolkit.options.sweep import SweepOptions
from ssc_toolkit.paths import user_path
from ssc_toolkit.training.callbacks.history import read_history
from ssc_toolkit.training.checkpoints import check_steps
from ssc_toolkit.training.dataset_factory import load_source
from ssc_toolkit.training.run_folder import HISTORY
from ssc_toolkit.training.sweep.one_by_one import OneByOne

_ONE_RUN = """
import pathlib, sys
from ssc_toolkit.training.sweep.one_run import main
sys.exit(main(pathlib.Path(sys.argv[1])))
"""

TABLE = "sweep.csv"
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
    runs = options.runs()
    _check_sources(options.file, runs)
    folder = make_writable_folder(user_path(options.out, "out"), "out")
    failed = []
    with lock_folder(folder, "out"), OneByOne() as processes:
        _check_folders(folder, runs)
        clear_leftovers(folder, names=(TABLE, *(run.config.name for run in runs)))
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
        processes.check()
    if failed:
        raise InputError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see above")
    return folder


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
    """Raise InputError if a track table of an incomplete run cannot be loaded. Each table is loaded once."""
    checked = set()
    for run in runs:
        for argument, source in run.options.sources.items() if not run.is_done else ():
            if source in checked or source.tracks == DEFAULT_CORPUS:  # the default corpus is rendered if it is missing
                continue
            checked.add(source)
            try:
                load_source(source, argument)
            except InputError as error:
                raise InputError(f"file: run {run.name!r} of {file}: {error}") from error


def _pretrain(run: Run, label: str, processes: OneByOne) -> bool:
    """Run one pretraining of a study in a separate process, and return whether it succeeded.

    `label` is the text before messages about the run.
    """
    if not run.is_done:
        write_text(run.config, yaml.safe_dump(run.arguments, sort_keys=False, allow_unicode=True))
    try:
        status = processes.call([sys.executable, "-P", "-c", _ONE_RUN, str(run.config)])
    except SystemExit:
        print(f"{label}: stopped by SIGTERM; rerun the command to resume", file=sys.stderr, flush=True)
        raise
    if status:
        print(f"{label}: failed with status {status}", file=sys.stderr, flush=True)
    return status == 0


def _table(out: Path, runs: Sequence[Run]) -> str:
    """Return a CSV text with the last row of `history.csv` of each complete run in the folder `out`.

    The rows of `runs`, the runs of the current study, come first.
    """
    done = {run.folder.name: (run.name, run.seed) for run in runs if run.is_done}
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
        rows.append({"run": name, "seed": seed, **last})
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["run", "seed"]
    return format_csv(columns, [[row.get(column) for column in columns] for row in rows])
