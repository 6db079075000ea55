"""Studies: several pretrainings that differ in some options and in the seed."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssc_toolkit.checks import check_whole
from ssc_toolkit.csv_files import csv_text
from ssc_toolkit.data.tracks import DEFAULT_CORPUS
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import clear_leftovers, held, path_inside, writable_folder, write_text
from ssc_toolkit.paths import user_path
from ssc_toolkit.training.callbacks.history import read_history
from ssc_toolkit.training.config_file import read_options
from ssc_toolkit.training.dataset_factory import sources_of
from ssc_toolkit.training.pretrain import pretrain
from ssc_toolkit.training.run_folder import ENCODER_FOLDER, HISTORY, check_run_settings, defaults_of, settings_of
from ssc_toolkit.training.sweep.one_by_one import OneByOne
from ssc_toolkit.training.sweep.one_run import typed

_ONE_RUN = """
import pathlib, sys
from ssc_toolkit.training.sweep.one_run import main
sys.exit(main(pathlib.Path(sys.argv[1])))
"""

TABLE = "sweep.csv"
_FOLDER = re.compile(r"(?P<run>.+)-seed-(?P<seed>\d{1,18})", re.ASCII | re.DOTALL)
"""Name of the folder of a run."""
_KEYS = {"base", "runs", "seeds"}
_OWN = ("out", "seed", "title")
"""Options of `pretrain` that the study sets for each run."""


@dataclass(frozen=True)
class Run:
    """One pretraining of a study.

    Attributes:
        name: name of the run, which describes the changed options.
        seed: seed of the run.
        arguments: arguments of `pretrain`, with `out`.
    """

    name: str
    seed: int
    arguments: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return Path(self.arguments["out"])

    @property
    def config(self) -> Path:
        """File with the arguments, next to the folder."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def is_done(self) -> bool:
        """Whether the folder contains an encoder that was trained with these arguments."""
        if not (self.folder / ENCODER_FOLDER).is_dir() or not self.config.exists():
            return False
        return read_options(self.config, "out") == self.arguments


def sweep(
    file: str,
    out: str,
    seeds: tuple[int, ...] | None = None,
    options: dict[str, Any] | None = None,
) -> Path:
    """Run the pretrainings of a study one after another.

    The study is a file that contains a base config and, for each run, a name and the options that differ from it:

        base: ../semi_supervised.yaml
        runs:
          half: {labeled_fraction: 0.5}
          quarter: {labeled_fraction: 0.25}
        seeds: [0, 1, 2]

    Each run has a folder `<out>/<name>-seed-<seed>` as `pretrain` writes it, and a separate process. Complete runs are
    skipped, an interrupted run resumes, and a failed run does not stop the others. `sweep.csv` contains the last row of
    each history, also of runs of other studies in the folder.

    Args:
        file: the study, a YAML file.
        out: folder of the runs.
        seeds: seeds that replace those in the file.
        options: options of `pretrain` for every run, such as --options.root=/data --options.trainer.precision=bf16.

    Returns:
        The folder of the runs.

    Raises:
        InputError: before anything is written, if the file cannot be read or contains an unknown option of `pretrain`,
            if a name is not a plain folder name, if a table of tracks cannot be loaded, or if the output folder
            contains runs with other settings; at the end, if runs failed.
        SystemExit: with status 143, after SIGTERM, when the current run has stopped.
        KeyboardInterrupt: after Ctrl-C, when the current run has stopped.
    """
    runs = read_study(user_path(file, "file"), user_path(out, "out"), seeds, options or {})
    _check_sources(runs)
    folder = writable_folder(user_path(out, "out"), "out")
    failed = []
    with held(folder, "out"), OneByOne() as processes:
        _check_folders(folder, runs)
        clear_leftovers(folder, names=(TABLE, *(run.config.name for run in runs)))
        for number, run in enumerate(runs, start=1):
            said = f"{number} of {len(runs)}, {run.folder.name}"
            if run.is_done:
                print(f"{said}: done", flush=True)
                continue
            print(f"{said}: started", flush=True)
            begin = time.monotonic()
            if _pretrain(run, said, processes):
                print(f"{said}: done in {(time.monotonic() - begin) / 60:.1f} minutes", flush=True)
            else:
                failed.append(run.folder.name)
            write_text(folder / TABLE, _table(folder, runs))
        write_text(folder / TABLE, _table(folder, runs))
        processes.check()
    if failed:
        raise InputError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see above")
    return folder


