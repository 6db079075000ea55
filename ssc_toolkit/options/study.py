"""Studies, which are several pretrainings with different options and seeds that a YAML file describes."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ssc_toolkit.checks import check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import path_inside
from ssc_toolkit.options.files import read_options
from ssc_toolkit.options.grid import grid_points, read_grid
from ssc_toolkit.options.parsing import parse_mapping
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.run_settings import trained_steps
from ssc_toolkit.options.schema import Schema

_KEYS = {"base", "runs", "grid", "seeds"}
_MAX_SHOWN = 20
_OWN = ("out", "seed", "title")
"""Names of the options of `pretrain` that a study sets for each of its runs."""


@dataclass(frozen=True)
class Run:
    """One of the pretrainings that a study file describes.

    Attributes:
        name: name of the run in the study file, which stands for the changed options.
        seed: seed of the run.
        arguments: options of `pretrain` from the study file and the command line, as plain data.
        options: all options of `pretrain`.
        changes: options that the run changes, by dotted name.
    """

    name: str
    seed: int
    arguments: dict[str, Any]
    options: PretrainOptions
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Path of the output folder of the run."""
        return Path(self.options.out)

    @property
    def config(self) -> Path:
        """Path of the config file that contains `arguments`, which is next to the output folder."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    @property
    def is_done(self) -> bool:
        """Whether the output folder contains an encoder that was trained with these options."""
        if not self.config.exists() or trained_steps(self.folder) != self.options.steps:
            return False
        return Schema(PretrainOptions).nested(read_options(self.config, "out")) == self.arguments


def read_study(file: Path, out: Path, seeds: Sequence[int] | None, options: Mapping[str, Any]) -> list[Run]:
    """Read the runs that a study file describes, and check their options.

    Args:
        file: path of the study, a YAML file.
        out: folder of the runs.
        seeds: seeds that replace those in the file, or None.
        options: options of `pretrain` for every run.

    Raises:
        InputError: if the file or an option is invalid. The message names all runs with an invalid option.
    """
    study = read_options(file, "file")
    has_runs = isinstance(study.get("runs"), dict) and study["runs"]
    if not study.keys() <= _KEYS or not (has_runs or ("runs" not in study and "grid" in study)):
        got = ", ".join(map(str, study))[:200] or "nothing"
        raise InputError(f"file: expected runs by name or a grid, and optionally base and seeds in {file}, got {got}")
    base, numbers = read_base(file, study), read_seeds(file, study, seeds)
    check_own("options", options)
    grid = _read_points(file, study["grid"], options) if "grid" in study else {"": {}}
    runs, errors = [], {}
    for (name, changes), (point, values) in itertools.product(study.get("runs", {"": None}).items(), grid.items()):
        if changes is not None and not isinstance(changes, dict):
            where = f"file: run {str(name)[:100]!r} of {file}"
            raise InputError(f"{where}: expected options by name, got {changes!r:.100}")
        named = name if not point else f"{name},{point}" if "runs" in study else point
        where = f"file: run {str(named)[:200]!r} of {file}"
        check_own(where, changes or {})
        try:
            arguments = Schema(PretrainOptions).nested(base, changes or {}, values, options)
            made = parse_mapping(PretrainOptions, {**arguments, "out": "out"})
        except InputError as error:
            errors[str(named)] = error
            continue
        for seed in numbers:
            folder = run_folder(where, out, named, seed)
            own: dict[str, Any] = {"seed": seed, "out": str(folder), "title": folder.name}
            runs.append(
                Run(str(named), seed, {**arguments, **own}, replace(made, **own), _flat(changes or {}) | values)
            )
    raise_for_runs(errors, file)
    if len({run.folder for run in runs}) < len(runs):
        raise InputError(f"file: expected different runs in {file}, got the same name or seed twice")
    return runs


def raise_for_runs(errors: Mapping[str, InputError], file: str | Path) -> None:
    """Raise one InputError for the errors of runs of a study, by the name of the run, if there are any."""
    if not errors:
        return
    parts = [f"run {name[:200]!r} of {file}: {error}" for name, error in errors.items()]
    more = f"; and {len(parts) - _MAX_SHOWN} more" if len(parts) > _MAX_SHOWN else ""
    count = f"{len(parts)} runs cannot work: " if len(parts) > 1 else ""
    raise InputError(f"file: {count}{'; '.join(parts[:_MAX_SHOWN])}{more}")


def _read_points(file: Path, content: Any, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the combinations of the grid of a study by name. `options` are those for every run."""
    where = f"file: grid of {file}"
    grid = read_grid(content, where)
    check_own(where, grid)
    for name in _flat(options):
        if name in grid:
            raise InputError(f"options.{name}: expected an option that is not in the grid of {file}, got one that is")
    return grid_points(grid, where)


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by dotted name. An option whose value is a dictionary is a group of options."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        flat |= {f"{name}.{inner}": own for inner, own in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def read_base(file: Path, study: Mapping[str, Any]) -> dict[str, Any]:
    """Read the options in the base config of the study `file`, whose path is relative to the folder of the study."""
    if "base" not in study:
        return {}
    name = study["base"]
    if not isinstance(name, str) or not name.isprintable():
        raise InputError(f"file: base of {file}: expected the path of a config, got {name!r:.100}")
    return read_options(file.parent / name, "file")


def read_seeds(file: Path, study: Mapping[str, Any], seeds: Sequence[int] | None) -> list[int]:
    """Return `seeds`, or those of the study `file` if `seeds` is None."""
    return _seeds(f"file: seeds of {file}", study.get("seeds", [0])) if seeds is None else _seeds("seeds", seeds)


def _seeds(argument: str, seeds: Any) -> list[int]:
    if not isinstance(seeds, list | tuple) or not seeds:
        raise InputError(f"{argument}: expected a list of integers, got {seeds!r:.100}")
    for seed in seeds:
        check_integer(argument, seed, 0)
    return [int(seed) for seed in seeds]


def check_own(where: str, options: Mapping[Any, Any]) -> None:
    """Raise InputError if `options` contains an option that the study sets for each run. `where` begins the message."""
    for name in options:
        if name == "dry_run":
            raise InputError(f"{where}: dry_run is an option of pretrain, and not of a study")
        if str(name).partition(".")[0] in _OWN:
            raise InputError(f"{where}: {name} is set by the study; choose --out and seeds instead")


def run_folder(where: str, out: Path, name: Any, seed: int) -> Path:
    """Return the output folder <name>-seed-<seed> of a run, and check that it is directly in the folder `out`.

    `where` begins the error message.
    """
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        raise InputError(f"{where}: expected text as the name, got {name!r:.100}")
    folder = path_inside(out, f"{name}-seed-{seed}", where)
    path_inside(out, f"{folder.name}.yaml", where)
    return folder
