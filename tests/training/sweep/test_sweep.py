"""Studies of several runs: they run, resume, stop, and refuse what is wrong before the first run."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from training_runs import TINY, begin, wait_until

from ssc_toolkit.errors import InputError
from ssc_toolkit.options import SweepOptions
from ssc_toolkit.training.sweep import sweep
from ssc_toolkit.training.sweep.one_by_one import OneByOne


@pytest.fixture
def study(corpus, tmp_path) -> Path:
    file = tmp_path / "study.yaml"
    base = {"tracks": str(corpus), "labels": "key", **TINY, "logs": {"pictures_every": 1}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    runs = {"half": {"labeled_fraction": 0.5}, "diverging": {"learning_rate": 1e30, "steps": 9}}
    file.write_text(yaml.safe_dump({"base": "base.yaml", "runs": runs, "seeds": [0]}))
    return file


@pytest.mark.slow
def test_a_study_runs_resumes_and_reports(study, tmp_path, capfd):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"1 of 2 runs failed: diverging-seed-0"):
        sweep(SweepOptions(file=str(study), out=str(out), options={"logs.tensorboard": False}))
    assert not (out / "half-seed-0" / "tensorboard").exists()
    assert (out / "half-seed-0" / "pictures").is_dir()
    with (out / "sweep.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["run"], row["seed"], row["step"]) == ("half", "0", "2")
    assert "the loss is" in capfd.readouterr().err
    # Without the run that fails, there is nothing left to do; with other options there is.
    content = yaml.safe_load(study.read_text())
    del content["runs"]["diverging"]
    study.write_text(yaml.safe_dump(content))
    sweep(SweepOptions(file=str(study), out=str(out), options={"logs.tensorboard": False}))
    assert "1 of 1, half-seed-0: done\n" in capfd.readouterr().out
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"temperature was 0\.1, is 0\.5"):
        sweep(SweepOptions(file=str(study), out=str(out), options={"logs.tensorboard": False, "temperature": 0.5}))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_sigterm_ends_a_study_and_saves_its_run(study, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "ssc_toolkit.cli", "sweep", str(study), f"--out={out}", "--options.steps=3000"]
    process = begin(*command)
    wait_until((out / "half-seed-0" / "pictures").exists, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert "stopped by SIGTERM" in errors
    assert (out / "half-seed-0" / "last.ckpt").exists()


@pytest.mark.slow
def test_sigterm_at_the_start_of_a_run_ends_the_study(study, tmp_path):
    command = [sys.executable, "-m", "ssc_toolkit.cli", "sweep", str(study), f"--out={tmp_path / 'out'}"]
    process = begin(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert "started" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)  # its process is still importing
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 143, errors
    assert "started" not in printed
    assert "failed" not in errors
    assert "rerun the command to resume" in errors


SIGNALS = [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]


@pytest.mark.parametrize(("number", "stop"), SIGNALS)
def test_a_signal_between_two_processes_is_not_lost(listening, tmp_path, number, stop):
    with OneByOne() as processes:
        assert processes.call(["true"]) == 0
        os.kill(os.getpid(), number)
        with pytest.raises(stop):
            processes.call(["touch", str(tmp_path / "begun")])
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize(("number", "stop"), SIGNALS)
def test_a_signal_to_this_process_alone_stops_the_one_at_work(listening, tmp_path, number, stop):
    trap = f"trap 'touch {tmp_path}/saved; exit 143' TERM; kill -{number:d} $PPID; while :; do sleep 0.01; done"
    with OneByOne() as processes, pytest.raises(stop):
        processes.call(["sh", "-c", trap])
    assert (tmp_path / "saved").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_was_stopped_is_no_failure(listening, number):
    with OneByOne() as processes, pytest.raises((SystemExit, KeyboardInterrupt)):
        processes.call(["sh", "-c", f"kill -{number:d} $$"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("runs: {}", "file: expected runs by name"),
        ("[1, 2]", "expected options by name"),
        ("runs: {a: {stepz: 3}}", "run 'a' of .*: 'stepz' is not an option; did you mean steps"),
        ("runs: {a: {steps: many}}", "run 'a' of .*: steps: expected an integer written in digits, got many"),
        ("base: nowhere.yaml\nruns: {a: {}}", "there is no file .*nowhere.yaml"),
        ("runs: {a: {}", "is not a YAML file"),
        ("runs: {a: {unlabeled: nowhere}}", "run 'a' of .*: unlabeled: there is no file or folder nowhere"),
        ("runs: {a: {}}\nseeds: 3", "seeds of .*: expected a list of integers, got 3"),
        ("runs: {a: {}}\nseeds:", "seeds of .*: expected a list of integers, got None"),
        ("runs: {a: {}}\nseeds: []", "seeds of .*: expected a list"),
        ("runs: {a: {}}\nseeds: [a]", "seeds of .*: expected an integer of at least 0, got 'a'"),
        ("runs: {a: {}}\nseeds: [-1]", "seeds of .*: expected an integer of at least 0, got -1"),
        ("runs: {a: {}}\nseeds: [0, 0]", "file: expected different runs"),
        ("runs: {'1': {}, 0x1: {}}", "file: expected different runs"),
        ("runs: {a: {}, a: {steps: 3}}", "the name 'a' occurs twice"),
        ("runs: {a: {}}\nbase: 5", "base of .*: expected the path of a config, got 5"),
        ("runs: {a: {}}\nbase:", "base of .*: expected the path of a config, got None"),
        ('runs: {a: {}}\nbase: "x\\0"', "base of .*: expected the path"),
        ("runs: {a: {}}\nbase: .", "is not a file"),
        ("runs: {a: 5}", "run 'a' of .*: expected options by name, got 5"),
        ("runs: {a: [steps]}", "run 'a' of .*: expected options by name"),
        ("runs: [a]", "file: expected runs by name"),
        ("3: 4\nruns: {a: {}}", "file: expected runs by name .*got 3"),
        ("runs: {a: {steps: {x: {y: 1}}}}", "run 'a' of .*: "),
        ("runs: {a: {1: 2}}", "run 'a' of .*: "),
        ("runs: {a: {labels: {x: 1}}}", "run 'a' of .*: "),
        ("runs: {a: {trainer: 5}}", "run 'a' of .*: "),
        (
            "runs: !!python/object/apply:os.system ['touch ran']",
            "is not a YAML file .*could not determine a constructor",
        ),
        ("a: &a [x]\nb: &b [*a, *a]\nruns: &r {a: *r}", "contains itself"),
        (
            "\n".join(["a0: &a0 {k: v}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 60))]),
            "study.yaml: expected at most 20,000 names and values in all, got more; divide it into several files",
        ),
        pytest.param(
            "runs:\n" + "".join(f"  run{n}: {{}}\n" for n in range(20_000)),
            "study.yaml: expected at most 20,000 names and values in all, got more; divide it into several files",
            id="20000 runs",
        ),
        pytest.param(
            "runs: {a: {}}\n" + "#" * 1_000_000,
            "study.yaml: expected at most 1,000,000 bytes, got a larger file; divide it into several files",
            id="one megabyte",
        ),
        ("[" * 5000, "damaged"),
        ("\x00", "is not a YAML file"),
        ("runs: {../../x: {}}", "expected a plain file name, got '../../x-seed-0'"),
        ("runs: {/tmp/x: {}}", "expected a plain file name"),
        ("runs: {'': {}, ..: {}, 'a/b': {}}", "expected a plain file name"),
        ("runs: {? [a, b] : {}}", "file: "),
        ("runs: {null: {}}", "expected text as the name, got None"),
        (f"runs: {{{'x' * 248}: {{}}}}", "expected a plain file name"),
        ("runs: {a: {out: ../../x}}", "run 'a' of .*: out is set by the study"),
        ("runs: {a: {out.x: y}}", "run 'a' of .*: out.x is set by the study"),
        ("runs: {a: {seed: 3}}", "run 'a' of .*: seed is set by the study"),
    ],
)
def test_a_study_that_is_wrong_is_refused_before_its_first_run(tmp_path, content, words):
    (tmp_path / "study.yaml").write_text(content)
    with pytest.raises(InputError, match=words):
        sweep(SweepOptions(file=str(tmp_path / "study.yaml"), out=str(tmp_path / "out"), options={"tracks": "scores"}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.yaml"]
