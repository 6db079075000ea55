"""All measurements that need a GPU, in one command with a time budget.

The parts run one after the other, in order of worth, each in its own process:

- tests: tests/test_gpu.py;
- losses: time and memory for 4 096 to 262 144 rows, compared with other libraries;
- augmentations: the chain and every transform, compared with torch-audiomentations where it is installed;
- encoders: training steps and their fraction of the roofline of this GPU;
- training-step: a whole training step with its parts, the loader's fraction, and a check that the host never waits.

Every part has a fraction of the budget; time that a part leaves goes to the later parts. Tables and numbers are written
after every result, so that a killed run keeps all earlier results. Rows that did not run say "not measured".

    python benchmarks/gpu.py --out=docs/benchmarks     # writes tests-gpu.md, losses-gpu.md and so on there, and .json

Without a GPU, or with --tiny, tiny sizes check that the command works, and the files are named -tiny.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import torch
from results import NOT_MEASURED, Results, describe_machine, is_error
from timing import Deadline

PARTS = {"tests": 0.8, "losses": 1.2, "augmentations": 1.1, "encoders": 1.1, "training-step": 0.8}
"""Parts in order of worth, each with a number that is proportional to its fraction of the budget.

The part "a-b" is in the module `gpu_a_b`, which has the functions `plan`, `measure` and `tables`, and `KEYS`.
"""
RESERVED_SECONDS = 15.0
"""Time of the budget for starting and ending the command."""
SOFT_FRACTION = 0.9
"""Fraction of its time after which a part begins nothing new."""


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0, help="time budget of the whole command")
    parser.add_argument("--out", type=Path, help="folder for the tables and the numbers")
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help="parts to run")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, to check that the command works")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"--parts: expected some of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    options.tiny = options.tiny or not torch.cuda.is_available()
    return options


def stem_of(name: str, options: argparse.Namespace) -> str:
    """Return the file name of a part's table, without suffix."""
    return f"{name}-{'tiny' if options.tiny else 'gpu'}"


def write_empty(name: str, options: argparse.Namespace) -> None:
    """Write the files of a part that has not begun."""
    results = Results(stem_of(name, options), [], lambda rows, header: f"{header}\n", options.out)
    results.header = f"{name}: {NOT_MEASURED}."
    results.write()


def run_part(name: str, options: argparse.Namespace) -> int:
    """Measure a part in this process and return the exit code, 1 after an error."""
    part = import_module(f"gpu_{name.replace('-', '_')}")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    random.seed(0)
    torch.manual_seed(0)
    planned = part.plan(options.tiny, device)
    results = Results(stem_of(name, options), planned, part.tables, options.out, part.KEYS)
    results.header = describe_machine(device) + (", a trial with tiny sizes" if options.tiny else "")
    results.write()
    part.measure(results, Deadline(options.until), options.tiny, device)
    results.write()
    print(results.text())
    return int(any(map(is_error, results.rows)))


def run_in_process(name: str, seconds: float, options: argparse.Namespace) -> bool:
    """Measure a part in its own process, which is killed after its time; return whether there was an error."""
    until = time.time() + SOFT_FRACTION * seconds
    command = [sys.executable, __file__, f"--part={name}", f"--until={until}"]
    command += [f"--out={options.out}"] * (options.out is not None) + ["--tiny"] * options.tiny
    try:
        ended = subprocess.run(command, timeout=seconds)
    except subprocess.TimeoutExpired:
        print(f"{name}: stopped after {seconds:.0f} s", flush=True)
        return False
    if ended.returncode:
        print(f"{name}: ended with code {ended.returncode}", flush=True)
    return ended.returncode != 0


def main() -> int:
    """Run all parts and return the exit code, 1 after an error."""
    options = parse_options()
    if options.part:
        return run_part(options.part, options)
    deadline = Deadline(time.time() + 60 * options.minutes - RESERVED_SECONDS)
    for name in options.parts:
        write_empty(name, options)
    failed = []
    for number, name in enumerate(options.parts):
        weights = [PARTS[later] for later in options.parts[number:]]
        seconds = deadline.left() * weights[0] / sum(weights)
        if seconds <= 0:
            print(f"{name}: not measured, the time budget is used up", flush=True)
        elif run_in_process(name, seconds, options):
            failed.append(name)
    if failed:
        print(f"errors in: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
