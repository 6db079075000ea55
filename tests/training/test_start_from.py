"""Trainings that start from an encoder: its weights, frozen first steps, and learning rates of its layers."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from command_calls import call
from training_runs import TINY, assert_same_checkpoint, begin, command, history, pretrain_on, run, wait_until

from ssc_toolkit.encoders import ENCODERS, ContrastiveModel, MelCNN, MusiCNN, SampleCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import EncoderOptions, PretrainOptions
from ssc_toolkit.training import SemiSupConModule
from ssc_toolkit.training.layer_rates import make_parameter_groups, number_layers
from ssc_toolkit.training.pretrain import _make_module
from ssc_toolkit.training.starting import load_start_encoder

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


def test_architecture_and_weights_are_those_of_the_start(start, tmp_path):
    loaded = load_start_encoder(EncoderOptions(start_from=str(start), n_mels=16))
    assert loaded.training
    assert all(torch.equal(value, weights(start)[name]) for name, value in loaded.state_dict().items())
    options = PretrainOptions(tracks="scores", out=str(tmp_path / "run"), encoder=EncoderOptions(start_from=str(start)))
    model = _make_module(options, [], {}).model
    assert all(torch.equal(value, weights(start)[name]) for name, value in model.encoder.state_dict().items())


def test_published_checkpoints_can_be_the_start(tmp_path):
    encoder = SampleCNN(sample_rate=22050)
    torch.save({"state_dict": {f"encoder.{k}": v for k, v in encoder.state_dict().items()}}, tmp_path / "clmr.ckpt")
    loaded = load_start_encoder(EncoderOptions(name="SampleCNN", start_from=str(tmp_path / "clmr.ckpt")))
    assert all(torch.equal(value, encoder.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--encoder=SampleCNN", "--encoder.start_from=start"], "start_from: expected a SampleCNN, got a MelCNN"),
        (["--encoder.start_from=tagger"], "start_from: expected a MelCNN, got a MusiCNN in tagger; pretrain trains"),
        (
            ["--encoder.n_mels=32", "--encoder.start_from=start"],
            "encoder.n_mels: expected 16, the value of the encoder",
        ),
        (["--encoder.start_from=nowhere"], "encoder.start_from: expected the folder of a saved encoder"),
        (["--encoder.start_from=./no/where"], "encoder.start_from: expected the folder of a saved encoder"),
        (["--encoder.start_from=empty"], "encoder.start_from: expected the folder of a saved encoder"),
        (["--encoder.start_from=damaged"], "encoder.start_from: "),
        (["--encoder.start_from=start", "--encoder.frozen_steps=9"], "encoder.frozen_steps: expected fewer than the 9"),
        (["--encoder.start_from=start", "--encoder.frozen_steps=-1"], "encoder.frozen_steps: expected"),
        (["--encoder.frozen_steps=2"], "encoder.frozen_steps: expected encoder.start_from to use it with"),
        (["--encoder.layer_decay=0.5"], "encoder.layer_decay: expected encoder.start_from to use it with"),
        (["--encoder.start_from=start", "--encoder.layer_decay=0"], "encoder.layer_decay: expected"),
        (["--encoder.start_from=start", "--encoder.layer_decay=1.5"], "encoder.layer_decay: expected"),
    ],
)
def test_bad_combinations_stop_before_the_training(music, start, tmp_path, monkeypatch, options, words):
    monkeypatch.chdir(tmp_path)
    MusiCNN(tags=["piano"]).save_pretrained("tagger")
    Path("empty").mkdir()
    MelCNN(**SMALL).save_pretrained("damaged")
    Path("damaged/model.safetensors").write_bytes(b"0" * 100)
    result = call("pretrain", f"--tracks={music / 'my.csv'}", "--out=run", "--steps=9", *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert not Path("run").exists() or not list(Path("run").glob("[a-z]*"))


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_each_parameter_has_a_layer_in_order(name):
    encoder = ENCODERS[name]()
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
    moved = start.rename(tmp_path / "moved")
    again = {**options, "encoder": replace(options["encoder"], start_from=str(moved))}
    pretrain_on(music / "my.csv", tmp_path / "run", **again)
    MelCNN(**SMALL).save_pretrained(moved)
    with pytest.raises(InputError, match=r"the encoder of encoder\.start_from has changed"):
        pretrain_on(music / "my.csv", tmp_path / "run", **again)
    with pytest.raises(InputError, match="contains a run with other settings"):
        pretrain_on(music / "my.csv", tmp_path / "run", **TINY, labels="note", encoder=EncoderOptions(**SMALL))
