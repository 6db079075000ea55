"""Options of targets and label signals, in Python, in YAML and on the command line."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
import yaml

from ssc_toolkit import targets
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import PretrainOptions, SignalOptions, TargetOptions
from ssc_toolkit.options.names import TARGETS
from ssc_toolkit.options.parsing import CommandLine, parse_mapping
from ssc_toolkit.options.run_settings import default_settings, select_settings, to_plain
from ssc_toolkit.options.targets import TargetName, as_target

SIGNALS = (
    SignalOptions(column="key", target=TargetOptions(name="KeySimilarity"), weight=0.5, mask="sure"),
    SignalOptions(
        column=("valence", "arousal"), target=TargetOptions(name="GaussianKernel", bandwidth=0.1), weight=0.3
    ),
)
PLAIN = [
    {"column": "key", "target": "KeySimilarity", "weight": 0.5, "mask": "sure"},
    {"column": ["valence", "arousal"], "target": {"name": "GaussianKernel", "bandwidth": 0.1}, "weight": 0.3},
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "music").mkdir()
    (tmp_path / "a.npy").touch()
    return tmp_path


def test_names_and_arguments_are_those_of_the_classes():
    assert tuple(TARGETS) == get_args(TargetName)
    for name, arguments in TARGETS.items():
        accepted = inspect.signature(getattr(targets, name)).parameters
        assert set(arguments) <= set(accepted)
    assert {field.name for field in fields(TargetOptions)} == {"name"}.union(*TARGETS.values())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--target=TempoKernel", "--target.octave_blind"],
        ["--target.name=TempoKernel", "--target.octave_blind=true"],
    ],
)
def test_a_target_is_the_same_in_all_forms(arguments, tmp_path):
    expected = TargetOptions(name="TempoKernel", octave_blind=True)
    common = ["music", "--out=x", "--labels=tempo"]
    assert CommandLine(PretrainOptions, [*common, *arguments]).options.target == expected
    plain = {"tracks": "music", "out": "x", "labels": "tempo"}
    content = {**plain, "target": {"name": "TempoKernel", "octave_blind": True}}
    assert parse_mapping(PretrainOptions, content).target == expected
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"target": content["target"]}))
    assert CommandLine(PretrainOptions, [*common, "--config=a.yaml"]).options.target == expected
    short = parse_mapping(PretrainOptions, {**plain, "target": "TempoKernel"})
    assert as_target(short.target) == TargetOptions(name="TempoKernel")


def test_signals_are_the_same_in_all_forms(tmp_path):
    plain = {"tracks": "music", "out": "x", "signals": PLAIN}
    expected = PretrainOptions(tracks="music", out="x", signals=SIGNALS)
    assert parse_mapping(PretrainOptions, plain) == expected
    assert parse_mapping(PretrainOptions, to_plain(vars(expected))) == expected
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(plain))
    assert CommandLine(PretrainOptions, ["--config=a.yaml"]).options == expected
    line = yaml.safe_dump(PLAIN, default_flow_style=True, width=1000).strip()
    assert CommandLine(PretrainOptions, ["music", "--out=x", f"--signals={line}"]).options == expected
    expected.check()
    assert expected.signal_names == ("key", "valence+arousal")


def test_settings_of_old_runs_have_no_target():
    old = default_settings(PretrainOptions)
    assert (old["target"], old["signals"]) == (None, [])
    named = select_settings(PretrainOptions(tracks="a", out="b", labels="key", target="KeySimilarity"))
    same = PretrainOptions(tracks="a", out="b", labels="key", target=TargetOptions(name="KeySimilarity"))
    assert named == select_settings(same)
    assert named["target"] == {"name": "KeySimilarity"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": "TempoKernel"}, "target: expected labels as well, got TempoKernel without labels"),
        ({"labels": "a", "target": "Tempo"}, "target: expected one of SameClass, .*got 'Tempo'"),
        ({"labels": "a", "target": "GaussianKernel"}, "target.bandwidth: expected a value with GaussianKernel"),
        (
            {"labels": "a", "target": TargetOptions(name="SameClass", minimum=2)},
            "target.minimum: expected an argument of SameClass, which has none",
        ),
        (
            {"labels": "a", "target": TargetOptions(name="TempoKernel", bandwidth=0.1)},
            r"target.bandwidth: expected an argument of TempoKernel \(bandwidth_octaves, octave_blind\)",
        ),
        (
            {"labels": "a", "target": TargetOptions(name="TempoKernel", bandwidth_octaves=0)},
            "target.bandwidth_octaves: expected a positive number",
        ),
        ({"labels": "a", "target": TargetOptions(bandwidth=0.1)}, "target.bandwidth: expected target.name as well"),
        (
            {"labels": "a", "target": TargetOptions(name="SimilarityMatrix", matrix="b.npy")},
            "target.matrix: there is no file b.npy",
        ),
        (
            {"labels": "a", "target": TargetOptions(name="SimilarityMatrix", matrix="a.pt")},
            "target.matrix: expected a file .npy or .csv, got 'a.pt'",
        ),
        ({"labels": "a", "signals": SIGNALS}, "labels: expected no labels with signals, got both"),
        ({"target": "SameClass", "signals": SIGNALS}, "target: expected no target with signals, got both"),
        ({"signals": SIGNALS[:1] * 2}, "signals: expected each column in one signal"),
        ({"signals": (*SIGNALS, SignalOptions(column="b"))}, "signals: expected a weight for all signals or for none"),
        ({"signals": (SignalOptions(column="b", weight=2),)}, "signals: expected weights whose sum is at most 1"),
        (
            {"signals": (SignalOptions(column=("b", "c"), target="TempoKernel"),)},
            r"signals 'b\+c': expected target SharedLabels, LabelOverlap, TaggramCosine or GaussianKernel with several",
        ),
        (
            {"labels": ("a", "b"), "target": "TaggramCosine"},
            "labels: expected several columns of probabilities with TaggramCosine, got 'a'; pass .* in the option sig",
        ),
        (
            {"signals": (SignalOptions(column="a", target="TaggramCosine"),)},
            "signals 'a': expected several columns of probabilities with TaggramCosine, got 'a'",
        ),
        *(
            (
                {"labels": "a", "target": TargetOptions(name="LabelOverlap", threshold=value)},
                "target.threshold: expected",
            )
            for value in (0, 1.5, -0.1, float("nan"))
        ),
        (
            {"labels": "a", "target": TargetOptions(name="SameClass", threshold=0.5)},
            "target.threshold: expected an argument of SameClass, which has none",
        ),
        (
            {"labels": "a", "target": "LabelOverlap", "min_shared": 2},
            "min_shared: expected 1 with a target, got 2",
        ),
    ],
)
def test_targets_that_cannot_work_are_errors(options, words):
    with pytest.raises(InputError, match=words):
        PretrainOptions(tracks="music", out="x", **options).check()


@pytest.mark.parametrize(
    ("signals", "words"),
    [
        ([{"column": "key", "wieght": 1}], "signals: 'wieght' is not an option; did you mean weight"),
        ([{"target": "SameClass"}], "signals: .*column"),
        ([{"column": "key", "weight": "much"}], "signals: .*weight"),
        ("key", "signals"),
        ([{"column": "key", "target": {"name": "KeySimilarity", "kernal": 1}}], "signals: .*target.kernal"),
    ],
)
def test_a_misspelled_signal_names_the_key(signals, words, tmp_path):
    with pytest.raises(InputError, match=words):
        parse_mapping(PretrainOptions, {"tracks": "music", "out": "x", "signals": signals})
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"tracks": "music", "signals": signals}))
    with pytest.raises(InputError, match=r"config: a\.yaml: .*" + words.partition(":")[0]):
        CommandLine(PretrainOptions, ["--config=a.yaml", "--out=x"])


@pytest.mark.parametrize(
    "item",
    [
        {"class_path": "hostile.Signal"},
        {"column": "key", "target": {"class_path": "hostile.Signal"}},
        {"column": {"class_path": "hostile.Signal"}},
        {"column": "key", "mask": {"class_path": "hostile.Signal", "init_args": {}}},
    ],
)
def test_a_signal_of_a_config_runs_no_code(item, tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text("open('hostile-code-ran', 'w')\nclass Signal: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"tracks": "music", "signals": [item]}))
    with pytest.raises(InputError, match="signals"):
        CommandLine(PretrainOptions, ["--config=a.yaml", "--out=x"])
    assert not (tmp_path / "hostile-code-ran").exists()
