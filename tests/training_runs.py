"""Small trainings on tones, for the tests of training."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from audio_files import tone, write_audio

from ssc_toolkit.training import PretrainOptions, pretrain

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
"""Environment of the processes that tests start: threads that wait for each other are slow on a busy machine."""
SMALL = {"view_seconds": 0.5, "batch_size": 6, "steps": 8, "checkpoint_every": 2}
TINY = {"steps": 2, "view_seconds": 0.5, "batch_size": 6}


def make_tones(folder: Path) -> Path:
    """A folder of tones in three formats at two rates, and a table with partly known labels."""
    rows = []
    random = np.random.default_rng(0)
    for number in range(24):
        suffix = ("wav", "flac", "mp3")[number % 3]
        rate = (16000, 44100)[number % 2]
        hertz = (220.0, 330.0, 440.0)[number // 8]
        samples = tone(hertz, 1.5, rate, 0.4)
        write_audio(folder / f"{number:02d}.{suffix}", samples + 0.02 * random.normal(size=len(samples)), rate)
        note = ("A3", "E4", "A4")[number // 8] if number % 2 else ""
        tags = f"{note}|tone" if note else ""
        split = ("train", "train", "train", "valid")[number % 4]
        rows.append([f"{number:02d}.{suffix}", note, tags, ("low", "high")[number // 12] if number % 3 else "", split])
    with (folder / "my.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "note", "tags", "range", "split"], *rows])
    return folder


def pretrain_on(tracks: Path, out: Path, **options: Any) -> Path:
    """Pretrain on the tracks, and return the folder of the encoder."""
    return pretrain(PretrainOptions(tracks=str(tracks), out=str(out), **options))


def history(folder: Path) -> list[dict[str, str]]:
    """Rows of a run, without the one column that tells of the machine."""
    with (folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: cell for name, cell in row.items() if name != "clips_per_second"} for row in rows]


def losses(folder: Path) -> list[float]:
    """Losses of a run, step by step."""
    return [float(row["loss"]) for row in history(folder)]


def assert_same_checkpoint(one: Path, two: Path) -> None:
    """The step, weights, moments of the optimizer and queue of two checkpoints are the same, bit for bit."""
    first, second = (torch.load(path, weights_only=True) for path in (one, two))
    for name in ("global_step", "state_dict", "optimizer_states"):
        torch.testing.assert_close(second[name], first[name], rtol=0, atol=0)


def command(music: Path, out: Path, *extra: str) -> list[str]:
    """A training of twenty steps on the command line."""
    options = [f"--{name}={value}" for name, value in SMALL.items() if name != "steps"]
    return [
        *(sys.executable, "-m", "ssc_toolkit.cli", "pretrain", f"--tracks={music / 'my.csv'}", f"--out={out}"),
        *("--labels=note", "--steps=20", *options, *extra),
    ]


KILL_AT_FIRST_WRITE = """
import os, signal, sys

def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

os.replace = killed
from ssc_toolkit.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""Program that runs a command and dies when the first file that it writes is about to take its name."""


def die_at_first_write(*arguments: str) -> None:
    """Run a command line until it dies so."""
    done = subprocess.run(
        [sys.executable, "-c", KILL_AT_FIRST_WRITE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=ONE_THREAD,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def begin(*arguments: str, **options: object) -> subprocess.Popen[str]:
    """Start a command in a process group of its own."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    return subprocess.Popen(arguments, **quiet | {"env": ONE_THREAD} | options)  # type: ignore[call-overload]


def run(*arguments: str) -> None:
    """Run a command to its end, which must be a good one."""
    subprocess.run(arguments, check=True, capture_output=True, env=ONE_THREAD)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something that a process does; it must not end before."""
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.005)


def workers_of_this_process() -> list[int]:
    """Process ids of the workers that loaders have forked off this process."""
    own = Path(f"/proc/{os.getpid()}/cmdline").read_bytes()
    found = []
    for children in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in map(int, children.read_text().split()):
            if Path(f"/proc/{pid}/cmdline").read_bytes() == own:
                found.append(pid)
    return found
