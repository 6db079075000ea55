"""Trainings that are killed, stopped by a signal, or lose a worker: real signals, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from training_runs import (
    SMALL,
    assert_same_checkpoint,
    begin,
    command,
    history,
    pretrain_on,
    run,
    wait_until,
    workers_of_this_process,
)

from ssc_toolkit.data import ContrastiveDataset
from ssc_toolkit.encoders import load_encoder, load_projector
from ssc_toolkit.errors import InputError
from ssc_toolkit.training import SemiSupConDataModule, StopOnSignal
from ssc_toolkit.training.fit import explain_errors

TRAINED = (
    "--memory=30",
    "--trainer.accumulate=2",
    "--optimizer.warmup_steps=5",
    "--optimizer.ema_decay=0.9",
    "--optimizer.max_grad_norm=5",
    "--keep_checkpoints_every=7",
    "--projector.heads=separate",
    "--loss.label_weight_end=0.2",
)
VALIDATED = ("--validation.every=3", "--validation.monitor=val_neighbor_agreement", "--validation.patience=50")
STATE = (*TRAINED, *VALIDATED)
"""Options with state to resume: queues, schedules, averaged weights, the best value and when it was measured."""


@pytest.fixture(scope="module")
def undisturbed(music, tmp_path_factory) -> Path:
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(*command(music, folder, *STATE))
    return folder


def assert_same_run(first: Path, second: Path) -> None:
    assert history(first) == history(second)
    for load in (load_encoder, load_projector):
        one, two = (load(folder / "encoder").state_dict() for folder in (first, second))
        assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("best.ckpt", "last.ckpt", "checkpoints/step-7.ckpt", "checkpoints/step-14.ckpt"):
        assert_same_checkpoint(first / name, second / name)
    assert (first / "summary.json").read_text() == (second / "summary.json").read_text()


@pytest.mark.slow
def test_a_repeatedly_killed_run_resumes_to_the_same_losses(music, undisturbed, tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    moments = (
        checkpoint.exists,
        lambda: any(tmp_path.glob(".last.ckpt.*.tmp")),  # in the middle of writing the next one
    )
    done = 0
    for moment in moments:
        process = begin(*command(music, tmp_path, *STATE), stderr=subprocess.DEVNULL)
        wait_until(moment, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "encoder").exists()
        before, done = done, torch.load(checkpoint, weights_only=True)["global_step"]
        assert before <= done < 20
    run(*command(music, tmp_path, *STATE))
    assert_same_run(tmp_path, undisturbed)
    assert not list(tmp_path.glob(".*.tmp"))
    assert len(json.loads((tmp_path / "provenance.json").read_text())["starts"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "name", "status"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "Ctrl-C", 130)]
)
def test_a_signal_saves_and_ends(listening, music, undisturbed, tmp_path, number, name, status):
    arguments = command(music, tmp_path, *STATE, "--workers=2", "--checkpoint_every=1000", "--logs.pictures_every=1")
    process = begin(*arguments)
    wait_until((tmp_path / "pictures").exists, process)
    assert (tmp_path / "history.csv").exists()  # written from the first step
    os.killpg(process.pid, number)  # to the workers too, as schedulers and terminals do
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    assert f"stopped by {name} after step" in errors
    assert "Traceback" not in errors
    assert 0 < torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] < 20
    assert not (tmp_path / "encoder").exists()
    run(*arguments)
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_and_ctrl_c_twice(listening, music, tmp_path):
    # Steps of so many batches that the second Ctrl-C comes before the end of one.
    process = begin(*command(music, tmp_path, "--trainer.accumulate=100000"))
    wait_until((tmp_path / "tensorboard").exists, process)
    with pytest.raises(InputError, match="another process is using"):
        pretrain_on(music / "my.csv", tmp_path, labels="note", **SMALL)
    assert process.stderr is not None
    said = ""
    while "0/20" not in said:  # the progress bar, which begins with the training
        assert process.poll() is None, said
        said += process.stderr.read(1)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    while "press it again to stop at once" not in said:
        assert process.poll() is None, said
        said += process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "interrupted; rerun the same command to resume" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.slow
def test_ctrl_c_after_the_last_step_is_not_lost(listening, music, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_train_end", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            pretrain_on(music / "my.csv", tmp_path, labels="note", **SMALL)
    assert not (tmp_path / "encoder").exists()
    assert pretrain_on(music / "my.csv", tmp_path, labels="note", **SMALL).is_dir()
    assert len(history(tmp_path)) == SMALL["steps"]


@pytest.mark.slow
def test_a_worker_that_is_killed_is_reported_with_its_file(music, tmp_path):
    def kill_a_worker() -> None:
        wait_until((tmp_path / "last.ckpt").exists)
        os.kill(workers_of_this_process()[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    # Torch says one or the other, depending on whether it hears of the death or waits for the worker in vain.
    fate = r"(is killed|exited unexpectedly)"
    with pytest.raises(InputError, match=rf"workers: a process .* {fate}.* reading .*\.(wav|flac|mp3)"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 3000}, workers=2)
    killer.join()


def test_the_file_is_the_one_that_the_worker_was_reading(music, tmp_path):
    pipe = tmp_path / "endless.wav"
    os.mkfifo(pipe)  # reading it waits for ever
    tracks = pd.DataFrame({"path": [str(pipe)] * 4, "seconds": [2.0] * 4})
    data = SemiSupConDataModule(ContrastiveDataset(tracks, 16000, 0.5), batch_size=2, workers=1)
    batches = iter(data.train_dataloader())
    wait_until(lambda: any(data.read_by(pid) == str(pipe) for pid in workers_of_this_process()))
    (pid,) = [pid for pid in workers_of_this_process() if data.read_by(pid)]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(InputError, match=f"reading {pipe}"), explain_errors(data):
        next(batches)
