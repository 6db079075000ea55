"""Options and output files that all benchmarks share."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

Rows = list[dict[str, Any]]


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for the table, the numbers and the figure")
    return parser


def report(
    name: str,
    rows: Rows,
    about: str,
    markdown: Callable[[Rows, str], str],
    plot: Callable[[Rows, Path], None],
    options: argparse.Namespace,
) -> None:
    """Print the table, and write table, numbers and figure if `options.out` is given.

    Args:
        name: name of the benchmark and of its files.
        rows: results.
        about: description of the measurement, which is written after date, machine and version.
        markdown: function that converts rows and header to a table.
        plot: function that draws the rows to a file.
        options: options parsed with `options_of`.
    """
    on = torch.cuda.get_device_name() if options.device == "cuda" else f"{options.threads} CPU cores"
    where = f"Measured {date.today().isoformat()} on {on} ({platform.machine()}), torch {torch.__version__}"
    header = f"{where}: {about}"
    text = markdown(rows, header)
    print(text)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        stem = f"{name}-{options.device}"
        (options.out / f"{stem}.md").write_text(text)
        (options.out / f"{stem}.json").write_text(json.dumps({"header": header, "rows": rows}, indent=1) + "\n")
        plot(rows, options.out / f"{stem}.svg")
