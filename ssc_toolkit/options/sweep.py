"""Options of the command `ssc-toolkit sweep`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ssc_toolkit.checks import check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.schema import SOME_OF
from ssc_toolkit.options.search import SearchSpace, read_search
from ssc_toolkit.options.study import Run, raise_for_runs, read_study
from ssc_toolkit.paths import user_path


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of `sweep`, which runs the pretrainings of a study one after another.

    A study is a YAML file with the keys `base` (path of a config file), `runs` (the changed options of each run by
    name), `grid` (lists of values of options, whose combinations are runs) and `seeds`. An example is `{base:
    ../semi_supervised.yaml, grid: {labeled_fraction: [0.25, 0.5], loss.label_weight: [1, 0.2]}, seeds: [0, 1, 2]}`.

    Each run has a separate process and an output folder `<out>/<name>-seed-<seed>`. Complete runs are skipped,
    interrupted runs are resumed, and a failed run does not stop the other runs. `sweep.csv` contains the changed
    options and the last row of the history of each run, including runs of other studies in the folder. `sweep.png` is a
    plot of the validation measure for each changed option.

    Args:
        file: path of the study file.
        out: folder of the runs.
        seeds: seeds of each run, which replace the seeds in the file.
        search: number of trials of a search in the grid, instead of all its combinations. Optuna chooses the values of
            each trial by `validation.monitor` of the earlier trials, and stops trials that are worse than the median. A
            grid may then contain ranges such as {low: 0.1, high: 1, log: true}. Needs ssc-toolkit[optuna].
        options: options of `pretrain` for every run, such as --options.root=/data --options.trainer.precision=bf16.
    """

    file: str
    out: str
    seeds: tuple[int, ...] | None = None
    search: int | None = None
    options: dict[str, Any] | None = field(default=None, metadata={SOME_OF: PretrainOptions})

    def check(self) -> None:
        """Raise InputError if the study is invalid, or if a run in the output folder has other settings.

        The message names all runs whose options cannot work.
        """
        if self.search is not None:
            check_integer("search", self.search, 1)
            self.space().corners()
            return
        errors = {}
        for run in self.runs():
            if run.name not in errors and not run.is_done:
                try:
                    run.options.check()
                except InputError as error:
                    errors[run.name] = error
        raise_for_runs(errors, self.file)

    def runs(self) -> list[Run]:
        """Return the runs of the study as a list.

        Raises:
            InputError: if the file cannot be read, or if an option in it is invalid.
        """
        return read_study(user_path(self.file, "file"), user_path(self.out, "out"), self.seeds, self.options or {})

    def space(self) -> SearchSpace:
        """Return the search space of the study.

        Raises:
            InputError: if the file cannot be read, or if an option in it is invalid.
        """
        return read_search(user_path(self.file, "file"), user_path(self.out, "out"), self.seeds, self.options or {})
