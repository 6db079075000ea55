"""The benchmark of whole pretraining steps runs, and measures the memory of several processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from memory import highest_memory  # noqa: E402

ALLOCATE = """
import subprocess, sys, time
block = b"x" * 60_000_000
if len(sys.argv) > 1:
    subprocess.run([sys.executable, "-c", sys.argv[1]])
time.sleep(0.5)
"""


@pytest.mark.parametrize(("children", "expected"), [(0, 60e6), (1, 120e6)])
def test_memory_is_that_of_a_process_and_its_children(children, expected):
    process = subprocess.Popen([sys.executable, "-c", ALLOCATE, *[ALLOCATE] * children])

    def ended() -> bool:
        try:
            return process.wait(0.02) is not None
        except subprocess.TimeoutExpired:
            return False

    assert expected < highest_memory(process.pid, ended) < expected + 40e6


@pytest.mark.slow
def test_both_pipelines_train_and_are_reported(tmp_path):
    pytest.importorskip("torch_audiomentations")
    command = [sys.executable, str(BENCHMARKS / "end_to_end.py"), "--cases=MelCNN:4", "--turns=1", f"--out={tmp_path}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr
    ours, theirs = json.loads((tmp_path / "end_to_end-cpu.json").read_text())["rows"]
    assert (ours["name"], theirs["name"]) == ("ssc_toolkit", "published pipeline")
    assert ours["ratio"] == 1
    assert theirs["ratio"] == pytest.approx(theirs["seconds_per_step"] / ours["seconds_per_step"])
    for row in (ours, theirs):
        assert row["segments_per_second"] * row["seconds_per_step"] == pytest.approx(8)
        assert 100 < row["megabytes"] < 20_000
    table = (tmp_path / "end_to_end-cpu.md").read_text()
    assert f"| MelCNN, 4 x 2 | published pipeline | {theirs['segments_per_second']:.0f} |" in table
    assert (tmp_path / "end_to_end-cpu.svg").exists()
