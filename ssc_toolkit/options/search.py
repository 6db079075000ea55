"""Search spaces of studies: lists and ranges of the values of options, from which the trials of a search are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ssc_toolkit.checks import check_number
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.files import read_options
from ssc_toolkit.options.grid import check_values, read_grid
from ssc_toolkit.options.parsing import parse_mapping
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.schema import Schema
from ssc_toolkit.options.study import Run, check_own, raise_for_runs, read_base, read_seeds, run_folder

_RANGE_KEYS = {"low", "high", "log", "step"}


@dataclass(frozen=True)
class SearchSpace:
    """Options of the trials of a search.

    Attributes:
        file: path of the study file.
        out: folder of the runs.
        base: options of the base config.
        options: options of `pretrain` for every run.
        grid: list of values, or range as a dictionary with `low`, `high` and optionally `log` or `step`, by option.
        seeds: seeds of the runs of each trial.
    """

    file: Path
    out: Path
    base: dict[str, Any]
    options: Mapping[str, Any]
    grid: dict[str, Any]
    seeds: list[int]

    def run(self, name: str, seed: int, values: Mapping[str, Any]) -> Run:
        """Return the run of a trial with values of the options in the grid.

        Raises:
            InputError: if an option is invalid.
        """
        folder = run_folder("file", self.out, name, seed)
        own = {"seed": seed, "out": str(folder), "title": folder.name}
        arguments = Schema(PretrainOptions).nested(self.base, values, self.options, own)
        return Run(name, seed, arguments, parse_mapping(PretrainOptions, arguments), dict(values))

    def corners(self) -> list[Run]:
        """Return runs that together have every value of each list and both ends of each range.

        All options but one have their first values.

        Raises:
            InputError: if an option is invalid in one of these runs, or if the runs have no measure to search by.
        """
        ends = {name: own if isinstance(own, list) else [own["low"], own["high"]] for name, own in self.grid.items()}
        first = {name: own[0] for name, own in ends.items()}
        runs: list[Run] = []
        errors: dict[str, InputError] = {}
        for name, values in ends.items():
            for value in values:
                label = f"{name}={value}"
                try:
                    run = self.run(f"corner-{len(runs)}", self.seeds[0], {**first, name: value})
                    if run.options.validation.monitor is None:
                        raise InputError("validation.monitor: expected a measure to search by, got none")
                    run.options.check()
                    runs.append(replace(run, name=label))
                except InputError as error:
                    errors[label] = error
        raise_for_runs(errors, self.file)
        return runs


def read_search(file: Path, out: Path, seeds: Sequence[int] | None, options: Mapping[str, Any]) -> SearchSpace:
    """Read the search space of a study file, and check its options.

    Args:
        file: path of the study, a YAML file with `grid` and optionally `base` and `seeds`.
        out: folder of the runs.
        seeds: seeds that replace those in the file, or None.
        options: options of `pretrain` for every run.

    Raises:
        InputError: if the file or an option is invalid.
    """
    study = read_options(file, "file")
    if not study.keys() <= {"base", "grid", "seeds"} or "grid" not in study:
        got = ", ".join(map(str, study))[:200] or "nothing"
        raise InputError(f"file: expected a grid and optionally base and seeds in {file} with search, got {got}")
    where = f"file: grid of {file}"
    grid = read_grid(study["grid"], where)
    check_own(where, grid)
    check_own("options", options)
    for name, values in grid.items():
        if isinstance(values, Mapping):
            _check_range(values, f"{where}: {name}")
        else:
            check_values(name, values, where)
    return SearchSpace(file, out, read_base(file, study), options, grid, read_seeds(file, study, seeds))


def _check_range(content: Mapping[Any, Any], where: str) -> None:
    """Raise InputError unless a range has two ends, the lower one first, and at most one of `log` and `step`."""
    if not content.keys() <= _RANGE_KEYS or not {"low", "high"} <= content.keys():
        raise InputError(f"{where}: expected low, high and optionally log or step, got {', '.join(map(str, content))}")
    low, high = (check_number(f"{where}.{end}", content[end], -1e300, 1e300) for end in ("low", "high"))
    if low >= high:
        raise InputError(f"{where}: expected low below high, got {low:g} and {high:g}")
    if content.get("log", False) not in (True, False) or (content.get("log") and (low <= 0 or "step" in content)):
        raise InputError(f"{where}.log: expected true or false, and true only with low above 0 and without step")
    if "step" in content:
        check_number(f"{where}.step", content["step"], 1e-300, high - low)
