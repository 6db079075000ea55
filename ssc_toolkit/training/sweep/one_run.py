"""Run the pretraining of a config file in a separate process."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.files import read_options
from ssc_toolkit.options.parsing import parse_mapping
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.training.pretrain import pretrain


def main(config: Path) -> int:
    """Run the pretraining of a YAML config file, and return the exit status of the process."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("ssc_toolkit").setLevel(logging.INFO)
    try:
        pretrain(parse_mapping(PretrainOptions, read_options(config, "config")))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
