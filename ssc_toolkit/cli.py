"""Command-line interface, with one command for each task."""

from __future__ import annotations

import contextlib
import errno
import importlib
import inspect
import itertools
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import yaml  # type: ignore[import-untyped]

from ssc_toolkit import __version__
from ssc_toolkit.commands.doctor import missing_extra, torchaudio_problem
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import reading
from ssc_toolkit.processes import safe_children
from ssc_toolkit.wording import in_plain_words

COMMANDS = {
    "demo": (
        "ssc_toolkit.commands.demo",
        "demo",
        "pretrain and evaluate encoders on the default corpus, in ten minutes",
    ),
    "prepare": ("ssc_toolkit.commands.prepare", "prepare", "decode your music or a dataset once, for fast training"),
    "pretrain": ("ssc_toolkit.training.pretrain", "pretrain", "pretrain an encoder on your music and labels"),
    "sweep": (
        "ssc_toolkit.training.sweep",
        "sweep",
        "run a study: several pretraining runs that a file describes",
    ),
    "probe": ("ssc_toolkit.commands.probe", "probe", "evaluate a pretrained encoder with probes or fine-tuning"),
    "robustness": ("ssc_toolkit.commands.robustness", "stress", "evaluate the same probes on corrupted audio"),
    "retrieval": ("ssc_toolkit.commands.retrieval", "retrieve", "evaluate nearest neighbors under an encoder"),
    "compare": (
        "ssc_toolkit.commands.compare",
        "compare",
        "compare several models in one report with audio",
    ),
    "embed": ("ssc_toolkit.commands.embed", "embed", "write embeddings of your files to one file"),
    "corpus": ("ssc_toolkit.commands.corpus", "corpus", "render the default corpus and describe it"),
    "doctor": ("ssc_toolkit.commands.doctor", "doctor", "check versions, devices, codecs and caches"),
}
"""Module, function and description of each command. The options of a command are the arguments of its function."""

_ADVICE = {
    errno.ENOSPC: "free some space, or choose another disk",
    errno.EDQUOT: "your quota is used up: free some space, or choose another disk",
    errno.EFBIG: "the file would be larger than this disk or `ulimit -f` allows; choose another disk",
    errno.EROFS: "the disk is read only; choose another folder",
    errno.EACCES: "you may not write there; choose another folder",
    errno.EPERM: "you may not write there; choose another folder",
    errno.EISDIR: "a folder has the name of the file; remove it, or choose another folder",
    errno.ENOTDIR: "a file has the name of a folder; remove it, or choose another folder",
    errno.EIO: "the disk reports an error; choose another disk",
}
"""Advice for errors of writing, by error number."""

_HOME = re.compile(r"(?:(?<=^)|(?<=[,=\[]))~(?=/|$)")
"""What a shell expands in front of a word, and not after `--option=`."""

RESUMABLE = ("demo", "prepare", "pretrain", "sweep", "compare", "corpus")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: command and options; those of the process by default.

    Returns:
        Exit status: 0, 2 for an error that the user can fix, or 130 for an interruption.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"ssc-toolkit {__version__}")
        return 0
    name, *options = arguments
    _open_closed_streams()
    out, errors = _Output(sys.stdout), _Output(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors), safe_children():
        status = _status(name, options)
        out.flush()
        if out.failed is not None and not isinstance(out.failed, BrokenPipeError):
            return _fail(name, f"cannot write to the standard output ({out.failed.strerror}); the files are written")
        return status


def _status(name: str, options: list[str]) -> int:
    try:
        return _run(name, options)
    except InputError as error:
        return _fail(name, str(error))
    except ModuleNotFoundError as error:
        message = missing_extra(error)
        if message is None:
            raise
        return _fail(name, message)
    except OSError as error:
        message = _unwritten(error)
        if message is None:
            raise
        return _fail(name, message)
    except KeyboardInterrupt:
        hint = "; rerun the same command to resume" if name in RESUMABLE else ""
        print(f"\nssc-toolkit {name}: interrupted{hint}", file=sys.stderr)
        return 130


