"""Trainings that start from an encoder: its weights, frozen first steps, and learning rates of its layers."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from command_calls import call
from training_runs import TINY, assert_same_checkpoint, begin, command, history, pretrain_on, run, wait_until

from ssc_toolkit.encoders import ENCODERS, ContrastiveModel, MelCNN, MusiCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import EncoderOptions, PretrainOptions
from ssc_toolkit.options.parsing import CommandLine
from ssc_toolkit.options.run_settings import select_settings
from ssc_toolkit.training import SemiSupConModule
from ssc_toolkit.training.layer_rates import make_parameter_groups, number_layers
from ssc_toolkit.training.pretrain import _make_module

SMALL = {"n_mels": 16, "channels": 4, "embedding_dim": 8}


@pytest.fixture
def start(tmp_path) -> Path:
    """A saved encoder with random weights and statistics of its batch norms."""
    torch.manual_seed(5)
    encoder = MelCNN(**SMALL).train()
    encoder(torch.randn(4, 1, 16000))
    encoder.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_encoder(folder).state_dict()


ALIKE = [
    ["--encoder=start"],
    ["--encoder.name=start"],
    ["--encoder.start_from=start"],
    ["--config=name.yaml"],
    ["--config=start_from.yaml"],
]


@pytest.mark.parametrize("arguments", ALIKE, ids=str)
def test_start_from_is_the_name_of_a_saved_encoder(start, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    Path("name.yaml").write_text("encoder: start")
    Path("start_from.yaml").write_text("encoder: {start_from: start}")
    options = CommandLine(PretrainOptions, ["scores", "--out=run", *arguments]).options
    expected = PretrainOptions(tracks="scores", out="run", encoder="start")
    assert options == expected
    options.check()
    slow = CommandLine(PretrainOptions, ["scores", "--out=run", *arguments, "--encoder.frozen_steps=2"]).options.encoder
    assert slow == EncoderOptions(start_from="start", frozen_steps=2) == EncoderOptions(name="start", frozen_steps=2)
    assert slow.is_saved
    assert (slow.name, slow.start_from, slow.given) == ("start", None, {})
    assert select_settings(options) == select_settings(replace(expected, encoder=EncoderOptions(start_from="start")))
    model = _make_module(options, [], {}).model
    assert model.encoder.training
    assert all(torch.equal(value, weights(start)[name]) for name, value in model.encoder.state_dict().items())


def test_default_values_are_the_same_settings():
    usual, spelled = EncoderOptions(), EncoderOptions(frozen_steps=0, layer_decay=1.0)
    assert len({str(select_settings(PretrainOptions(tracks="a", out="b", encoder=e))) for e in (usual, spelled)}) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--encoder=SampleCNN", "--encoder.start_from=start"], "start_from: expected no other encoder with it, got S"),
        (["--encoder=empty", "--encoder.start_from=start"], "start_from: expected no other encoder with it, got empty"),
        (["--encoder.start_from=SampleCNN"], "encoder.start_from: expected a saved encoder, got the architecture"),
        (["--encoder.n_mels=32", "--encoder.start_from=start"], "encoder.n_mels: expected no value with a saved"),
        (["--encoder.start_from=nowhere"], "encoder: expected MelCNN, "),
        (["--encoder.start_from=empty"], "encoder: expected the folder of a saved encoder"),
        (["--encoder.start_from=damaged"], "damaged"),
        (["--encoder.start_from=start", "--encoder.frozen_steps=9"], "encoder.frozen_steps: expected fewer than the 9"),
        (["--encoder=start", "--encoder.frozen_steps=-1"], "encoder.frozen_steps: expected an integer of at least 0"),
        (["--encoder.frozen_steps=2"], "encoder.frozen_steps: expected 0 without a saved encoder, got 2 with MelCNN"),
        (["--encoder.start_from=start", "--encoder.layer_decay=0"], "encoder.layer_decay: expected"),
        (["--encoder.layer_decay=1.5"], "encoder.layer_decay: expected"),
    ],
)
def test_bad_combinations_stop_before_the_training(music, start, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    MelCNN(**SMALL).save_pretrained("damaged")
    Path("damaged/model.safetensors").write_bytes(b"0" * 100)
    result = call("pretrain", f"--tracks={music / 'my.csv'}", "--out=run", "--steps=9", *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert not Path("run").exists() or not list(Path("run").glob("[a-z]*"))


@pytest.mark.parametrize("make", [*ENCODERS.values(), partial(MusiCNN, tags=["piano"])], ids=[*ENCODERS, "MusiCNN"])
def test_each_parameter_has_a_layer_in_order(make):
    encoder = make()
    numbers = number_layers(encoder)
    assert numbers.keys() == dict(encoder.named_parameters()).keys()
    assert list(numbers.values()) == sorted(numbers.values())
    assert set(numbers.values()) == set(range(max(numbers.values()) + 1))
    own = {re.sub(r"\.(\d)$", r".\1", layer) for layer in encoder.layer_names}
    assert max(numbers.values()) + 1 >= len(own) - 1


def test_rates_decay_from_the_last_layer():
    model = ContrastiveModel(MelCNN(**SMALL))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_parameter_groups(model.encoder, model.parameters(), 0.1, 0.5)
    rates = {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}
    assert rates.keys() == dict(model.named_parameters()).keys()
    for name, rate in rates.items():
        layers = ("scale", "spectral.0", "spectral.1"), ("spectral.3", "spectral.4"), ("temporal.0", "temporal.1")
        steps = next((3 - n for n, own in enumerate(layers) if name.startswith(tuple(f"encoder.{o}." for o in own))), 0)
        assert rate == pytest.approx(0.1 * 0.5**steps), name
    assert next(iter(groups))["lr"] == 0.1  # of the log


def test_the_optimizer_has_the_rates_of_the_layers():
    module = SemiSupConModule(ContrastiveModel(MelCNN(**SMALL)), learning_rate=0.1)
    module.trainer = type("Trainer", (), {"estimated_stepping_batches": 10})()
    module.layer_decay = 0.5
    optimizer = module.configure_optimizers()["optimizer"]
    assert [group["initial_lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1, 0.05, 0.025, 0.0125])


@pytest.mark.slow
def test_a_frozen_encoder_changes_after_its_steps(music, start, tmp_path):
    own = EncoderOptions(start_from=str(start), frozen_steps=2)
    options = {**TINY, "steps": 3, "labels": "note", "encoder": own, "keep_checkpoints_every": 1}
    folder = pretrain_on(music / "my.csv", tmp_path / "run", **options)
    for step, changes in ((1, False), (2, False), (3, True)):
        state = torch.load(tmp_path / "run" / "checkpoints" / f"step-{step}.ckpt", weights_only=True)["state_dict"]
        same = [torch.equal(value, state[f"model.encoder.{name}"]) for name, value in weights(start).items()]
        assert all(same) != changes
        projector = [value for name, value in state.items() if name.startswith("model.projector") and "weight" in name]
        if step == 1:
            before = projector
        else:
            assert not any(torch.equal(one, two) for one, two in zip(before, projector, strict=True))
    start.rename(tmp_path / "moved")
    exported = call("export", str(tmp_path / "run"), f"--out={tmp_path / 'exported'}", "--checkpoint=2")
    assert exported.returncode == 0, exported.stderr
    assert all(
        torch.equal(value, weights(tmp_path / "moved")[name]) for name, value in weights(tmp_path / "exported").items()
    )
    assert load_encoder(folder).embedding_dim == 8


@pytest.mark.slow
def test_layer_decay_slows_the_first_layers(music, start, tmp_path):
    changes = {}
    for decay in (1.0, 0.01):
        own = EncoderOptions(start_from=str(start), layer_decay=decay)
        folder = pretrain_on(music / "my.csv", tmp_path / str(decay), **TINY, labels="note", encoder=own)
        before, after = weights(start), weights(folder)
        changes[decay] = {
            n: float((after[n] - before[n]).abs().max()) for n in ("spectral.0.weight", "temporal.3.weight")
        }
    assert changes[0.01]["temporal.3.weight"] == pytest.approx(changes[1.0]["temporal.3.weight"], rel=0.2)
    assert changes[0.01]["spectral.0.weight"] < 1e-4 * changes[1.0]["spectral.0.weight"]


@pytest.mark.slow
@pytest.mark.parametrize("at_least", [2, 6])
def test_a_killed_run_resumes_bit_for_bit(music, start, tmp_path, at_least):
    extra = [f"--encoder.start_from={start}", "--encoder.frozen_steps=5", "--encoder.layer_decay=0.7"]
    run(*command(music, tmp_path / "whole", *extra))
    process = begin(*command(music, tmp_path / "killed", *extra))
    checkpoint = tmp_path / "killed" / "last.ckpt"

    def has_steps() -> bool:
        return (
            (tmp_path / "killed" / "history.csv").exists()
            and checkpoint.exists()
            and len(history(tmp_path / "killed")) >= at_least
        )

    wait_until(has_steps, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    run(*command(music, tmp_path / "killed", *extra))
    assert_same_checkpoint(tmp_path / "whole" / "last.ckpt", checkpoint)


@pytest.mark.slow
def test_a_changed_start_stops_the_resumption(music, start, tmp_path):
    options = {**TINY, "labels": "note", "encoder": EncoderOptions(start_from=str(start))}
    pretrain_on(music / "my.csv", tmp_path / "run", **options)
    pretrain_on(music / "my.csv", tmp_path / "run", **options | {"encoder": str(start)})  # complete
    MelCNN(**SMALL).save_pretrained(start)
    with pytest.raises(InputError, match="the saved encoder that the run started from has changed"):
        pretrain_on(music / "my.csv", tmp_path / "run", **options)
    with pytest.raises(InputError, match="contains a run with other settings"):
        pretrain_on(music / "my.csv", tmp_path / "run", **TINY, labels="note", encoder=EncoderOptions(**SMALL))
