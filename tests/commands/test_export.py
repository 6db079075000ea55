"""Encoders of any checkpoint: of complete, interrupted and running trainings, and of damaged files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from folders import contents
from training_runs import SMALL, begin, command, make_tones, pretrain_on, wait_until

from ssc_toolkit.cli import main
from ssc_toolkit.commands.export import export
from ssc_toolkit.commands.leaks import load_pretraining
from ssc_toolkit.encoders import load_encoder, load_model
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation import open_model
from ssc_toolkit.options import ExportOptions, OptimizerOptions, ProjectorOptions


def exported(run: Path, out: Path, checkpoint: str | int = "last") -> Path:
    """The folder of the encoder that the command saves."""
    return export(ExportOptions(run=str(run), out=str(out), checkpoint=checkpoint))


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    return make_tones(tmp_path_factory.mktemp("tones")) / "my.csv"


@pytest.fixture(scope="module")
def run(tones, tmp_path_factory) -> Path:
    """A complete run of four steps, which averages its weights and keeps every second checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    options = {**SMALL, "steps": 4, "keep_checkpoints_every": 2, "optimizer": OptimizerOptions(ema_decay=0.5)}
    pretrain_on(tones, folder, projector=ProjectorOptions(output_dim=16, norm="batch", bias=True), **options)
    return folder


def assert_equal_models(one: Path, other: Path) -> None:
    first, second = (load_model(folder).state_dict() for folder in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow
def test_the_last_checkpoint_gives_the_encoder_of_the_run(run, tmp_path, capsys):
    before = contents(run)
    assert main(["export", str(run), f"--out={tmp_path / 'e'}"]) == 0
    assert "encoder of step 4, averaged weights" in capsys.readouterr().out
    assert_equal_models(tmp_path / "e", run / "encoder")
    assert open_model(str(tmp_path / "e")).window_seconds == 0.5
    assert contents(run) == before
    (record,) = load_pretraining({"e": str(tmp_path / "e")}).values()
    assert len(record or ()) == 18
    assert (tmp_path / "e" / "model.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.slow
def test_kept_and_best_checkpoints_are_exported(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    shutil.copy(tmp_path / "run" / "checkpoints" / "step-2.ckpt", tmp_path / "run" / "best.ckpt")
    step = exported(tmp_path / "run", tmp_path / "step", 2)
    best = exported(tmp_path / "run", tmp_path / "best", "best")
    assert_equal_models(step, best)
    stored = torch.load(tmp_path / "run" / "best.ckpt", weights_only=True)["callbacks"]["WeightAverage"]["weights"]
    assert all(torch.equal(stored[name], value) for name, value in load_model(step).state_dict().items())
    record = json.loads((step / "training.json").read_text())
    assert (record["step"], record["weights"], record["view_seconds"]) == (2, "averaged", 0.5)
    assert not torch.equal(*(next(load_encoder(f).parameters()) for f in (step, run / "encoder")))
    exported(tmp_path / "run", tmp_path / "step", 4)  # an exported encoder is replaced
    assert_equal_models(tmp_path / "step", run / "encoder")
    assert {path.name for path in tmp_path.iterdir()} >= {"step", "best", "run"}
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--checkpoint=best"], r"checkpoint: expected one that .* contains \(last, 2, 4\), got best"),
        (["--checkpoint=3"], r"contains \(last, 2, 4\), got 3"),
        (["--checkpoint=first"], "checkpoint: expected an integer written in digits or one of 'best', 'last'"),
        (["--out={run}/encoder"], "is the folder of the encoder of the run itself"),
        (["--out={run}/tensorboard"], "is not empty and contains no exported encoder"),
        (["--out={run}/history.csv"], "is a file"),
        (["--run={run}/encoder"], "run: expected the folder of a training run, with settings.json"),
    ],
)
def test_what_cannot_be_exported_is_an_error(run, tmp_path, capsys, options, words):
    before = contents(run)
    arguments = [f"--run={run}", f"--out={tmp_path / 'e'}", *(option.format(run=run) for option in options)]
    assert main(["export", *arguments]) == 2
    assert re.search(words, capsys.readouterr().err)
    assert contents(run) == before
    assert not (tmp_path / "e").exists()


@pytest.mark.slow
def test_a_running_and_an_interrupted_training_are_exported(tones, tmp_path):
    out = tmp_path / "run"
    process = begin(*command(tones.parent, out, "--steps=3000", "--checkpoint_every=1"), stderr=subprocess.DEVNULL)
    try:
        wait_until((out / "last.ckpt").exists, process)
        steps = []
        for _ in range(5):  # while checkpoints are replaced
            folder = exported(out, tmp_path / "e")
            steps.append(json.loads((folder / "training.json").read_text())["step"])
            assert load_encoder(folder).embedding_dim == 256
        assert process.poll() is None
        assert steps == sorted(steps)
        assert steps[0] > 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    state = torch.load(out / "last.ckpt", weights_only=True)["state_dict"]
    found = load_model(exported(out, tmp_path / "e")).state_dict()
    assert all(torch.equal(value, state[f"model.{name}"]) for name, value in found.items())


class Hostile:
    def __reduce__(self):
        return os.system, ("touch hostile-code-ran",)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"half a checkp", r"checkpoint: .*last\.ckpt is damaged"),
        ({"state_dict": Hostile()}, r"checkpoint: .*last\.ckpt is damaged"),
        ({"global_step": 1, "callbacks": {}, "state_dict": {"model.x": torch.ones(2)}}, "does not contain the weights"),
        ({"global_step": 1, "callbacks": {"WeightAverage": {"weights": {"x": "y"}}}}, "is not a checkpoint"),
        ({"global_step": 1, "callbacks": [], "state_dict": {}}, r"last\.ckpt is damaged"),
    ],
)
def test_checkpoints_of_somebody_else_run_no_code(run, tmp_path, monkeypatch, content, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    shutil.copy(run / "settings.json", tmp_path / "run" / "settings.json")
    shutil.copy(run / "last.ckpt", tmp_path / "run" / "last.ckpt")
    exported(tmp_path / "run", tmp_path / "e")
    before = contents(tmp_path / "e")
    if isinstance(content, bytes):
        (tmp_path / "run" / "last.ckpt").write_bytes(content)
    else:
        torch.save(content, tmp_path / "run" / "last.ckpt")
    with pytest.raises(InputError, match=words):
        exported(tmp_path / "run", tmp_path / "e")
    assert contents(tmp_path / "e") == before
    assert not (tmp_path / "hostile-code-ran").exists()
