"""Several processes train to what one process with the whole batch does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_in_processes import train
from training_runs import ONE_THREAD, SMALL, begin, history, pretrain_on, wait_until

from ssc_toolkit.encoders import load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.training import TrainerOptions


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_process(music, tmp_path):
    script = Path(__file__).parents[1].joinpath("train_in_processes.py")
    subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *(str(script), str(music), str(tmp_path / "weights.pt")),
        ],
        check=True,
        capture_output=True,
        env={**ONE_THREAD, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    plain, cached = torch.load(tmp_path / "weights.pt", weights_only=True)
    alone = train(music, 1, None)
    for name, weight in alone.items():
        for several in (plain, cached):
            torch.testing.assert_close(several[name], weight, rtol=1e-9, atol=1e-12)
    # The comparison says something: the steps have moved the weights, and another batch moves them elsewhere.
    torch.manual_seed(0)
    other = train(music, 1, None, accumulate=2)
    assert any((other[name] - alone[name]).abs().max() > 1e-4 for name in alone)


@pytest.mark.slow
def test_gradient_caching_changes_no_weight(music):
    whole, cached = (train(music, 1, chunk_size) for chunk_size in (None, 5))
    for name, weight in whole.items():
        torch.testing.assert_close(cached[name], weight, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
def test_the_command_starts_its_own_processes(music, tmp_path):
    options = {**SMALL, "steps": 30, "labels": "note,range", "trainer.accelerator": "cpu", "trainer.devices": 2}
    options |= {"validation.every": 1, "validation.monitor": "val_neighbor_agreement", "validation.patience": 1}
    options |= {"projector.heads": "separate"}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "ssc_toolkit.cli", "pretrain", f"--tracks={music / 'my.csv'}", f"--out={tmp_path}"]
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert result.returncode == 0, result.stderr
    rows = history(tmp_path)
    assert [row["step"] for row in rows] == [str(step) for step in range(1, len(rows) + 1)]
    agreements = [float(row["val_neighbor_agreement"]) for row in rows]
    assert max(agreements[:-1]) >= agreements[-1]  # both processes stop after the first value that is not better
    assert 2 <= len(rows) <= 8  # six tracks have seven values
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"]["step"] == len(rows) - 1
    assert "val_neighbor_agreement has not improved for 1 validation" in result.stderr
    assert result.stderr.count("encoder saved in") == 1
    assert load_encoder(tmp_path / "encoder").embedding_dim == 256


def test_missing_devices_are_refused(music, tmp_path):
    gpus = torch.cuda.device_count()
    options = TrainerOptions(accelerator="gpu", devices=gpus + 1)
    with pytest.raises(InputError, match="trainer"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL, trainer=options)
    if not gpus:
        with pytest.raises(InputError, match=r"trainer\.precision: expected bf16 or 32"):
            pretrain_on(music / "my.csv", tmp_path, **SMALL, trainer=TrainerOptions(precision="fp16"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_death_of_a_process_is_reported_by_the_others(music, tmp_path):
    options = {**SMALL, "steps": 3000, "labels": "note", "trainer.accelerator": "cpu", "trainer.devices": 2}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "ssc_toolkit.cli", "pretrain", f"--tracks={music / 'my.csv'}", f"--out={tmp_path}"]
    process = begin(*command, *arguments)
    wait_until((tmp_path / "last.ckpt").exists, process)
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    children = [pid for task in tasks for pid in task.read_text().split()]
    (second,) = [int(pid) for pid in children if b"ssc_toolkit" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(second, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode
    assert "process of this training died" in errors.strip().splitlines()[-1]
    assert "Traceback" not in errors
