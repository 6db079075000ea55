"""Run the pretraining of a config file in a separate process."""

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
    """Convert plain data to typed arguments of `pretrain`.

    Raises:
        InputError: for an unknown argument, or a value of the wrong type.

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
    """Run the pretraining of a config file, and return the exit status."""
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
