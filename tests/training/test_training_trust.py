"""Runs against damaged files, hostile folders, second processes and launchers that disagree."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from training_runs import ONE_THREAD, SMALL, begin, command, die_at_first_write, make_tones, pretrain_on, wait_until

import ssc_toolkit
from ssc_toolkit.cli import main
from ssc_toolkit.encoders import ContrastiveModel, MelCNN
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import open_model
from ssc_toolkit.options import PretrainOptions, SweepOptions
from ssc_toolkit.training import AtomicCheckpointIO, SemiSupConModule, TrainerOptions, pretrain
from ssc_toolkit.training.callbacks.history import read_history
from ssc_toolkit.training.checkpoints import check_checkpoint
from ssc_toolkit.training.launching import check_launcher
from ssc_toolkit.training.run_folder import write_down
from ssc_toolkit.training.sweep import sweep

ROOT = str(Path(ssc_toolkit.__file__).parent.parent)


@pytest.fixture(scope="module")
def music(tmp_path_factory) -> Path:
    return make_tones(tmp_path_factory.mktemp("music"))


@pytest.fixture
def resumable(music, tmp_path) -> dict:
    """Arguments of a run whose folder holds a checkpoint and no encoder."""
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path / "run"), **SMALL, "steps": 2}
    pretrain(PretrainOptions(**arguments)).rename(tmp_path / "encoder")
    return arguments


@pytest.fixture
def complete(music, tmp_path) -> dict:
    """Arguments of a complete run."""
    arguments = {"tracks": str(music / "my.csv"), "out": str(tmp_path / "run"), **SMALL, "steps": 2}
    pretrain(PretrainOptions(**arguments))
    return arguments


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_a_flip_of_any_byte_of_a_checkpoint_is_noticed(tmp_path):
    module, path = SemiSupConModule(ContrastiveModel(MelCNN(n_mels=24, channels=2))), tmp_path / "last.ckpt"
    lists = {"optimizer_states": [], "lr_schedulers": []}
    content = {"epoch": 0, "global_step": 7, "loops": {}, "callbacks": {}, "state_dict": module.state_dict(), **lists}
    io = AtomicCheckpointIO()
    io.save_checkpoint(content, path)
    assert check_checkpoint(path, module) == 7
    whole = path.read_bytes()
    for offset in np.linspace(0, len(whole) - 1, 200).astype(int).tolist():
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
        for read in (lambda: check_checkpoint(path, module), lambda: io.load_checkpoint(path)):
            with pytest.raises(InputError, match=r"out: .*last\.ckpt is damaged .*delete it to start"):
                read()
    torch.save(content, path)  # as earlier versions wrote it
    assert check_checkpoint(path, module) == 7


@pytest.mark.parametrize("name", ["last.ckpt", "settings.json", "provenance.json"])
@pytest.mark.parametrize("damage", [b"", b"[1", b"\xff\x00", b"3", b'{"a": 1, "checksum": 2}'])
def test_damaged_files_of_a_run_are_named_and_nothing_is_lost(resumable, name, damage):
    folder = Path(resumable["out"])
    (folder / name).write_bytes(damage)
    before = contents(folder)
    with pytest.raises(InputError, match=rf"out: .*{name}"):
        pretrain(PretrainOptions(**resumable))
    assert contents(folder) == before


def test_a_run_without_its_damaged_checkpoint_starts_again(resumable):
    (Path(resumable["out"]) / "last.ckpt").unlink()
    assert pretrain(PretrainOptions(**resumable)).is_dir()


def test_a_checkpoint_cannot_name_a_file_to_remove(resumable, tmp_path):
    precious, path = tmp_path / "precious", tmp_path / "run" / "last.ckpt"
    precious.write_text("mine")
    content = torch.load(path, weights_only=True)
    for state in content["callbacks"].values():
        if "best_model_path" in state:
            state["best_model_path"] = str(tmp_path / "run" / ".." / "precious")
    content["global_step"] = 1
    steps = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert steps["steps"] == 2
    torch.save(content, path)
    pretrain(PretrainOptions(**resumable))
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("name", ["provenance.json", "history.csv"])
def test_a_flip_of_any_byte_of_a_run_is_named(complete, name):
    path = Path(complete["out"]) / name

    def read() -> None:
        if name == "history.csv":
            read_history(path, "out")
        else:
            write_down(path.parent, {})

    def check(offset: int) -> None:
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
        before = contents(path.parent)
        with pytest.raises(InputError, match=rf"out: .*{name} is damaged"):
            read()
        assert contents(path.parent) == before

    whole = path.read_bytes()
    for offset in np.linspace(0, len(whole) - 1, 200).astype(int).tolist():
        check(offset)
    path.write_bytes(whole)
    read()


def window_seconds_or_error(encoder: Path) -> float | str | None:
    try:
        return open_model(str(encoder)).window_seconds
    except InputError as error:
        return str(error).split("(")[0]


def test_a_damaged_view_length_is_not_believed(complete):
    folder = Path(complete["out"])
    whole = (folder / "settings.json").read_bytes()
    assert open_model(str(folder / "encoder")).window_seconds == 0.5
    offsets = np.linspace(0, len(whole) - 1, 200).astype(int).tolist()
    place = whole.index(b'"view_seconds"')
    told: set[object] = set()
    for offset in {*offsets, *range(place, place + 20)}:
        (folder / "settings.json").write_bytes(whole[:offset] + bytes([whole[offset] ^ 0x10]) + whole[offset + 1 :])
        told.add(window_seconds_or_error(folder / "encoder"))
    damaged, *right = sorted(told, key=str, reverse=True)  # right, where the name of the checksum alone differs
    assert "settings.json is damaged" in str(damaged)
    assert right in ([], [0.5])
    (folder / "settings.json").write_text("// of somebody else")
    assert open_model(str(folder / "encoder")).window_seconds is None


def test_provenance_of_earlier_versions_goes_on(complete):
    path = Path(complete["out"]) / "provenance.json"
    path.write_text('[{"started": "before"}]')
    write_down(path.parent, {})
    first, second = json.loads(path.read_text())["starts"]
    assert first == {"started": "before"}
    assert "packages" in second


def test_a_run_killed_at_its_first_write_goes_on(music, tmp_path):
    arguments = command(music, tmp_path, "--steps=1")[3:]
    die_at_first_write(*arguments)
    assert [path.name for path in tmp_path.glob(".settings.json.*.tmp")]
    assert main(arguments) == 0
    assert (tmp_path / "encoder").is_dir()
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_store_killed_at_its_first_write_is_prepared(music, tmp_path):
    arguments = ["prepare", f"--tracks={music / 'my.csv'}", f"--out={tmp_path}", "--sample_rate=16000"]
    die_at_first_write(*arguments)
    assert list(tmp_path.rglob(".*.tmp"))
    assert main(arguments) == 0
    assert (tmp_path / "store.json").exists()
    assert not list(tmp_path.rglob(".*.tmp"))


def test_a_second_study_in_a_folder_keeps_the_rows_of_the_first(music, tmp_path):
    options = {"tracks": str(music / "my.csv"), **SMALL, "steps": 1, "logs": {"tensorboard": False}}
    for name in ("a", "b-seed-1"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"runs": {name: options}, "seeds": [2]}))
        sweep(SweepOptions(file=str(tmp_path / f"{name}.yaml"), out=str(tmp_path / "out")))
    rows = (tmp_path / "out" / "sweep.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows] == [["run", "seed"], ["b-seed-1", "2"], ["a", "2"]]
    (tmp_path / "out" / "a-seed-2" / "history.csv").write_text("step\n1\n")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"a-seed-2/history\.csv is damaged"):
        sweep(SweepOptions(file=str(tmp_path / "b-seed-1.yaml"), out=str(tmp_path / "out")))
    assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("start", [pretrain, sweep])
def test_files_of_others_with_temporary_names_stay(music, tmp_path, start):
    mine = tmp_path / "out" / ".notes.2024.tmp"
    mine.parent.mkdir()
    mine.write_text("precious")
    options = {"tracks": str(music / "my.csv"), **SMALL, "steps": 1}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"runs": {"a": options}}))
    if start is pretrain:
        (tmp_path / "out" / ".settings.json.12ab.tmp").write_text("left by a kill")
        pretrain(PretrainOptions(out=str(mine.parent), **options))
        assert not (tmp_path / "out" / ".settings.json.12ab.tmp").exists()
    else:
        sweep(SweepOptions(file=str(tmp_path / "study.yaml"), out=str(mine.parent)))
    assert mine.read_text() == "precious"


def test_a_refused_second_run_leaves_the_first_untouched(music, tmp_path):
    process = begin(*command(music, tmp_path, "--trainer.accumulate=100000"))
    wait_until((tmp_path / "tensorboard").exists, process)
    (tmp_path / "unusable.csv").write_text("of the first")
    names = ("settings.json", "config.yaml", "provenance.json", "unusable.csv")
    before = {name: (tmp_path / name).read_bytes() for name in names}
    try:
        with pytest.raises(InputError, match="another process is using"):
            pretrain_on(music / "my.csv", tmp_path, **SMALL, temperature=0.7)
        assert {name: (tmp_path / name).read_bytes() for name in names} == before
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_run_of_other_settings_keeps_the_report_of_the_first(resumable):
    folder = Path(resumable["out"])
    (folder / "unusable.csv").write_text("path,problem\n")
    before = contents(folder)
    with pytest.raises(InputError, match="temperature was"):
        pretrain(PretrainOptions(**resumable, temperature=0.7))
    assert contents(folder) == before


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "3"},
        {"WORLD_SIZE": "3", "RANK": "1", "LOCAL_RANK": "1"},
        {"SLURM_NTASKS": "3", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        {"OMPI_COMM_WORLD_SIZE": "3"},
        {"WORLD_SIZE": "three"},
        {"WORLD_SIZE": ""},
    ],
)
def test_a_launcher_of_another_number_is_refused(music, tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"trainer\.devices: .*set --trainer\.devices .* or unset"):
        pretrain_on(music / "my.csv", tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, {}),
        ({"WORLD_SIZE": "1"}, {}),
        ({"WORLD_SIZE": "1"}, {"devices": 2}),  # one process, which starts the other
        ({"WORLD_SIZE": "6", "LOCAL_RANK": "0"}, {"devices": 3, "num_nodes": 2}),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, {}),
    ],
)
def test_a_launcher_that_agrees_is_taken(monkeypatch, variables, options):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_launcher(TrainerOptions(**options))


@pytest.mark.parametrize(
    "text", ["", "step,loss\n", "a\n1\n", "step,loss\n1\n", "step,loss\n1,2,3\n", "step\nx\n", "\0"]
)
def test_a_damaged_history_is_named(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(InputError, match=r"out: .*history\.csv is damaged"):
        read_history(tmp_path / "history.csv", "out")


def test_nothing_of_the_working_folder_runs_in_a_study(music, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    for module in ("yaml", "torch", "numpy", "sitecustomize", "pytorch_lightning", "random"):
        (here / f"{module}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write({module!r})\nraise SystemExit(9)\n"
        )
    study = {"runs": {"a": {"tracks": str(music / "my.csv"), **SMALL, "steps": 1}}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    arguments = [f"--file={tmp_path / 'study.yaml'}", f"--out={tmp_path / 'out'}"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "ssc_toolkit.cli", "sweep", *arguments],
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
        env={**ONE_THREAD, "PYTHONPATH": ROOT},
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def make_hostile(folder: Path, *modules: str) -> None:
    for module in modules:
        (folder / f"{module}.py").write_text("open('ran', 'a').write(__name__)\nraise SystemExit(9)\n")


def test_nothing_of_the_working_folder_runs_in_spawned_workers(music, tmp_path):
    make_hostile(tmp_path, "yaml", "torch", "numpy", "signal", "random", "multiprocessing", "pickle", "soundfile")
    arguments = {**SMALL, "steps": 2, "workers": 2, "logs.tensorboard": "false"}
    options = [f"--{name}={value}" for name, value in arguments.items()]
    script = "import multiprocessing, sys\nfrom ssc_toolkit.cli import main\nif __name__ == '__main__':\n"
    script += "    multiprocessing.set_start_method('spawn')\n"
    script += f"    sys.exit(main(['pretrain', {f'--tracks={music}'!r}, '--out=run', *{options}]))"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ssc-toolkit").write_text(script)
    for started in ([sys.executable, "elsewhere/ssc-toolkit"], [sys.executable, "-P", "-c", script]):
        done = subprocess.run(
            started,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env={**ONE_THREAD, "PYTHONPATH": ROOT},
        )
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "run" / "encoder").is_dir()
        assert not (tmp_path / "ran").exists()
        shutil.rmtree(tmp_path / "run")


def test_corpus_workers_run_nothing_of_the_working_folder(tmp_path):
    make_hostile(tmp_path, "numpy", "joblib", "pickle")
    work = "print(in_parallel(abs, [(-1,), (-2,)], 2, '', False))"
    code = f"from ssc_toolkit.data.corpus.build import in_parallel; {work}"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**ONE_THREAD, "PYTHONPATH": ROOT},
    )
    assert done.stdout.strip() == "[1, 2]", done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["config.yaml", "history.csv", "settings.json", "song.wav", "encoder.json", "runs"])
def test_folders_that_hold_something_else_are_refused(tmp_path, name):
    music = make_tones(tmp_path / "music")
    folder = tmp_path / "run"
    folder.mkdir()
    if name == "runs":
        (folder / name).mkdir()
    else:
        (folder / name).write_text("{}")
    with pytest.raises(InputError, match=f"out: expected an empty folder .*{name}.*choose another folder"):
        pretrain_on(music / "my.csv", folder, labels="note", **SMALL)
    assert {path.name for path in folder.iterdir()} == {".lock", name}
    assert name == "runs" or (folder / name).read_text() == "{}"


def test_logs_of_a_shell_may_lie_in_the_folder(tmp_path):
    music = make_tones(tmp_path / "music")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("slurm-1.out", "log.txt", ".keep", "unusable.csv"):
        (folder / name).write_text("begun")
    pretrain_on(music / "my.csv", folder, labels="note", **SMALL)
    assert (folder / "log.txt").read_text() == "begun"


@pytest.mark.parametrize(
    "name", ["encoder/model.safetensors", "encoder/config.json", "history.csv", "provenance.json", "last.ckpt"]
)
def test_a_complete_run_with_a_damaged_file_is_not_called_complete(complete, name):
    pretrain(PretrainOptions(**complete))
    file = Path(complete["out"]) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"out: .*{file.name} is damaged"):
        pretrain(PretrainOptions(**complete))
