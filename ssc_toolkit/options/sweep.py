"""Options of the command `ssc-toolkit sweep`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.schema import SOME_OF
from ssc_toolkit.options.study import Run, read_study
from ssc_toolkit.paths import user_path


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """Options of `sweep`, which runs the pretrainings of a study one after another.

    A study is a YAML file with the keys `base` (path of a config file), `runs` (the changed options of each run by
    name) and `seeds`. An example is `{base: ../semi_supervised.yaml, runs: {half: {labeled_fraction: 0.5}, quarter:
    {labeled_fraction: 0.25}}, seeds: [0, 1, 2]}`.

    Each run has a separate process and an output folder `<out>/<name>-seed-<seed>`. Complete runs are skipped,
    interrupted runs are resumed, and a failed run does not stop the other runs. `sweep.csv` contains the last row of
    the history of each run, including runs of other studies in the folder.

    Args:
        file: path of the study file.
        out: folder of the runs.
        seeds: seeds of each run, which replace the seeds in the file.
        options: options of `pretrain` for every run, such as --options.root=/data --options.trainer.precision=bf16.
    """

    file: str
    out: str
    seeds: tuple[int, ...] | None = None
    options: dict[str, Any] | None = field(default=None, metadata={SOME_OF: PretrainOptions})

    def check(self) -> None:
        """Raise InputError if the study is invalid, or if a run in the output folder has other settings."""
        for run in self.runs():
            if not run.is_done:
                try:
                    run.options.check()
                except InputError as error:
                    raise InputError(f"file: run {run.name!r} of {self.file}: {error}") from error

    def runs(self) -> list[Run]:
        """Return the runs of the study as a list.

        Raises:
            InputError: if the file cannot be read, or if an option in it is invalid.
        """
        return read_study(user_path(self.file, "file"), user_path(self.out, "out"), self.seeds, self.options or {})
