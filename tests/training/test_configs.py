"""The shipped configs hold what they say, and run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from pages import ROOT
from training_runs import TINY, history

from ssc_toolkit.cli import main
from ssc_toolkit.data import RECIPES
from ssc_toolkit.encoders import make_encoder
from ssc_toolkit.options import PretrainOptions
from ssc_toolkit.options.parsing import parse_mapping
from ssc_toolkit.options.study import read_study
from ssc_toolkit.samplers import AdjacentSegments

CONFIGS = ROOT / "configs"


LONG = {"self_supervised": 200_000, "semi_supervised": 200_000, "supervised": 1000 * math.ceil(18_706 / 96)}
"""Numbers of steps of the published pretrainings."""
SINGLE = sorted([*CONFIGS.glob("*.yaml"), *CONFIGS.glob("corpus/*.yaml"), *CONFIGS.glob("long/*.yaml")])


STUDIES = sorted(CONFIGS.glob("sweeps/*.yaml"))


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
    assert_data_exists(found.tracks, found.variant, [*found.label_columns, *names(found.validation.labels)])
    for source in found.sources.values():
        assert_data_exists(source.tracks, source.variant, [])
    if config.parent.name != "corpus":  # the paper's
        rate = make_encoder(found.encoder).sample_rate
        assert (rate, round(found.view_seconds * rate)) == (22050, 59535)
        assert (found.batch_size, found.views, found.temperature) == (96, 2, 0.1)
        assert found.steps == (50_000 if config.parent == CONFIGS else LONG[config.stem])
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
    assert {config.stem for config in CONFIGS.glob("long/*.yaml")} == LONG.keys()
    assert {path.stem for path in STUDIES} == {
        *("labeled_fraction", "label_budget", "views", "min_shared", "labeled_data", "corpus")
    }


@pytest.mark.parametrize("config", [*SINGLE, *STUDIES], ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_config_states_where_its_steps_are_from(config):
    head = " ".join(line.removeprefix("# ") for line in config.read_text().splitlines() if line.startswith("#"))
    _, colon, origin = head.partition("Number of steps: ")
    assert colon
    steps = read_study(config, Path("x"), None, {})[0].options.steps if config in STUDIES else options_in(config).steps
    expected = {150: "not from the published code", 50_000: "experiments in the published code, 50 000"}
    longer = {200_000: "`pretrain_smsl`", 195_000: "`pretrain_sl`"}
    assert (expected | longer)[steps] in origin


@pytest.mark.parametrize("config", SINGLE, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_config_passes_the_checks_of_pretrain(config, tmp_path):
    options = options_in(config)
    roots = {name: tmp_path / name for name in options.sources if options.tracks != "scores"}
    for folder in roots.values():
        folder.mkdir()
    unlabeled = options.unlabeled and replace(options.sources["unlabeled"], root=str(roots["unlabeled"]))
    root = roots.get("tracks")
    replace(options, root=root and str(root), unlabeled=unlabeled, out=str(tmp_path / "out")).check()


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("long/*.yaml")), ids=lambda path: path.stem)
def test_a_long_config_differs_only_in_its_steps(config):
    assert replace(options_in(config), steps=50_000) == options_in(CONFIGS / config.name)


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


@pytest.mark.slow
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
        ("labels: [key\n", "config.yaml is not a YAML file of plain values (line 2, column 1"),
        ("trainer:\n  precission: bf16\n", "'trainer.precission' is not an option; did you mean trainer.precision?"),
        ("stepz: 3\n", "config.yaml: 'stepz' is not an option; did you mean steps?"),
        ("steps: many\n", "config.yaml: steps: expected an integer written in digits, got many"),
    ],
)
def test_a_config_that_is_wrong_is_one_line(corpus, tmp_path, capsys, text, words):
    (tmp_path / "config.yaml").write_text(text)
    assert main(["pretrain", f"--tracks={corpus}", f"--out={tmp_path / 'x'}", f"--config={tmp_path}/config.yaml"]) == 2
    assert words in capsys.readouterr().err.strip().splitlines()[-1]
