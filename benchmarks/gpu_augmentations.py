"""Part of the GPU benchmark: time of the chain and of every transform."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

from augmentation_effects import SAMPLES
from augmentation_peers import record, registry
from augmentations import CLIPS, markdown, measure_transform, noise_clips
from gpu_targets import Target, list_targets
from results import MEASURED, NOT_MEASURED, Results, Rows
from timing import Deadline

KEYS = ("transform", "name")
FIRST = ("chain at severity 1", "chain without pitch shift", "PitchShift")
LAST = ("MP3",)
"""Transforms that run on the CPU."""
TINY_NAMES, TINY_CLIPS = ("chain without pitch shift", "Gain", "Reverse"), 2
TARGET_RATIO, PEER = 30, "torch-audiomentations"


def plan(tiny: bool, device: str) -> Rows:
    """Return the rows of our transforms."""
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder))
        names = registry(folder, torch_only=True)
    return [
        {"transform": name, "name": "ssc_toolkit", "kind": "ours", "state": NOT_MEASURED}
        for name in names
        if not tiny or name in TINY_NAMES
    ]


def measure(results: Results, until: Deadline, tiny: bool, device: str) -> None:
    """Measure all transforms, the chains first and those on the CPU last."""
    clips = TINY_CLIPS if tiny else CLIPS
    results.header += (
        f": {clips} clips of {SAMPLES} samples, float32, every clip touched. Peers that process torch batches on the "
        "same device: their time as a multiple of ours (median of paired ratios)."
    )
    warnings.filterwarnings("ignore")
    waveforms = noise_clips(clips, device)
    planned = [row["transform"] for row in results.rows]
    names = sorted(planned, key=lambda name: (name not in FIRST, name in LAST))
    with tempfile.TemporaryDirectory() as folder:
        record(Path(folder))
        entries = registry(folder, torch_only=True)
        for number, name in enumerate(names):
            if until.left() < 0:
                break
            # The chains have the targets: more turns.
            budget = until.left() / (len(names) - number) / 2 * (3 if name in FIRST else 1)
            budget = 0.0 if tiny else budget
            results.put(*measure_transform(name, entries[name], waveforms, budget, until))


def tables(rows: Rows, header: str) -> str:
    """Return the table of `augmentations.py`, followed by the target."""
    target = Target(
        f"chain at severity 1: {TARGET_RATIO} times as fast as {PEER}",
        _find_chain,
        lambda row: row["ratio"] >= TARGET_RATIO,
    )
    return markdown(rows, header) + list_targets([target], rows)


def _find_chain(rows: Rows) -> tuple[dict[str, Any], str] | None:
    for row in rows:
        if (row["transform"], row["name"], row["state"]) == (FIRST[0], PEER, MEASURED) and row["ratio"]:
            return row, f"{row['ratio']:.3g} times"
    return None
