"""Printed configs give the same options, and hostile values run no code and end quickly."""

from __future__ import annotations

import contextlib
import io
import time

import pytest
import yaml

from ssc_toolkit.cli import COMMANDS
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.parsing import CommandLine, parse_mapping
from ssc_toolkit.options.schema import Schema

PROBED = ["--encoder=a: b", "--labels=key,007", "--layers=all", "--window_seconds=2.5", "--root=~/x"]
LINES = {
    "demo": ["--seed=3", "--out=null"],
    "table": ["my music", "--out=a.csv", "--overwrite"],
    "prepare": ["music", "--out=store", "--workers=2", "--strict"],
    "pretrain": [
        *("--tracks=scores", "--out=1.5", "--labels=key,family", "--encoder=SampleCNN", "--encoder.sample_rate=16000"),
        *("--unlabeled=fma", "--unlabeled.root=/fma", "--learning_rate=auto", "--omit=delay,gain", "--trainer.compile"),
        *("--loss.label_weight=0.5", "--title=a: #b", "--logs.tensorboard=false", "--validation.every=5"),
    ],
    "sweep": ["s.yaml", "--out=o", "--seeds=0,1", "--options.encoder.max_hz=8000", "--options.omit=delay"],
    "export": ["run", "--out=e", "--checkpoint=20"],
    "probe": [*PROBED, "--folds=groups", "--splits=train,valid", "--label_fractions=0.1,1", "--methods=knn,mlp"],
    "robustness": [*PROBED, "--severities=0.5,2", "--corruptions=mp3,chain"],
    "retrieval": [*PROBED, "--database=music", "--database.root=~/r", "--cutoffs=1,3", "--split=all"],
    "frames": ["--encoder=e", "--task=chord_roots", "--layers=a,b", "--annotations=a.csv", "--seed=2"],
    "compare": ["--encoders=e,f", "--names=A,B", "--labels=key", "--out=o", "--folds=3", "--projections"],
    "embed": ["music", "--encoder=e", "--out=a.npz", "--window_pooling=none", "--layers=last", "--dry_run"],
    "tag": ["music", "--model=MTT_musicnn", "--out=a.csv", "--threshold=0.2", "--prefix=t ", "--overwrite"],
    "corpus": ["--seed=4"],
    "doctor": ["--clean", "--folders=~/a,b c"],
}


def is_known(kind: type, text: str) -> bool:
    return not text.startswith("--") or text[2:].partition("=")[0].partition(".")[0] in kind.__dataclass_fields__


def printed(kind: type, arguments: list[str]) -> str:
    """Text of --print_config."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit):
        CommandLine(kind, [*arguments, "--print_config"])
    return text.getvalue()


@pytest.mark.parametrize("name", COMMANDS)
def test_printed_options_are_read_again(name, tmp_path):
    kind, _ = COMMANDS[name]
    arguments = [text for text in LINES[name] if is_known(kind, text)]
    first = printed(kind, arguments)
    (tmp_path / "config.yaml").write_text(first)
    again = [f"--config={tmp_path}/config.yaml"]
    assert CommandLine(kind, again).options == CommandLine(kind, arguments).options
    assert printed(kind, again) == first
    assert parse_mapping(kind, yaml.safe_load(first)) == CommandLine(kind, arguments).options


BOMB = "[&a [x,x,x,x,x,x,x,x,x], " + ", ".join(
    f"&{name} [{','.join([f'*{before}'] * 9)}]" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
BOMB += "]"
DEEP = "[" * 3000 + "]" * 3000


@pytest.mark.parametrize("value", [BOMB, DEEP, "[" * 3000, "{a: " * 300 + "1" + "}" * 300, "- " * 3000 + "x"])
@pytest.mark.parametrize("name", ["labels", "title", "steps", "unlabeled", "encoder.strides"])
def test_values_that_grow_are_survived(name, value):
    begin = time.process_time()
    for read in (
        lambda: CommandLine(PretrainOptions, ["--tracks=scores", "--out=a", f"--{name}={value}"]),
        lambda: parse_mapping(PretrainOptions, {"tracks": "scores", "out": "a", name: value}),
    ):
        with contextlib.suppress(InputError):
            read()
    assert time.process_time() - begin < 5


def hostile_values() -> list[object]:
    call = {"class_path": "planted.Thing", "init_args": {}}
    inside = {"name": call, "transforms": [call]}
    texts = ["planted:make", "planted.Thing", "!!python/object/apply:planted.run []", "planted.yaml"]
    return [call, [call], inside, [inside], {"x": [inside]}, *texts]


@pytest.mark.parametrize("name", COMMANDS)
def test_no_option_of_a_config_runs_code(name, tmp_path, monkeypatch):
    code = "open('ran', 'w').close()\nclass Thing: pass\ndef run(): pass\ndef make(): pass\n"
    (tmp_path / "planted.py").write_text(code)
    (tmp_path / "planted.yaml").write_text("class_path: planted.Thing\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    kind, _ = COMMANDS[name]
    schema = Schema(kind)
    for value in hostile_values():
        for option in [*schema.groups, *schema.options, "trainer", "logs", "loss"]:
            with contextlib.suppress(InputError):
                parse_mapping(kind, {option: value}).check()
        everywhere = {option: value for option in schema.options if "." not in option}
        with contextlib.suppress(InputError):
            parse_mapping(kind, everywhere).check()
    assert not (tmp_path / "ran").exists()


def test_variables_set_no_options(monkeypatch, tmp_path):
    (tmp_path / "c.yaml").write_text("steps: 7\n")
    monkeypatch.setenv("JSONARGPARSE_DEFAULT_ENV", "true")
    for prefix in ("", "SSC_TOOLKIT_PRETRAIN__", "PRETRAIN__", "PYTEST__"):
        monkeypatch.setenv(f"{prefix}STEPS", "9")
        monkeypatch.setenv(f"{prefix}CONFIG", str(tmp_path / "c.yaml"))
    found = CommandLine(PretrainOptions, ["--tracks=scores", "--out=a"], "ssc-toolkit pretrain").options
    assert found.steps == PretrainOptions(tracks="scores", out="a").steps


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--encoder=MelCN"], "got 'MelCN'; did you mean MelCNN?"),
        (["--encoder=melcnn"], "did you mean MelCNN?"),
        (["--trainer.precision=bf61"], "did you mean bf16?"),
        (["--loss.denominator=negativs"], "did you mean negatives?"),
        (["--loss.lable_weight=.2"], "did you mean --loss.label_weight?"),
        (["--lose.label_weight=.2"], "did you mean --loss.label_weight?"),
        (["--trainr=1"], "did you mean --trainer?"),
        (["--omit=pich_shift"], "got 'pich_shift'; did you mean pitch_shift?"),
    ],
)
def test_values_and_groups_have_a_nearest_spelling(arguments, words):
    with pytest.raises(InputError) as error:
        CommandLine(PretrainOptions, ["--tracks=scores", "--out=a", *arguments]).check()
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"loss": {"lable_weight": 0.2}}, "did you mean loss.label_weight?"),
        ({"lose": {"label_weight": 0.2}}, "did you mean loss?"),
        ({"encoder": {"nam": "MelCNN"}}, "did you mean encoder.name?"),
        ({"encoder": "MelCN"}, "did you mean MelCNN?"),
        ({"optimizer": {"name": "AdmW"}}, "did you mean AdamW?"),
    ],
)
def test_configs_have_a_nearest_spelling(content, words):
    with pytest.raises(InputError) as error:
        parse_mapping(PretrainOptions, {"tracks": "scores", "out": "a", **content}).check()
    assert words in str(error.value)
