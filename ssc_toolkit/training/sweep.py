"""A study: the same pretraining again and again with one thing changed."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from ssc_toolkit.csv_files import csv_text
from ssc_toolkit.data.tracks import DEFAULT_CORPUS
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import held, writable_folder, write_text
from ssc_toolkit.training.one_by_one import OneByOne
from ssc_toolkit.training.one_run import typed
from ssc_toolkit.training.run_folder import ENCODER_FOLDER, HISTORY
from ssc_toolkit.training.sources import sources_of

TABLE = "sweep.csv"
_KEYS = {"base", "runs", "seeds"}


@dataclass(frozen=True)
class Run:
    """One pretraining of a study.

    Attributes:
        name: of what is changed.
        seed: of the run.
        arguments: of `pretrain`, `out` among them.
    """

    name: str
    seed: int
    arguments: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Of its results."""
        return Path(self.arguments["out"])

    @property
    def config(self) -> Path:
        """File of its arguments, beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def is_done(self) -> bool:
        """Whether its encoder is there, trained with these arguments."""
        return (self.folder / ENCODER_FOLDER).is_dir() and self.config.exists() and self._made_with() == self.arguments

    def _made_with(self) -> Any:
        return yaml.safe_load(self.config.read_text(encoding="utf-8"))


def sweep(
    file: str,
    out: str,
    seeds: tuple[int, ...] | None = None,
    options: dict[str, Any] | None = None,
) -> Path:
    """Run the pretrainings that a file describes, one after the other.

    The file names a base config, and by name the options in which each run differs from it:

        base: ../semi_supervised.yaml
        runs:
          half: {labeled_fraction: 0.5}
          quarter: {labeled_fraction: 0.25}
        seeds: [0, 1, 2]

    Each run is a folder `<out>/<name>-seed-<seed>` as `pretrain` makes it, in a process of its own. Runs that are
    complete are passed over, one that was interrupted goes on, one that fails does not stop the others. `sweep.csv`
    holds the last row of each history.

    Args:
        file: the description, in YAML.
        out: folder of the runs.
        seeds: instead of those in the file.
        options: of pretrain, for every run: --options.root=/data --options.trainer.precision=bf16.

    Returns:
        The folder of the runs.

    Raises:
        InputError: for a file that cannot be read or holds an option that pretrain does not take, or a table of tracks
            that cannot be loaded, before the first run; at the end, for runs that failed.
        SystemExit: with status 143 after SIGTERM, when the run at work has stopped; no other begins.
        KeyboardInterrupt: as much, after Ctrl-C.
    """
    runs = read_study(Path(file), Path(out), seeds, options or {})
    _check_sources(runs)
    folder = writable_folder(Path(out), "out")
    failed = []
    with held(folder, "out"), OneByOne() as processes:
        for number, run in enumerate(runs, start=1):
            said = f"{number} of {len(runs)}, {run.folder.name}"
            if run.is_done:
                print(f"{said}: done", flush=True)
                continue
            print(f"{said}: begins", flush=True)
            begin = time.monotonic()
            if _pretrain(run, said, processes):
                print(f"{said}: done in {(time.monotonic() - begin) / 60:.1f} minutes", flush=True)
            else:
                failed.append(run.folder.name)
            write_text(folder / TABLE, _table(runs))
        write_text(folder / TABLE, _table(runs))
        processes.check()
    if failed:
        raise InputError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}; see above")
    return folder


def read_study(file: Path, out: Path, seeds: tuple[int, ...] | None, options: Mapping[str, Any]) -> list[Run]:
    """The runs of a study, every one checked against what `pretrain` takes.

    Raises:
        InputError: naming what is wrong.
    """
    study = _read(file, "file")
    if not study.keys() <= _KEYS or not isinstance(study.get("runs"), dict) or not study["runs"]:
        raise InputError(f"file: {file} should hold base, runs and perhaps seeds, got {', '.join(study) or 'nothing'}")
    base = _read(file.parent / study["base"], "file") if "base" in study else {}
    runs = []
    for name, changes in study["runs"].items():
        for seed in study.get("seeds", [0]) if seeds is None else seeds:
            folder = f"{name}-seed-{seed}"
            own = {"seed": seed, "out": str(out / folder), "title": str(folder)}
            arguments = _nested(base, changes or {}, options, own)
            try:
                typed(arguments)
            except InputError as error:
                raise InputError(f"file: run {name!r} of {file}: {error}") from error
            runs.append(Run(str(name), int(seed), arguments))
    return runs


def _check_sources(runs: Sequence[Run]) -> None:
    """Load every table that a run still to do reads, once."""
    checked = set()
    for run in runs:
        for source in sources_of(run.arguments) if not run.is_done else ():
            if source in checked or source.tracks == DEFAULT_CORPUS:  # which is rendered where it is missing
                continue
            checked.add(source)
            try:
                source.load()
            except InputError as error:
                raise InputError(f"file: run {run.name!r}: {error}") from error


def _read(path: Path, argument: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{argument}: cannot read {path} ({error.strerror})") from error
    except yaml.YAMLError as error:
        raise InputError(f"{argument}: {path} is no YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{argument}: {path} should hold options by name, got {content!r}")
    return content


def _nested(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Options of which later ones hold; `group.option` and `group: {option}` are the same."""
    whole: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            group, dot, option = str(name).partition(".")
            own = {option: value} if dot else value
            if isinstance(own, Mapping):
                whole[group] = _nested(whole.get(group) or {}, own)
            else:
                whole[group] = own
    return whole


def _pretrain(run: Run, said: str, processes: OneByOne) -> bool:
    """Run a pretraining in a process of its own; whether it succeeded."""
    if not run.is_done:
        write_text(run.config, yaml.safe_dump(run.arguments, sort_keys=False, allow_unicode=True))
    try:
        status = processes.call([sys.executable, "-m", "ssc_toolkit.training.one_run", str(run.config)])
    except SystemExit:
        print(f"{said}: stopped by SIGTERM; the same command goes on", file=sys.stderr, flush=True)
        raise
    if status:
        print(f"{said}: failed with status {status}", file=sys.stderr, flush=True)
    return status == 0


def _table(runs: list[Run]) -> str:
    """The last row of the history of each run that is complete, as CSV."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        if run.is_done:
            with (run.folder / HISTORY).open(newline="") as file:
                *_, last = csv.DictReader(file)
            rows.append({"run": run.name, "seed": run.seed, **last})
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["run", "seed"]
    return csv_text(columns, [[row.get(column) for column in columns] for row in rows])
