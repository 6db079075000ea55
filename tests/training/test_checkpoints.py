"""Checkpoints: a full disk, failed writes, their size, and those of others."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import textwrap
from io import FileIO
from pathlib import Path

import pytest
import torch
from folders import each_flip
from training_runs import SMALL, command, pretrain_on

from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.training import AtomicCheckpointIO, SemiSupConModule, pretrain
from ssc_toolkit.training.checkpoints import check_checkpoint, check_space, estimate_checkpoint_bytes


@pytest.mark.slow
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
    check_space(tmp_path, module, PretrainOptions(tracks="music", out="run"))


@pytest.mark.slow
def test_the_estimated_checkpoint_size_is_close(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, **SMALL)
    written = (tmp_path / "last.ckpt").stat().st_size
    assert estimate_checkpoint_bytes(SemiSupConModule(ContrastiveModel(MelCNN()))) == pytest.approx(written, rel=0.02)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_hostile_checkpoint_does_not_run(music, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path / "run"), **SMALL}
    pretrain(PretrainOptions(**arguments))
    (tmp_path / "run" / "encoder").rename(tmp_path / "elsewhere")
    torch.save({"state_dict": Hostile()}, tmp_path / "run" / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt is damaged"):
        pretrain(PretrainOptions(**arguments))
    assert not (tmp_path / "hostile-code-ran").exists()


@pytest.mark.slow
def test_a_flip_of_any_byte_of_a_checkpoint_is_noticed(tmp_path):
    module, path = SemiSupConModule(ContrastiveModel(MelCNN(n_mels=24, channels=2))), tmp_path / "last.ckpt"
    lists = {"optimizer_states": [], "lr_schedulers": []}
    content = {"epoch": 0, "global_step": 7, "loops": {}, "callbacks": {}, "state_dict": module.state_dict(), **lists}
    io = AtomicCheckpointIO()
    io.save_checkpoint(content, path)
    assert check_checkpoint(path, module) == 7
    for _ in each_flip(path):
        for read in (lambda: check_checkpoint(path, module), lambda: io.load_checkpoint(path)):
            with pytest.raises(InputError, match=r"out: .*last\.ckpt is damaged .*delete it to start"):
                read()
    torch.save(content, path)  # as earlier versions wrote it
    assert check_checkpoint(path, module) == 7
