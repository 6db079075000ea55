"""Folders of runs: damage, files of others, and second processes."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import torch
import yaml
from folders import contents, each_flip
from training_runs import SMALL, begin, command, die_at_first_write, make_tones, pretrain_on, wait_until

from ssc_toolkit.cli import main
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.embedding.models import open_model
from ssc_toolkit.options import PretrainOptions, SweepOptions
from ssc_toolkit.training import pretrain
from ssc_toolkit.training.callbacks.history import read_history
from ssc_toolkit.training.run_folder import record_start
from ssc_toolkit.training.sweep import sweep


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["last.ckpt", "settings.json", "provenance.json"])
@pytest.mark.parametrize("damage", [b"", b"[1", b"\xff\x00", b"3", b'{"a": 1, "checksum": 2}'])
def test_damaged_files_of_a_run_are_named_and_nothing_is_lost(resumable, name, damage):
    folder = Path(resumable["out"])
    (folder / name).write_bytes(damage)
    before = contents(folder)
    with pytest.raises(InputError, match=rf"out: .*{name}"):
        pretrain(PretrainOptions(**resumable))
    assert contents(folder) == before


@pytest.mark.slow
def test_a_run_without_its_damaged_checkpoint_starts_again(resumable):
    (Path(resumable["out"]) / "last.ckpt").unlink()
    assert pretrain(PretrainOptions(**resumable)).is_dir()


@pytest.mark.slow
def test_a_checkpoint_cannot_name_a_file_to_remove(resumable, tmp_path):
    precious, path = tmp_path / "precious", tmp_path / "run" / "last.ckpt"
    precious.write_text("mine")
    content = torch.load(path, weights_only=True)
    hostile = {
        "best_model_path": str(tmp_path / "run" / ".." / "precious"),
        "dirpath": str(tmp_path),
        "best_k_models": {},
    }
    content["callbacks"] |= dict.fromkeys(("ModelCheckpoint", "SaveCheckpoints", "StopOnSignal"), hostile)
    content["global_step"] = 1
    torch.save(content, path)
    pretrain(PretrainOptions(**resumable))
    assert precious.read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["provenance.json", "history.csv"])
def test_a_flip_of_any_byte_of_a_run_is_named(complete, name):
    path = Path(complete["out"]) / name

    def read() -> None:
        if name == "history.csv":
            read_history(path, "out")
        else:
            record_start(path.parent, PretrainOptions(**complete))

    for _ in each_flip(path):
        before = contents(path.parent)
        with pytest.raises(InputError, match=rf"out: .*{name} is damaged"):
            read()
        assert contents(path.parent) == before
    read()


def window_seconds_or_error(encoder: Path) -> float | str | None:
    try:
        return open_model(str(encoder)).window_seconds
    except InputError as error:
        return str(error).split("(")[0]


@pytest.mark.slow
def test_a_damaged_view_length_is_not_believed(complete):
    folder = Path(complete["out"])
    whole = (folder / "settings.json").read_bytes()
    assert open_model(str(folder / "encoder")).window_seconds == 0.5
    place = whole.index(b'"view_seconds"')
    flips = each_flip(folder / "settings.json", range(place, place + 20))
    told = {window_seconds_or_error(folder / "encoder") for _ in flips}
    damaged, *right = sorted(told, key=str, reverse=True)  # right, where the name of the checksum alone differs
    assert "settings.json is damaged" in str(damaged)
    assert right in ([], [0.5])
    (folder / "settings.json").write_text("// of somebody else")
    assert "settings.json is damaged" in str(window_seconds_or_error(folder / "encoder"))
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (folder / "encoder").rename(elsewhere / "encoder")
    (elsewhere / "settings.json").write_text("// of somebody else")
    assert open_model(str(elsewhere / "encoder")).window_seconds is None


@pytest.mark.slow
def test_provenance_of_earlier_versions_goes_on(complete):
    path = Path(complete["out"]) / "provenance.json"
    path.write_text('[{"started": "before"}]')
    record_start(path.parent, PretrainOptions(**complete))
    first, second = json.loads(path.read_text())["starts"]
    assert first == {"started": "before"}
    assert second["environment"]["numpy"]


@pytest.mark.slow
def test_a_run_killed_at_its_first_write_goes_on(music, tmp_path):
    arguments = command(music, tmp_path, "--steps=1")[3:]
    die_at_first_write(*arguments)
    assert [path.name for path in tmp_path.glob(".settings.json.*.tmp")]
    assert main(arguments) == 0
    assert (tmp_path / "encoder").is_dir()
    assert not list(tmp_path.glob(".*.tmp"))


@pytest.mark.slow
def test_a_store_killed_at_its_first_write_is_prepared(music, tmp_path):
    arguments = ["prepare", f"--tracks={music / 'my.csv'}", f"--out={tmp_path}", "--sample_rate=16000"]
    die_at_first_write(*arguments)
    assert list(tmp_path.rglob(".*.tmp"))
    assert main(arguments) == 0
    assert (tmp_path / "store.json").exists()
    assert not list(tmp_path.rglob(".*.tmp"))


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_of_other_settings_keeps_the_report_of_the_first(resumable):
    folder = Path(resumable["out"])
    (folder / "unusable.csv").write_text("path,problem\n")
    before = contents(folder)
    with pytest.raises(InputError, match="temperature was"):
        pretrain(PretrainOptions(**resumable, temperature=0.7))
    assert contents(folder) == before


@pytest.mark.parametrize(
    "text", ["", "step,loss\n", "a\n1\n", "step,loss\n1\n", "step,loss\n1,2,3\n", "step\nx\n", "\0"]
)
def test_a_damaged_history_is_named(tmp_path, text):
    (tmp_path / "history.csv").write_text(text)
    with pytest.raises(InputError, match=r"out: .*history\.csv is damaged"):
        read_history(tmp_path / "history.csv", "out")


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


@pytest.mark.slow
def test_logs_of_a_shell_may_lie_in_the_folder(tmp_path):
    music = make_tones(tmp_path / "music")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("slurm-1.out", "log.txt", ".keep", "unusable.csv"):
        (folder / name).write_text("begun")
    pretrain_on(music / "my.csv", folder, labels="note", **SMALL)
    assert (folder / "log.txt").read_text() == "begun"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["encoder/model.safetensors", "encoder/config.json", "history.csv", "provenance.json", "last.ckpt"]
)
def test_a_run_with_a_damaged_file_is_not_called_complete(complete, name):
    pretrain(PretrainOptions(**complete))
    file = Path(complete["out"]) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"out: .*{file.name} is damaged"):
        pretrain(PretrainOptions(**complete))


@pytest.mark.slow
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


@pytest.mark.slow
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
        json.dumps({k: v for k, v in settings.items() if "." not in k.removeprefix("encoder.") and k != "checksum"})
    )
    assert pretrain(PretrainOptions(**arguments)) == folder
