"""Run the pretraining of a config file in a separate process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from ssc_toolkit.errors import InputError
from ssc_toolkit.options.files import read_options
from ssc_toolkit.options.parsing import parse_mapping
from ssc_toolkit.options.pretrain import PretrainOptions
from ssc_toolkit.training.pretrain import pretrain


def main(config: Path) -> int:
    """Run the pretraining of a YAML config file, and return the exit status of the process."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
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


def _stop_with_parent() -> None:
    """Send SIGTERM to this process, which saves a checkpoint, when the process of the study has been killed."""
    with contextlib.suppress(OSError):
        os.read(0, 1)  # ends when the study process ends, which holds the other end of the pipe
    os.kill(os.getpid(), signal.SIGTERM)