class _Output:
    """Standard stream that drops text that cannot be written, and stores the first error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failed: OSError | None = None

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:  # the reader closed the pipe, or the disk is full
            self.failed = self.failed or error
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def _open_closed_streams() -> None:
    """Open the null device for closed standard streams, so that no other file gets their descriptors."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor, which is this one
            os.set_inheritable(descriptor, True)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def _unwritten(error: OSError) -> str | None:
    """Return one line for an error of writing that the user can fix, or None for any other."""
    if error.errno is None and error.filename is not None:  # NumPy gives no number
        advice = "free some space, or choose another disk"
    elif error.errno in _ADVICE:
        advice = _ADVICE[error.errno]
    else:
        return None
    reason = error.strerror or error.args[0] if error.args else type(error).__name__
    return f"cannot write {error.filename or 'a file'} ({reason}); {advice}"


def _run(name: str, options: list[str]) -> int:
    if name not in COMMANDS:
        raise InputError(f"there is no such command; expected one of {', '.join(COMMANDS)}")
    module, function, _ = COMMANDS[name]
    if name != "doctor":
        problem = torchaudio_problem()
        if problem:
            raise InputError(problem)
    from jsonargparse import ArgumentError, auto_cli

    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ssc_toolkit").setLevel(logging.INFO)
    job = getattr(importlib.import_module(module), function)
    spelled = _spelled_out(_config_first(options), job)
    try:
        auto_cli(job, args=spelled, as_positional=False, prog=f"ssc-toolkit {name}", exit_on_error=False)
    except ArgumentError as error:
        raise InputError(f"{in_plain_words(str(error))}; --help explains the options") from error
    return 0


def _config_first(options: list[str]) -> list[str]:
    """Return the options with the config first, so that other options override it, and with a study file named."""
    if options and not options[0].startswith("-") and options[0].endswith((".yaml", ".yml")):
        options = [f"--file={options[0]}", *options[1:]]
    config: list[str] = []
    others = list(options)
    while "--config" in others[:-1]:
        place = others.index("--config")
        config += [f"--config={others[place + 1]}"]
        del others[place : place + 2]
    config += [option for option in others if option.startswith("--config=")]
    for option in config:
        _check_config(option.partition("=")[2])
    return [*config, *(option for option in others if not option.startswith("--config="))]


def _check_config(file: str) -> None:
    """Raise InputError unless a file holds YAML of plain values."""
    if not Path(file).is_file():
        return  # the parser reports the error
    with reading("config", file, "correct it"):
        try:
            found = yaml.safe_load(Path(file).read_bytes().decode("utf-8"))
        except yaml.constructor.ConstructorError as error:
            raise InputError(f"config: {file}: expected plain values, got a tag ({error.problem})") from error
        if not isinstance(found, dict):
            raise InputError(f"config: {file}: expected options with their values, got {type(found).__name__}")


def _kind_in_group(name: str, job: Callable[..., object]) -> str:
    """Return the type of an option of a group, such as --trainer.compile."""
    group, _, option = name.removeprefix("--").partition(".")
    parameter = inspect.signature(job).parameters.get(group)
    fields = getattr(parameter and parameter.default, "__dataclass_fields__", {})
    return str(fields[option].type) if option in fields else ""


def _spelled_out(options: list[str], job: Callable[..., object]) -> list[str]:
    """Rewrite `--flag` to `--flag=true`, `--list=a,b` to `--list=[a,b]`, and a leading path to `--tracks=PATH`."""
    kinds = {f"--{name}": str(parameter.annotation) for name, parameter in inspect.signature(job).parameters.items()}
    spelled = []
    if options and not options[0].startswith("-") and "--tracks" in kinds:
        options = [f"--tracks={options[0]}", *options[1:]]
    for option, following in itertools.zip_longest(options, options[1:]):
        name, equals, value = option.partition("=")
        value = _HOME.sub(_home, value)
        option = f"{name}{equals}{value}"
        if equals and not value:
            raise InputError(f"{name} is empty; give a value or leave it out")
        kind = kinds.get(name) or _kind_in_group(name, job)
        if kind == "bool" and not equals and following not in ("true", "false"):
            option = f"{name}=true"
        elif kind.startswith("tuple") and equals and not value.startswith("[") and value != "null":
            option = f"{name}=[{value}]"
        spelled.append(option)
    return spelled


def _home(_: object) -> str:
    return str(Path.home())


def _fail(name: str, message: str) -> int:
    lines = [" ".join(line.split()) for line in message.splitlines()]
    print(f"ssc-toolkit {name}: error: " + "\n  ".join(lines), file=sys.stderr)
    return 2


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, _, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ssc-toolkit COMMAND [--option=value ...] [--flag] [--list=a,b]",
            "",
            *lines,
            "",
            "ssc-toolkit COMMAND --help explains its options.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