def read_study(file: Path, out: Path, seeds: tuple[int, ...] | None, options: Mapping[str, Any]) -> list[Run]:
    """Return the runs of a study after a check of their arguments.

    Raises:
        InputError: if the file or an option is invalid.
    """
    study = read_options(file, "file")
    if not study.keys() <= _KEYS or not isinstance(study.get("runs"), dict) or not study["runs"]:
        got = ", ".join(map(str, study))[:200] or "nothing"
        raise InputError(f"file: expected runs by name and optionally base and seeds in {file}, got {got}")
    base = _base(file, study["base"]) if "base" in study else {}
    numbers = _seeds(f"file: seeds of {file}", study.get("seeds", [0])) if seeds is None else _seeds("seeds", seeds)
    _check_own("options", options)
    runs = []
    for name, changes in study["runs"].items():
        where = f"file: run {str(name)[:100]!r} of {file}"
        if changes is not None and not isinstance(changes, dict):
            raise InputError(f"{where}: expected options by name, got {changes!r:.100}")
        _check_own(where, changes or {})
        for seed in numbers:
            folder = _folder(where, out, name, seed)
            own = {"seed": seed, "out": str(folder), "title": folder.name}
            arguments = _nested(base, changes or {}, options, own)
            try:
                typed(arguments)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
            runs.append(Run(str(name), seed, arguments))
    if len({run.folder for run in runs}) < len(runs):
        raise InputError(f"file: expected different runs in {file}, got the same name or seed twice")
    return runs


def _base(file: Path, name: Any) -> dict[str, Any]:
    """Read the options of the base config, whose path is relative to the folder of the study."""
    if not isinstance(name, str) or not name.isprintable():
        raise InputError(f"file: base of {file}: expected the path of a config, got {name!r:.100}")
    return read_options(file.parent / name, "file")


def _seeds(argument: str, seeds: Any) -> list[int]:
    if not isinstance(seeds, list | tuple) or not seeds:
        raise InputError(f"{argument}: expected a list of whole numbers, got {seeds!r:.100}")
    for seed in seeds:
        check_whole(argument, seed, 0)
    return [int(seed) for seed in seeds]


def _check_own(where: str, options: Mapping[Any, Any]) -> None:
    """Raise InputError for an option that the study sets itself."""
    for name in options:
        if str(name).partition(".")[0] in _OWN:
            raise InputError(f"{where}: {name} is set by the study; choose --out and seeds instead")


def _folder(where: str, out: Path, name: Any, seed: int) -> Path:
    """Return the folder of a run after a check that it and its config are directly in the output folder."""
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        raise InputError(f"{where}: expected text as the name, got {name!r:.100}")
    folder = path_inside(out, f"{name}-seed-{seed}", where)
    path_inside(out, f"{folder.name}.yaml", where)
    return folder


def _check_folders(out: Path, runs: Sequence[Run]) -> None:
    """Raise InputError if a run in the output folder was made with other settings, or its files are damaged."""
    defaults = defaults_of(pretrain)
    for run in runs:
        check_run_settings(run.folder, settings_of(typed(run.arguments)), defaults)
    _table(out, runs)


def _check_sources(runs: Sequence[Run]) -> None:
    """Load every table of the runs that are not complete, once each."""
    checked = set()
    for run in runs:
        for source in sources_of(run.arguments) if not run.is_done else ():
            if source in checked or source.tracks == DEFAULT_CORPUS:  # the default corpus is rendered if it is missing
                continue
            checked.add(source)
            try:
                source.load()
            except InputError as error:
                raise InputError(f"file: run {run.name!r}: {error}") from error


def _nested(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Merge options; later ones override earlier ones, and `group.option` is the same as `group: {option}`."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            group, dot, option = str(name).partition(".")
            own = {option: value} if dot else value
            if isinstance(own, Mapping):
                before = whole.get(group)
                whole[group] = _nested(before if isinstance(before, Mapping) else {}, own)
            else:
                whole[group] = own
    return whole


def _pretrain(run: Run, said: str, processes: OneByOne) -> bool:
    """Run a pretraining in a separate process, and return whether it succeeded."""
    if not run.is_done:
        write_text(run.config, yaml.safe_dump(run.arguments, sort_keys=False, allow_unicode=True))
    try:
        status = processes.call([sys.executable, "-P", "-c", _ONE_RUN, str(run.config)])
    except SystemExit:
        print(f"{said}: stopped by SIGTERM; rerun the command to resume", file=sys.stderr, flush=True)
        raise
    if status:
        print(f"{said}: failed with status {status}", file=sys.stderr, flush=True)
    return status == 0


def _table(out: Path, runs: Sequence[Run]) -> str:
    """Return the last row of the history of each complete run as CSV: runs of this study, then others in the folder."""
    done = {run.folder.name: (run.name, run.seed) for run in runs if run.is_done}
    ours = {run.folder.name for run in runs}
    for config in sorted(out.glob("*.yaml")):
        found = _FOLDER.fullmatch(config.stem)
        if found and config.stem not in ours and (out / config.stem / ENCODER_FOLDER).is_dir():
            done[config.stem] = (found["run"], int(found["seed"]))
    rows: list[dict[str, Any]] = []
    for folder, (name, seed) in done.items():
        *_, last = read_history(out / folder / HISTORY, "out")
        rows.append({"run": name, "seed": seed, **last})
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["run", "seed"]
    return csv_text(columns, [[row.get(column) for column in columns] for row in rows])
