"""A comparison on files whose names would break a careless page, run once for all tests that look at it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
import torch

from ssc_toolkit.encoders import MelCNN

RATE = 8000
WINDOW = 0.5
TITLES = (
    '<img src=x onerror="window.hacked=1">',
    "</script><script>window.hacked=1</script>",
    "\"double\" & 'single' `back` ${window.hacked=1}",
    "日本語のトラック Ünïcödé \u2028 \u202e",
    "a | b | $x_1^2$ \\n {{ 7 * 7 }} <!-- ",
)
MODELS = ("_one <b>$x$</b>", "two | \"2\" & '日本'")
BASELINES = ("random encoder", "MFCC statistics", "log-mel statistics")
KEYS = ("C major", "A minor", "G major")
PITCHES = (262.0, 440.0, 784.0)
CONDITIONS = ("clean", "chain 1", "bitcrush 1")


@dataclass(frozen=True)
class Compared:
    """A finished comparison.

    Attributes:
        folder: of the report.
        table: CSV file of the tracks.
        encoders: folders of the two encoders.
        printed: on standard output.
    """

    folder: Path
    table: Path
    encoders: tuple[Path, Path]
    printed: str


def write_music(folder: Path, count: int = 60) -> Path:
    """Tones of three pitches, bright or dull, in files with hostile names; gives the table of them."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(count):
        pitch, bright = number % 3, number % 2
        time = np.arange(round(1.2 * RATE)) / RATE
        tone = sum(np.sin(2 * np.pi * PITCHES[pitch] * harmonic * time) for harmonic in range(1, 2 + 3 * bright))
        name = f"{number:02d} <svg onload='window.hacked=1'>&\"{TITLES[3][:4]}.wav"
        samples = 0.1 * tone + 0.2 * random.normal(size=len(time))
        soundfile.write(folder / name, samples.clip(-1, 1), RATE)
        split = ("train", "valid", "test")[0 if number < 30 else 1 if number < 40 else 2]
        title = TITLES[number % 5] if number % 7 else None
        tags = f"<i>loud</i>|{'bright' if bright else 'dull'}" if number % 4 else "|"
        rows.append((name, split, number // 2, KEYS[pitch], tags, title))
    columns = ["path", "split", "group", "key", "tags", "title"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "tracks.csv", index=False)
    return folder / "tracks.csv"


def encoder_folders(folder: Path) -> tuple[Path, Path]:
    """Where the two encoders lie."""
    return folder / "one" / "encoder", folder / "two" / "encoder"


def write_encoders(folder: Path) -> tuple[Path, Path]:
    """Two encoders that were never trained, each with other weights."""
    folders = encoder_folders(folder)
    for seed, path in enumerate(folders, start=1):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            MelCNN(sample_rate=RATE, n_mels=32).save_pretrained(path)
    return folders


def command(table: Path, encoders: tuple[Path, Path], out: Path, *options: str) -> list[str]:
    """The command that compares them."""
    return [
        *(sys.executable, "-m", "ssc_toolkit.cli", "compare", f"--encoders={json.dumps(list(map(str, encoders)))}"),
        *(f"--names={json.dumps(MODELS)}", f"--tracks={table}", "--labels=key,tags", f"--window_seconds={WINDOW}"),
        *("--corruptions=chain,bitcrush", "--severities=0,1", "--audio_clips=12", f"--out={out}", *options),
    ]


def run(arguments: list[str]) -> str:
    """What a command prints; it has to succeed."""
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def compared(folder: Path) -> Compared:
    """Make music and encoders, and compare; what an earlier call has finished is read."""
    printed = folder / "printed.txt"
    if not printed.exists():
        table, encoders = write_music(folder), write_encoders(folder)
        printed.write_text(run(command(table, encoders, folder / "report")), encoding="utf-8")
    return Compared(
        folder / "report", folder / "tracks.csv", encoder_folders(folder), printed.read_text(encoding="utf-8")
    )
