"""Studies, which are several pretrainings with different options and seeds that a YAML file describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssc_toolkit.checks import check_integer
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import path_inside
from ssc_toolkit.options.files import read_options
from ssc_toolkit.options.parsing import parse_mapping
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.options.run_settings import ENCODER_FOLDER
from ssc_toolkit.options.schema import Schema

_KEYS = {"base", "runs", "seeds"}
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
    """

    name: str
    seed: int
    arguments: dict[str, Any]
    options: PretrainOptions

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
        if not (self.folder / ENCODER_FOLDER).is_dir() or not self.config.exists():
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
            try:
                arguments = Schema(PretrainOptions).nested(base, changes or {}, options, own)
                runs.append(Run(str(name), seed, arguments, parse_mapping(PretrainOptions, arguments)))
            except InputError as error:
                raise InputError(f"{where}: {error}") from error
    if len({run.folder for run in runs}) < len(runs):
        raise InputError(f"file: expected different runs in {file}, got the same name or seed twice")
    return runs


def _base(file: Path, name: Any) -> dict[str, Any]:
    """Read the options in the config file with the path `name`, which is relative to the folder of the study `file`."""
    if not isinstance(name, str) or not name.isprintable():
        raise InputError(f"file: base of {file}: expected the path of a config, got {name!r:.100}")
    return read_options(file.parent / name, "file")


def _seeds(argument: str, seeds: Any) -> list[int]:
    if not isinstance(seeds, list | tuple) or not seeds:
        raise InputError(f"{argument}: expected a list of integers, got {seeds!r:.100}")
    for seed in seeds:
        check_integer(argument, seed, 0)
    return [int(seed) for seed in seeds]


def _check_own(where: str, options: Mapping[Any, Any]) -> None:
    """Raise InputError if `options` contains an option that the study sets for each run. `where` begins the message."""
    for name in options:
        if name == "dry_run":
            raise InputError(f"{where}: dry_run is an option of pretrain, and not of a study")
        if str(name).partition(".")[0] in _OWN:
            raise InputError(f"{where}: {name} is set by the study; choose --out and seeds instead")


def _folder(where: str, out: Path, name: Any, seed: int) -> Path:
    """Return the output folder <name>-seed-<seed> of a run, and check that it is directly in the folder `out`.

    `where` begins the error message.
    """
    if isinstance(name, bool) or not isinstance(name, str | int | float):
        raise InputError(f"{where}: expected text as the name, got {name!r:.100}")
    folder = path_inside(out, f"{name}-seed-{seed}", where)
    path_inside(out, f"{folder.name}.yaml", where)
    return folder
