"""Command-line interface, with one command for each task."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import sys
from collections.abc import Sequence
from typing import Any

from ssc_toolkit import __version__
from ssc_toolkit.commands.errors import user_message
from ssc_toolkit.commands.output import Output, open_closed_streams, undiscarded_stderr
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import (
    CompareOptions,
    CorpusOptions,
    DemoOptions,
    DoctorOptions,
    EmbedOptions,
    ExportOptions,
    FramesOptions,
    PrepareOptions,
    PretrainOptions,
    ProbeOptions,
    RetrievalOptions,
    RobustnessOptions,
    SweepOptions,
    TableOptions,
    TagOptions,
)
from ssc_toolkit.options.parsing import CommandLine
from ssc_toolkit.options.schema import suggest_name
from ssc_toolkit.processes import safe_children

COMMANDS: dict[str, tuple[type[Any], str]] = {
    "demo": (DemoOptions, "pretrain and evaluate encoders on the default corpus, in ten minutes"),
    "table": (TableOptions, "write a table of your music from file tags and playlists"),
    "prepare": (PrepareOptions, "decode your music or a dataset once, for fast training"),
    "pretrain": (PretrainOptions, "pretrain an encoder on your music and labels"),
    "sweep": (SweepOptions, "run several pretrainings that a study file describes"),
    "export": (ExportOptions, "save the encoder of any checkpoint of a training run"),
    "probe": (ProbeOptions, "evaluate a pretrained encoder with probes or fine-tuning"),
    "robustness": (RobustnessOptions, "evaluate an encoder with probes on corrupted audio"),
    "retrieval": (RetrievalOptions, "evaluate an encoder by retrieval of nearest neighbors"),
    "frames": (FramesOptions, "evaluate the frames of an encoder with probes for beats or chord roots"),
    "compare": (CompareOptions, "compare several models in one report with audio"),
    "embed": (EmbedOptions, "write embeddings of your files to one file"),
    "tag": (TagOptions, "write a table with the probabilities of the classes of a model"),
    "corpus": (CorpusOptions, "render the default corpus and describe it"),
    "doctor": (DoctorOptions, "check versions, devices, codecs and caches"),
}
"""Class of the options, and description, of each command by name.

The function of a command is in the module with its name in `ssc_toolkit.commands`.
"""

RESUMABLE = ("demo", "prepare", "pretrain", "sweep", "compare", "tag", "corpus")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: name of the command and its options; by default the arguments of this process.

    Returns:
        Exit status: 0 for success, 2 for an error that the user can fix, or 130 after Ctrl-C.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        print(f"ssc-toolkit {__version__}")
        return 0
    name, *options = arguments
    open_closed_streams()
    out = Output(sys.stdout)
    with (
        undiscarded_stderr() as stderr,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(Output(stderr)),
        safe_children(),
    ):
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
    except (ModuleNotFoundError, OSError) as error:
        message = user_message(error)
        if message is None:
            raise
        return _fail(name, message)
    except KeyboardInterrupt:
        hint = "; rerun the same command to resume" if name in RESUMABLE else ""
        print(f"\nssc-toolkit {name}: interrupted{hint}", file=sys.stderr)
        return 130


def _run(name: str, arguments: list[str]) -> int:
    if name not in COMMANDS:
        hint = suggest_name(name, COMMANDS) or f"; expected one of {', '.join(COMMANDS)}"
        raise InputError(f"there is no such command{hint}")
    kind, about = COMMANDS[name]
    line = CommandLine(kind, arguments, f"ssc-toolkit {name}", _description(kind, about))
    line.check()
    if name != "doctor":
        from ssc_toolkit.commands.doctor import torchaudio_problem

        problem = torchaudio_problem()
        if problem:
            raise InputError(problem)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ssc_toolkit").setLevel(logging.INFO)
    command = getattr(importlib.import_module(f"ssc_toolkit.commands.{name}"), name)
    with line.config_named():
        command(line.options)
    return 0


def _description(kind: type, about: str) -> str:
    """Return the text at the top of `--help` of a command.

    `kind` is the class of its options, and `about` its short description.
    """
    more = (inspect.getdoc(kind) or "").partition("\n\n")[2].partition("Args:")[0].strip()
    return f"{about[0].upper()}{about[1:]}.\n\n{more}"


def _fail(name: str, message: str) -> int:
    lines = [" ".join(line.split()) for line in message.splitlines()]
    print(f"ssc-toolkit {name}: error: " + "\n  ".join(lines), file=sys.stderr)
    return 2


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ssc-toolkit COMMAND [--option=value ...] [--flag] [--list=a,b]",
            "",
            *lines,
            "",
            "ssc-toolkit COMMAND --help explains the options of a command.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
