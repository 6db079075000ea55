"""The shipped configs hold what they say, and run."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from training_runs import begin, history, make_tones, wait_until

from ssc_toolkit.cli import main
from ssc_toolkit.data import RECIPES
from ssc_toolkit.encoders import make_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions, SweepOptions
from ssc_toolkit.options.parsing import parse_mapping
from ssc_toolkit.options.study import read_study
from ssc_toolkit.samplers import AdjacentSegments
from ssc_toolkit.training.sweep import sweep
from ssc_toolkit.training.sweep.one_by_one import OneByOne

CONFIGS = Path(__file__).parents[2] / "configs"
SINGLE = sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("corpus/*.yaml")])
STUDIES = sorted(CONFIGS.glob("sweeps/*.yaml"))
TINY = {"steps": 2, "view_seconds": 0.5, "batch_size": 6}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """A stand-in for the default corpus: its columns, on tones."""
    folder = make_tones(tmp_path_factory.mktemp("corpus"))
    table = pd.read_csv(folder / "my.csv").rename(columns={"note": "key", "range": "family"})
    table.to_csv(folder / "tracks.csv", index=False)
    return folder / "tracks.csv"


def options_in(config: Path) -> PretrainOptions:
    return parse_mapping(PretrainOptions, {**yaml.safe_load(config.read_text()), "out": "x"})


def assert_data_exists(tracks: str, variant: str | None, labels: list[str]) -> None:
    if tracks == "scores":
        return
    assert variant in RECIPES[tracks].variants
    assert set(labels) <= set(RECIPES[tracks].task(variant).labels)


def names(labels: object) -> list[str]:
    return [labels] if isinstance(labels, str) else list(labels or [])  # type: ignore[call-overload]


@pytest.mark.parametrize("config", SINGLE, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_config_is_one_of_pretrain_and_its_data_is_known(config):
    found = options_in(config)
    assert_data_exists(found.tracks, found.variant, [*found.label_columns, *names(found.monitor)])
    for source in found.sources.values():
        assert_data_exists(source.tracks, source.variant, [])
    if config.parent == CONFIGS:  # the paper's
        rate = make_encoder(found.encoder).sample_rate
        assert (rate, round(found.view_seconds * rate)) == (22050, 59535)
        assert (found.batch_size, found.views, found.temperature, found.steps) == (96, 2, 0.1, 50_000)
        assert (found.optimizer.name, found.optimizer.schedule, found.learning_rate) == (
            "Adam",
            "constant",
            1e-4,
        )


def test_the_configs_of_the_paper_are_there():
    kinds = {config.stem: options_in(config) for config in CONFIGS.glob("*.yaml")}
    assert kinds["self_supervised"].labels is None
    assert kinds["supervised"].labeled_fraction == 1.0
    assert kinds["semi_supervised"].labeled_fraction == 0.5
    assert kinds["tune_plus"].encoder == "TUNePlus"
    assert {path.stem for path in STUDIES} == {
        *("labeled_fraction", "label_budget", "views", "minimum_shared", "labeled_data", "corpus")
    }


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_made_of_runs_of_pretrain(study, tmp_path):
    runs = read_study(study, tmp_path, None, {})
    assert len({run.folder for run in runs}) == len(runs) >= 4
    for run in runs:
        found = run.arguments
        assert_data_exists(found["tracks"], found.get("variant"), names(found.get("labels")))
        if study.stem == "views":
            assert found["views"] * found["batch_size"] == 192
        if set(names(found.get("labels"))) & {"key", "pitch"}:
            assert found["omit"] == ["pitch_shift"]


def test_thirty_two_views_fit_into_a_clip_of_a_few_seconds():
    starts = AdjacentSegments()(torch.tensor([22050 * 29]), 59535, 32, torch.Generator())
    assert starts.max() + 59535 <= 22050 * 29


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("corpus/*.yaml")), ids=lambda path: path.stem)
def test_a_config_of_the_default_corpus_runs(config, corpus, tmp_path, capsys):
    options = [f"--{name}={value}" for name, value in TINY.items()]
    # What is typed holds, before the config as after it.
    arguments = [
        f"--tracks={corpus}",
        "--label_budget=1",
        "--config",
        str(config),
        f"--out={tmp_path / 'run'}",
        *options,
    ]
    assert main(["pretrain", *arguments]) == 0, capsys.readouterr().err
    assert len(history(tmp_path / "run")) == 2
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["tracks"] == str(corpus)
    # What was saved beside the checkpoint does the same again.
    saved = tmp_path / "run" / "config.yaml"
    assert main(["pretrain", f"--config={saved}", f"--out={tmp_path / 'again'}"]) == 0
    assert history(tmp_path / "again") == history(tmp_path / "run")


def test_the_command_line_overrides_a_config(corpus, tmp_path, capsys):
    config = CONFIGS / "corpus" / "key_and_family.yaml"
    with pytest.raises(SystemExit):
        main(["pretrain", "--labels=null", f"--config={config}", "--out=x", "--trainer.compile", "--print_config"])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert (printed["labels"], printed["trainer"]["compile"]) == (None, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("labels: [key\n", "config.yaml is not a YAML file (line 2, column 1"),
        ("trainer:\n  precission: bf16\n", "'trainer.precission' is not an option; did you mean trainer.precision?"),
        ("stepz: 3\n", "config.yaml: 'stepz' is not an option; did you mean steps?"),
        ("steps: many\n", "config.yaml: steps: expected a whole number in digits alone, got many"),
    ],
)
def test_a_config_that_is_wrong_is_one_line(corpus, tmp_path, capsys, text, words):
    (tmp_path / "config.yaml").write_text(text)
    assert main(["pretrain", f"--tracks={corpus}", f"--out={tmp_path / 'x'}", f"--config={tmp_path}/config.yaml"]) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.fixture
def study(corpus, tmp_path) -> Path:
    file = tmp_path / "study.yaml"
    base = {"tracks": str(corpus), "labels": "key", **TINY, "logs": {"pictures_every": 1}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    runs = {"half": {"labeled_fraction": 0.5}, "diverging": {"learning_rate": 1e30, "steps": 9}}
    file.write_text(yaml.safe_dump({"base": "base.yaml", "runs": runs, "seeds": [0]}))
    return file


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
        ("runs: {a: {steps: many}}", "run 'a' of .*: steps: expected a whole number in digits alone, got many"),
        ("base: nowhere.yaml\nruns: {a: {}}", "there is no file .*nowhere.yaml"),
        ("runs: {a: {}", "is not a YAML file"),
        ("runs: {a: {unlabeled: nowhere}}", "run 'a': unlabeled: there is no file or folder nowhere"),
        ("runs: {a: {}}\nseeds: 3", "seeds of .*: expected a list of whole numbers, got 3"),
        ("runs: {a: {}}\nseeds:", "seeds of .*: expected a list of whole numbers, got None"),
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
            "expected at most .* values, got more",
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
