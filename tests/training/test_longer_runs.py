"""Runs that are made longer: they equal a run of that length, and nothing is lost when they cannot be."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from folders import contents
from training_runs import SMALL, begin, command, history, losses, pretrain_on, run, wait_until

from ssc_toolkit.encoders import load_encoder, load_projector
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import OptimizerOptions, SweepOptions
from ssc_toolkit.training.model_folder import exchange
from ssc_toolkit.training.module import warmup_constant, warmup_cosine
from ssc_toolkit.training.sweep import sweep

CONSTANT = OptimizerOptions(schedule="constant")


def assert_equal_models(first: Path, second: Path) -> None:
    """The encoders and projectors of two runs are bit for bit the same."""
    for load in (load_encoder, load_projector):
        one, two = (load(folder / "encoder").state_dict() for folder in (first, second))
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def fresh(music, tmp_path_factory) -> Path:
    """A run of eight steps at a constant learning rate."""
    folder = tmp_path_factory.mktemp("fresh")
    pretrain_on(music / "my.csv", folder, labels="note", memory=30, optimizer=CONSTANT, **SMALL)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("parts", [(4, 8), (3, 5, 8)])
def test_a_longer_run_equals_a_fresh_run(music, fresh, tmp_path, parts):
    for steps in parts:
        options = {**SMALL, "steps": steps, "labels": "note", "memory": 30, "optimizer": CONSTANT}
        folder = pretrain_on(music / "my.csv", tmp_path, **options)
        assert json.loads((folder / "training.json").read_text())["steps"] == steps
    assert_equal_models(tmp_path, fresh)
    assert [row["loss"] for row in history(tmp_path)] == [row["loss"] for row in history(fresh)]
    for name in ("state_dict", "optimizer_states", "lr_schedulers"):
        one, two = (torch.load(part / "last.ckpt", weights_only=True)[name] for part in (tmp_path, fresh))
        assert str(one) == str(two)


@pytest.mark.slow
def test_a_warmup_in_steps_does_not_depend_on_the_length(music, tmp_path):
    optimizer = OptimizerOptions(schedule="constant", warmup_steps=6)
    for folder, lengths in ((tmp_path / "a", (3, 8)), (tmp_path / "b", (8,))):
        for steps in lengths:
            pretrain_on(music / "my.csv", folder, **SMALL | {"steps": steps}, optimizer=optimizer)
    assert_equal_models(tmp_path / "a", tmp_path / "b")
    rates = [float(row["learning_rate"]) for row in history(tmp_path / "a")]
    assert rates == pytest.approx([1e-3 * warmup_constant(step, 8, 6) for step in range(8)])
    assert rates[0] == pytest.approx(1e-3 / 7)


@pytest.mark.slow
def test_a_cosine_is_that_of_the_new_length(music, tmp_path):
    for steps in (4, 8):
        pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": steps})
    rates = [float(row["learning_rate"]) for row in history(tmp_path)]
    first = [1e-3 * warmup_cosine(step, 4, 0.4) for step in range(4)]
    assert rates == pytest.approx(first + [1e-3 * warmup_cosine(step, 8, 0.8) for step in range(4, 8)])


@pytest.mark.slow
def test_a_killed_longer_run_resumes_and_keeps_its_encoder(music, fresh, tmp_path):
    arguments = command(music, tmp_path, "--memory=30", "--optimizer.schedule=constant")
    run(*arguments, "--steps=4")
    before = contents(tmp_path / "encoder")
    process = begin(*arguments, "--steps=3000", stderr=subprocess.DEVNULL)
    wait_until(lambda: torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] > 4, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert contents(tmp_path / "encoder") == before  # until the longer run is complete
    done = torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"]
    whole = contents(tmp_path)
    for steps in (4, done - 1):
        with pytest.raises(InputError, match=rf"steps: expected at least {done}, .* got {steps}; the run is unchanged"):
            pretrain_on(
                music / "my.csv", tmp_path, labels="note", memory=30, optimizer=CONSTANT, **SMALL | {"steps": steps}
            )
    assert contents(tmp_path) == whole
    run(*arguments, f"--steps={done + 2}")
    assert losses(tmp_path)[:8] == losses(fresh)
    assert json.loads((tmp_path / "encoder" / "training.json").read_text())["step"] == done + 2
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.slow
def test_steps_of_a_killed_longer_run_leave_the_history(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, labels="note", **SMALL | {"steps": 4})
    before = contents(tmp_path)
    rare = [own for own in command(music, tmp_path) if not own.startswith(("--checkpoint_every", "--steps"))]
    process = begin(*rare, "--steps=3000", "--checkpoint_every=3000", stderr=subprocess.DEVNULL)
    wait_until(lambda: len(losses(tmp_path)) > 4, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for _ in range(2):
        pretrain_on(music / "my.csv", tmp_path, labels="note", **SMALL | {"steps": 4})
        after = contents(tmp_path)
        for name in ("history.csv", "checksums.json", "config.yaml", "last.ckpt"):
            assert after[name] == before[name]


@pytest.mark.slow
def test_a_complete_run_is_not_shortened_without_its_checkpoint(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 3})
    (tmp_path / "last.ckpt").unlink()
    before = contents(tmp_path)
    with pytest.raises(InputError, match="steps: expected at least 3"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 2})
    assert contents(tmp_path) == before


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_made_longer(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 2})
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert "steps" not in settings
    del settings["checksum"]
    (tmp_path / "settings.json").write_text(json.dumps(settings | {"steps": 2}))
    (tmp_path / "encoder" / "training.json").unlink()
    before = contents(tmp_path)
    pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 2})
    assert contents(tmp_path) == before
    pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 4})
    assert len(losses(tmp_path)) == 4


@pytest.mark.slow
def test_the_runs_of_a_study_are_made_longer(music, tmp_path, capfd):
    options = {"tracks": str(music / "my.csv"), **SMALL, "logs": {"tensorboard": False, "pictures_every": 0}}
    study, out = tmp_path / "study.yaml", tmp_path / "out"

    def run_study(steps: int) -> list[str]:
        study.write_text(yaml.safe_dump({"runs": {"a": {}, "b": {"temperature": 0.2}}, "seeds": [0]}))
        sweep(SweepOptions(file=str(study), out=str(out), options={**options, "steps": steps}))
        return (out / "sweep.csv").read_text().splitlines()[1:]

    assert [row.split(",")[2] for row in run_study(2)] == ["2", "2"]
    assert [row.split(",")[2] for row in run_study(4)] == ["4", "4"]
    capfd.readouterr()
    run_study(4)
    assert capfd.readouterr().out.count("-seed-0: done\n") == 2
    before = contents(out)
    with pytest.raises(InputError, match="steps: expected at least 4"):
        run_study(3)
    assert contents(out) == before


@pytest.mark.slow
def test_an_unfinished_longer_run_is_not_done_in_its_study(music, tmp_path, capfd):
    options = {"tracks": str(music / "my.csv"), **SMALL, "steps": 2, "logs": {"tensorboard": False}}
    study, out = tmp_path / "study.yaml", tmp_path / "out"
    study.write_text(yaml.safe_dump({"runs": {"a": options}, "seeds": [0]}))
    sweep(SweepOptions(file=str(study), out=str(out)))
    config = yaml.safe_load((out / "a-seed-0.yaml").read_text())
    (out / "a-seed-0.yaml").write_text(yaml.safe_dump(config | {"steps": 4}))  # as if killed at once
    sweep(SweepOptions(file=str(study), out=str(out), options={"steps": 4}))
    assert len(losses(out / "a-seed-0")) == 4


@pytest.mark.parametrize("atomically", [True, False])
def test_two_folders_are_exchanged(tmp_path, monkeypatch, atomically):
    if not atomically:
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: object())  # a system without renameat2
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    exchange(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "name").read_text() == "other"
    assert (tmp_path / "other" / "name").read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"warmup": 0.1, "warmup_steps": 5}, "optimizer.warmup_steps: expected no optimizer.warmup"),
        ({"warmup": 0.1, "schedule": "constant"}, "optimizer.warmup: expected optimizer.warmup_steps"),
        ({"warmup_steps": -1}, "optimizer.warmup_steps: expected an integer of at least 0"),
    ],
)
def test_warmups_that_contradict_are_errors(options, words):
    with pytest.raises(InputError, match=words):
        OptimizerOptions(**options).check()
