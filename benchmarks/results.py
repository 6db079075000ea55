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

from ssc_toolkit.files import atomic_path

Rows = list[dict[str, Any]]
Markdown = Callable[[Rows, str], str]
"""Function that converts rows and a header to tables."""

MEASURED, NOT_MEASURED, DOES_NOT_FIT = "measured", "not measured", "does not fit"
"""States of a row. Other states are errors."""


def options_of(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, help="folder for the table, the numbers and the figure")
    return parser


def describe_machine(device: str) -> str:
    """Return date, processor and version of PyTorch of a measurement."""
    on = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} CPU cores"
    return f"Measured {date.today().isoformat()} on {on} ({platform.machine()}), torch {torch.__version__}"


def is_error(row: dict[str, Any]) -> bool:
    """Return whether a measurement ended with an error or was found to be other work."""
    return "error" in row or row.get("state", MEASURED) not in (MEASURED, NOT_MEASURED, DOES_NOT_FIT)


def report(
    name: str,
    rows: Rows,
    about: str,
    markdown: Markdown,
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
    stem = f"{name}-{'gpu' if options.device == 'cuda' else options.device}"
    results = Results(stem, rows, markdown, options.out)
    results.header = f"{describe_machine(options.device)}: {about}"
    print(results.text())
    if options.out:
        results.write()
        plot(rows, options.out / f"{stem}.svg")


class Results:
    """Table of a benchmark, written anew after each result, so that a killed run loses no earlier result.

    Args:
        stem: file name of the table and of the numbers, without suffix.
        planned: rows of all measurements, each with the state "not measured" and the keys that identify it.
        markdown: function that converts rows and header to a table.
        out: folder of the files; None writes no files.
        keys: names of the values that identify a row.
    """

    def __init__(
        self, stem: str, planned: Rows, markdown: Markdown, out: Path | None, keys: tuple[str, ...] = ()
    ) -> None:
        self.stem = stem
        self.rows = planned
        self.markdown = markdown
        self.out = out
        self.keys = keys
        self.header = ""

    def put(self, *rows: dict[str, Any]) -> None:
        """Replace planned rows by results, or add them, and write the files."""
        places = {self._key(row): place for place, row in enumerate(self.rows)}
        for row in rows:
            print(row, flush=True)
            place = places.get(self._key(row))
            if place is None:
                self.rows.append(row)
            else:
                self.rows[place] = row
        self.write()

    def _key(self, row: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(row[key] for key in self.keys)

    def text(self) -> str:
        """Return the table."""
        return self.markdown(self.rows, self.header)

    def write(self) -> None:
        """Write table and numbers, each at once."""
        if self.out is None:
            return
        self.out.mkdir(parents=True, exist_ok=True)
        numbers = json.dumps({"header": self.header, "rows": self.rows}, indent=1) + "\n"
        for suffix, text in (("md", self.text()), ("json", numbers)):
            with atomic_path(self.out / f"{self.stem}.{suffix}") as path:
                path.write_text(text)
