"""Trainings that are killed, preempted, run out of disk, lose a worker, or diverge: real signals, real processes."""

from __future__ import annotations

import gc
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import textwrap
import threading
import time
from io import FileIO
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from training_runs import (
    SMALL,
    begin,
    command,
    history,
    make_tones,
    pretrain_on,
    run,
    wait_until,
    workers_of_this_process,
)

from ssc_toolkit.data import ContrastiveDataset
from ssc_toolkit.encoders import ContrastiveModel, MelCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.training import (
    AtomicCheckpointIO,
    FiniteWeights,
    SemiSupConDataModule,
    SemiSupConModule,
    StopOnSignal,
    pretrain,
)
from ssc_toolkit.training.checkpoints import check_space, checkpoint_bytes
from ssc_toolkit.training.fit import _in_plain_words
from ssc_toolkit.training.pretrain import OPTIMIZERS

QUEUE = ("--memory=30", "--trainer.accumulate=2")
"""So that a queue of earlier batches, and steps of several batches, are there to be resumed."""


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    return make_tones(tmp_path_factory.mktemp("music"))


@pytest.fixture(scope="module")
def undisturbed(music, tmp_path_factory) -> Path:
    """A run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(*command(music, folder, *QUEUE))
    return folder


def assert_same_run(first: Path, second: Path) -> None:
    assert history(first) == history(second)
    one, two = (load_encoder(folder / "encoder").state_dict() for folder in (first, second))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_repeatedly_killed_run_resumes_to_the_same_losses(music, undisturbed, tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    moments = (
        checkpoint.exists,
        lambda: any(tmp_path.glob(".last.ckpt.*.tmp")),  # in the middle of writing the next one
    )
    done = 0
    for moment in moments:
        process = begin(*command(music, tmp_path, *QUEUE), stderr=subprocess.DEVNULL)
        wait_until(moment, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "encoder").exists()
        before, done = done, torch.load(checkpoint, weights_only=True)["global_step"]
        assert before <= done < 20
    run(*command(music, tmp_path, *QUEUE))
    assert_same_run(tmp_path, undisturbed)
    assert not list(tmp_path.glob(".*.tmp"))
    assert len(json.loads((tmp_path / "provenance.json").read_text())["starts"]) == 3


@pytest.mark.parametrize(
    ("number", "name", "status"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "Ctrl-C", 130)]
)
def test_a_signal_saves_and_ends(listening, music, undisturbed, tmp_path, number, name, status):
    arguments = command(music, tmp_path, *QUEUE, "--workers=2", "--checkpoint_every=1000", "--logs.pictures_every=1")
    process = begin(*arguments)
    wait_until((tmp_path / "pictures").exists, process)
    os.killpg(process.pid, number)  # to the workers too, as schedulers and terminals do
    _, errors = process.communicate(timeout=120)
    assert process.returncode == status, errors
    assert f"stopped by {name} after step" in errors
    assert "Traceback" not in errors
    assert 0 < torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] < 20
    assert not (tmp_path / "encoder").exists()
    run(*arguments)
    assert_same_run(tmp_path, undisturbed)


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


def test_a_full_disk_keeps_the_previous_checkpoint(music, tmp_path):
    """A disk of 64 MB that fills up after the first checkpoint: a file system of its own, in a namespace of its own."""
    may = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", tmp_path], capture_output=True, check=False)
    if may.returncode:
        pytest.skip(f"no file system can be mounted here: {may.stderr.decode().strip()}")
    folder = tmp_path / "disk" / "run"
    script = f"""
        mkdir {tmp_path}/disk && mount -t tmpfs -o size=64m none {tmp_path}/disk || exit 99
        {" ".join(command(music, folder, "--steps=3000"))} 2> {tmp_path}/errors &
        while ! [ -e {folder}/last.ckpt ]; do sleep 0.05; done
        cat /dev/zero > {tmp_path}/disk/fill 2> /dev/null
        wait $!; status=$?
        cp {folder}/last.ckpt {tmp_path}/kept.ckpt
        exit $status
    """
    result = subprocess.run(["unshare", "-rm", "bash", "-c", textwrap.dedent(script)], check=False, timeout=240)
    errors = (tmp_path / "errors").read_text()
    assert result.returncode == 2, errors
    assert "out: " in errors.splitlines()[-1]
    assert "rerun the command to resume from it" in errors.splitlines()[-1]
    assert "Traceback" not in errors
    assert torch.load(tmp_path / "kept.ckpt", weights_only=True)["global_step"] > 0


def test_ctrl_c_after_the_last_step_is_not_lost(listening, music, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_train_end", lambda *_: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            pretrain_on(music / "my.csv", tmp_path, labels="note", **SMALL)
    assert not (tmp_path / "encoder").exists()
    assert pretrain_on(music / "my.csv", tmp_path, labels="note", **SMALL).is_dir()
    assert len(history(tmp_path)) == SMALL["steps"]


@pytest.mark.parametrize("writes", [1, 3, 6])
def test_ctrl_c_while_a_checkpoint_is_written_is_no_full_disk(tmp_path, monkeypatch, writes):
    class Interrupted(FileIO):
        def write(self, content):
            self.written = getattr(self, "written", 0) + 1
            if self.written == writes:
                raise KeyboardInterrupt
            return super().write(content)

    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda path, mode: Interrupted(path, mode))
        with pytest.raises(KeyboardInterrupt):
            io.save_checkpoint({"weights": torch.zeros(1000)}, path)
    assert io.load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_checkpoint_keeps_the_previous_one(tmp_path):
    path, io = tmp_path / "last.ckpt", AtomicCheckpointIO()
    io.save_checkpoint({"step": 1}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # the system refuses larger files
    try:
        with pytest.raises(InputError, match=r"could not be written \(.*the previous one is unchanged"):
            io.save_checkpoint({"weights": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert io.load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_too_little_disk_space_is_an_error_before_training(music, tmp_path, monkeypatch):
    module = SemiSupConModule(ContrastiveModel(MelCNN()))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=30 * 2**20))
    with pytest.raises(InputError, match=r"expected \d\d MB of free space .*, got 30 MB"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL)
    assert not (tmp_path / "last.ckpt").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=60 * 2**20))
    check_space(tmp_path, module)


def test_the_estimated_checkpoint_size_is_close(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, **SMALL)
    written = (tmp_path / "last.ckpt").stat().st_size
    assert checkpoint_bytes(SemiSupConModule(ContrastiveModel(MelCNN()))) == pytest.approx(written, rel=0.02)


def test_a_nan_loss_stops_the_run_and_names_its_batch(music, tmp_path, capsys):
    with pytest.raises(InputError, match=r"loss is .* at step .*learning_rate"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL, learning_rate=1e30, title="diverging")
    assert not (tmp_path / "encoder").exists()
    report = json.loads((tmp_path / "not_finite.json").read_text())
    assert len(report["items"]) == SMALL["batch_size"]
    assert all(Path(item["file"]).exists() for item in report["items"])
    if (tmp_path / "last.ckpt").exists():
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] < report["step"]
    # The line that counts the steps ends with the run, and is not drawn once more when it is collected.
    assert "diverging" in capsys.readouterr().err
    gc.collect()
    assert not capsys.readouterr().err


class Overflowing(torch.optim.Adam):
    """Adam whose third step goes to infinity."""

    def step(self, closure=None):
        loss = super().step(closure)
        if max(int(state["step"]) for state in self.state.values()) == 3:
            self.param_groups[0]["params"][0].data.fill_(math.inf)
        return loss


def test_nan_or_infinite_weights_are_not_saved(music, tmp_path, monkeypatch):
    # The loss of the last step is that before its update, and fine.
    monkeypatch.setitem(OPTIMIZERS, "Adam", Overflowing)
    with pytest.raises(InputError, match=r"NaN or infinite after step 3; choose a lower learning_rate .* is unchanged"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 3, "checkpoint_every": 1})
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
    assert not (tmp_path / "encoder").exists()
    masked = nn.ModuleList([nn.Linear(2, 2)])
    masked.register_buffer("mask", torch.tensor(-math.inf))
    FiniteWeights().on_save_checkpoint(None, masked, {})  # may be so


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
    with pytest.raises(InputError, match=f"reading {pipe}"), _in_plain_words(data):
        next(batches)


def test_foreign_folders_are_not_changed(music, tmp_path):
    arguments = {"tracks": str(music / "my.csv"), **SMALL}
    (tmp_path / "foreign" / "encoder").mkdir(parents=True)
    with pytest.raises(InputError, match=r"expected settings.json next to encoder"):
        pretrain(PretrainOptions(out=str(tmp_path / "foreign"), **arguments))
    pretrain(PretrainOptions(out=str(tmp_path / "mine"), **arguments))
    assert (tmp_path / "mine" / "encoder" / "model.safetensors").stat().st_mode & 0o777 == 0o644
    (tmp_path / "mine" / "settings.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        pretrain(PretrainOptions(out=str(tmp_path / "mine"), **arguments))
    # A run that left nothing to go on from holds nobody up.
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "settings.json").write_text('{"steps": 7}')
    pretrain(PretrainOptions(out=str(tmp_path / "early"), **arguments))


def test_a_finished_run_is_kept_and_other_settings_refused(music, tmp_path):
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path), **SMALL}
    folder = pretrain(PretrainOptions(**arguments))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert pretrain(PretrainOptions(**arguments)) == folder
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(InputError, match=r"temperature was 0\.1, is 0\.2"):
        pretrain(PretrainOptions(**arguments, temperature=0.2))
    with pytest.raises(InputError, match="tracks or their labels have changed"):
        pretrain(PretrainOptions(**arguments | {"tracks": str(music)}, root=None))
    # Settings written before there was some option are those of its default.
    settings = json.loads((tmp_path / "settings.json").read_text())
    (tmp_path / "settings.json").write_text(
        json.dumps({k: v for k, v in settings.items() if "." not in k and k != "checksum"})
    )
    assert pretrain(PretrainOptions(**arguments)) == folder


def test_a_checkpoint_of_another_model_is_refused(music, tmp_path):
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path), **SMALL}
    pretrain(PretrainOptions(**arguments))
    encoder = tmp_path / "encoder"
    encoder.rename(tmp_path / "elsewhere")
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    checkpoint["state_dict"]["model.projector.0.weight"] = torch.zeros(3, 3)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="checkpoint of another model"):
        pretrain(PretrainOptions(**arguments))
    (tmp_path / "last.ckpt").write_bytes(b"half a checkp")
    with pytest.raises(InputError, match=r"last\.ckpt is damaged .*delete it to start"):
        pretrain(PretrainOptions(**arguments))
    assert not encoder.exists()


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-code-ran",)


def test_a_hostile_checkpoint_does_not_run(music, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path / "run"), **SMALL}
    pretrain(PretrainOptions(**arguments))
    (tmp_path / "run" / "encoder").rename(tmp_path / "elsewhere")
    torch.save({"state_dict": Hostile()}, tmp_path / "run" / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
        pretrain(PretrainOptions(**arguments))
    assert not (tmp_path / "hostile-code-ran").exists()
