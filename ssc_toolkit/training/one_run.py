"""A pretraining of a config file as a process of its own: `python -m ssc_toolkit.training.one_run CONFIG`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from ssc_toolkit.errors import InputError
from ssc_toolkit.training.config_file import read_options
from ssc_toolkit.training.pretrain import pretrain
from ssc_toolkit.wording import in_plain_words


def typed(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `pretrain` from plain data.

    Raises:
        InputError: for one that it does not take, or of another type.

    Examples:
        >>> typed({"tracks": "scores", "out": "runs/one", "trainer": {"precision": "bf16"}})["trainer"].precision
        'bf16'
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(pretrain)
    try:
        return parser.instantiate(parser.parse_object(dict(arguments))).as_dict()
    except (ArgumentError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(in_plain_words(str(error))) from error


def main(config: Path) -> int:
    """Run it; the exit status is that of the command line."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ssc_toolkit").setLevel(logging.INFO)
    try:
        pretrain(**typed(read_options(config, "config")))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
