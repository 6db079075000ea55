"""Search for the options with the best validation measure, by Optuna."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.run_settings import to_plain
from ssc_toolkit.options.search import SearchSpace
from ssc_toolkit.options.study import Run
from ssc_toolkit.options.validation import MEASURES
from ssc_toolkit.training.run_folder import HISTORY

if TYPE_CHECKING:
    import optuna

DATABASE = "search.db"
"""Name of the file with the trials of a search in its folder."""
_SPACE = "space"
_FEW = 3  # number of complete trials before others are pruned


class Search:
    """Trials of a search, which are stored in its folder.

    Args:
        space: options of the trials.
        seed: seed of the choice of the options.

    Raises:
        InputError: if Optuna is not installed, or if the folder contains a search of another space.
    """

    def __init__(self, space: SearchSpace, seed: int = 0) -> None:
        self._optuna = import_optuna()
        self.space, self._seed = space, seed
        self.monitor = str(space.corners()[0].options.validation.monitor)
        self._study: optuna.Study = self._open()

    def _open(self) -> optuna.Study:
        from sqlalchemy.engine import URL

        url = URL.create("sqlite", database=str((self.space.out / DATABASE).absolute())).render_as_string()
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        study = self._optuna.create_study(
            storage=self._optuna.storages.RDBStorage(url),
            study_name="search",
            direction="maximize" if MEASURES[self.monitor].is_higher_better else "minimize",
            pruner=self._optuna.pruners.MedianPruner(n_startup_trials=_FEW),
            load_if_exists=True,
        )
        content = {"grid": self.space.grid, "base": self.space.base, "options": dict(self.space.options)}
        own = json.dumps(to_plain(content), sort_keys=True, default=str)
        if study.user_attrs.get(_SPACE, own) != own:
            raise InputError(f"out: {self.space.out} contains a search with other options; choose another folder")
        study.set_user_attr(_SPACE, own)
        return study

    @property
    def ended(self) -> int:
        """Number of trials that are complete, pruned or failed."""
        return sum(trial.state.is_finished() for trial in self._study.get_trials(deepcopy=False))

    def begin(self) -> tuple[optuna.Trial, dict[str, Any]]:
        """Return the interrupted trial of an earlier call, or a new trial, and its values of the options by name."""
        running = [trial for trial in self._study.get_trials(deepcopy=False) if trial.state.name == "RUNNING"]
        # The seed depends on the number of earlier trials, so that a resumed search continues with other numbers.
        self._study.sampler = self._optuna.samplers.TPESampler(seed=self._seed + 1000 * self.ended, n_startup_trials=5)
        trial = self._optuna.Trial(self._study, running[0]._trial_id) if running else self._study.ask()
        return trial, {name: _suggest(trial, name, own) for name, own in self.space.grid.items()}

    def is_hopeless(self, trial: optuna.Trial, run: Run) -> bool:
        """Report the validations of a run until now, and return whether the trial should be pruned."""
        for step, value in read_measure(run.folder / HISTORY, self.monitor):
            if step not in trial.storage.get_trial(trial._trial_id).intermediate_values:
                trial.report(value, step)
        return trial.should_prune()

    def end(self, trial: optuna.Trial, state: str, runs: list[Run]) -> None:
        """Store the state of a trial, and for a complete trial the mean of the best values of its runs."""
        found = [read_measure(run.folder / HISTORY, self.monitor) for run in runs]
        if state == "COMPLETE" and not all(found):
            state = "FAIL"
        if state != "COMPLETE":
            self._study.tell(trial, state=self._optuna.trial.TrialState[state])
            return
        best = max if MEASURES[self.monitor].is_higher_better else min
        values = [best(value for _, value in own) for own in found]
        self._study.tell(trial, sum(values) / len(values))

    def rows(self) -> list[dict[str, Any]]:
        """Return the number, state, options and value of each trial."""
        return [
            {
                "run": f"trial-{trial.number}",
                "state": trial.state.name.lower(),
                **{name: _decoded(value) for name, value in trial.params.items()},
                self.monitor: trial.value,
            }
            for trial in self._study.get_trials(deepcopy=False)
        ]

    def complete(self) -> list[tuple[Run, dict[str, Any]]]:
        """Return the first run of each complete trial, and the row of the trial in the table."""
        trials = self._study.get_trials(deepcopy=False)
        return [
            (self.space.run(row["run"], self.space.seeds[0], {n: _decoded(v) for n, v in trial.params.items()}), row)
            for trial, row in zip(trials, self.rows(), strict=True)
            if trial.state.name == "COMPLETE"
        ]


def import_optuna() -> Any:
    """Return the module optuna, or raise InputError if it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise InputError("search: needs Optuna; fix: pip install 'ssc-toolkit[optuna]'") from error
    return optuna


def read_measure(path: Path, measure: str) -> list[tuple[int, float]]:
    """Return the steps and values of a measure in the history of a run, which another process may be writing."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [(int(float(row["step"])), float(row[measure])) for row in csv.DictReader(lines) if row.get(measure)]


def _suggest(trial: optuna.Trial, name: str, own: Any) -> Any:
    if isinstance(own, list):
        return _decoded(trial.suggest_categorical(name, [json.dumps(value) for value in own]))
    low, high, log, step = own["low"], own["high"], bool(own.get("log")), own.get("step")
    if all(isinstance(number, int) for number in (low, high, step or 1)):
        return trial.suggest_int(name, low, high, log=log, step=step or 1)
    return trial.suggest_float(name, low, high, log=log, step=step)


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value
