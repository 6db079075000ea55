"""Augmentation chain of a training, from plain data."""

from __future__ import annotations

import pytest
import yaml
from training_runs import TINY, losses, pretrain_on

from ssc_toolkit.cli import main
from ssc_toolkit.errors import InputError

OWN = [{"name": "Gain", "gain_db": [-20, 0]}, {"name": "OneOf", "transforms": ["Reverb", "mp3"], "p": 0.9}]


@pytest.fixture(scope="module")
def own(music, tmp_path_factory):
    """A run whose chain is a list of stages."""
    folder = tmp_path_factory.mktemp("own")
    pretrain_on(music / "my.csv", folder, chain=OWN, **TINY)
    return folder


@pytest.mark.slow
def test_a_run_augments_by_its_chain(music, own, tmp_path):
    same, none, silent = ({"severity": 0.0}, {"chain": []}, {"chain": [{"name": "semisupcon", "severity": 0.0}]})
    found = []
    for number, options in enumerate((same, none, silent, {}, {"chain": "clmr"}, {"chain": "semisupcon_published"})):
        pretrain_on(music / "my.csv", tmp_path / str(number), **TINY, **options)
        found.append(losses(tmp_path / str(number)))
    assert found[0] == found[1] == found[2]
    assert len({tuple(loss) for loss in [*found[2:], losses(own)]}) == 5


@pytest.mark.slow
def test_a_config_states_the_chain_and_resumes(music, own, tmp_path, caplog):
    config = tmp_path / "own.yaml"
    options = yaml.safe_load((own / "config.yaml").read_text())
    assert options["chain"] == OWN
    config.write_text(yaml.safe_dump(options | {"out": str(tmp_path / "run")}))
    assert main(["pretrain", f"--config={config}"]) == 0
    assert losses(tmp_path / "run") == losses(own)
    assert main(["pretrain", f"--config={config}"]) == 0
    assert "already complete" in caplog.text
    with pytest.raises(InputError, match=r"chain was .*Reverb.*, is 'semisupcon'"):
        pretrain_on(music / "my.csv", tmp_path / "run", **TINY)


def test_the_command_line_accepts_stages(music, tmp_path, capsys):
    arguments = ["pretrain", str(music / "my.csv"), f"--out={tmp_path / 'run'}", "--print_config"]
    for text, wanted in (("[{name: Gain, p: 0.5}, mp3]", [{"name": "Gain", "p": 0.5}, "mp3"]), ("clmr", "clmr")):
        with pytest.raises(SystemExit):
            main([*arguments, f"--chain={text}"])
        assert yaml.safe_load(capsys.readouterr().out)["chain"] == wanted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"chain": "clrm"}, "chain: expected one of semisupcon, semisupcon_published, clmr, got 'clrm'"),
        ({"chain": "clmr", "severity": 0.5}, "severity: expected 1 with chain=clmr"),
        ({"omit": ("reverb",)}, "omit: expected some of gain, .*, got 'reverb'"),
        ({"chain": ["mp3"], "severity": 2.0}, "severity: expected no value with a list of stages as chain, got 2"),
        ({"chain": ["mp3"], "omit": ("gain",)}, "omit: expected no value with a list of stages as chain"),
        ({"chain": [{"p": 1}]}, "chain: stage 1: expected a name, or a dictionary with a name"),
        ({"chain": ["mp3", {"name": "Gain", "p": {1}}]}, "chain: stage 2: expected text, numbers, lists"),
        ({"chain": {"name": "Gain"}}, "chain: expected the name of a preset or a list of stages"),
        ({"chain": [{"name": "Gain", "gain": 3}]}, "chain: stage 1: expected arguments of Gain among gain_db, p"),
        ({"chain": [{"name": "os:system"}]}, "chain: stage 1: expected a transform among"),
        ({"chain": [{"name": "MP3", "bitrate_kbps": 8, "sample_rate": 44100}]}, "sample_rate: expected that of the en"),
    ],
    ids=str,
)
def test_chains_that_cannot_work_stop_before_work(music, tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", **TINY | options)
    assert not list(tmp_path.glob("run/*"))


def test_omit_accepts_the_stages_of_the_preset(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path / "run", chain="clmr", omit=("reverb",), dry_run=True, **TINY)
    assert not (tmp_path / "run").exists()
