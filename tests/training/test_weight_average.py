"""Averages of weights, gradient clipping and kept checkpoints, by their effects on a training."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from training_runs import SMALL, history, losses, pretrain_on

from ssc_toolkit.encoders import ContrastiveModel, MelCNN, load_encoder, load_projector
from ssc_toolkit.errors import InputError
from ssc_toolkit.options import OptimizerOptions, PretrainOptions, TrainerOptions
from ssc_toolkit.training import SemiSupConModule
from ssc_toolkit.training.callbacks.weight_average import WeightAverage
from ssc_toolkit.training.checkpoints import estimate_checkpoint_bytes

DECAY = 0.3


@pytest.mark.slow
def test_the_average_of_every_step_is_saved(music, tmp_path):
    options = {**SMALL, "steps": 6, "labels": "note"}
    averaging = OptimizerOptions(ema_decay=DECAY)
    folder = pretrain_on(music / "my.csv", tmp_path / "a", keep_checkpoints_every=1, optimizer=averaging, **options)
    checkpoints = [tmp_path / "a" / "checkpoints" / f"step-{step}.ckpt" for step in range(1, 7)]
    assert sorted(checkpoints) == sorted((tmp_path / "a" / "checkpoints").iterdir())
    states = [torch.load(path, weights_only=True)["state_dict"] for path in checkpoints]
    torch.manual_seed(0)
    average = {name: value.double() for name, value in ContrastiveModel(MelCNN()).state_dict().items()}
    for step, state in enumerate(states, start=1):
        decay = min(DECAY, step / (step + 9))
        for name in average:
            average[name] = decay * average[name] + (1 - decay) * state[f"model.{name}"].double()
    for part, loaded in (("encoder", load_encoder(folder)), ("projector", load_projector(folder))):
        for name, value in loaded.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(value.double(), average[f"{part}.{name}"], rtol=1e-5, atol=1e-6)
            else:
                assert torch.equal(value, states[-1][f"model.{part}.{name}"])
    assert json.loads((folder / "training.json").read_text())["weights"] == "averaged"
    pretrain_on(music / "my.csv", tmp_path / "b", **options)
    assert losses(tmp_path / "a") == losses(tmp_path / "b")
    name = "val_neighbor_agreement"
    assert history(tmp_path / "a")[-1].keys() == history(tmp_path / "b")[-1].keys() >= {name}


def test_evaluated_weights_are_the_average_and_are_put_back():
    module = SemiSupConModule(ContrastiveModel(MelCNN(n_mels=24)))
    own = {name: value.clone() for name, value in module.model.state_dict().items()}
    with module.evaluated_weights():
        assert all(torch.equal(value, own[name]) for name, value in module.model.state_dict().items())
    module.average = WeightAverage(0.9)
    module.average.weights = {name: torch.full_like(value, 2) for name, value in own.items()}

    def fail() -> None:
        with module.evaluated_weights():
            assert all((value == 2).all() for value in module.model.state_dict().values())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all(torch.equal(value, own[name]) for name, value in module.model.state_dict().items())
    without = SemiSupConModule(module.model)
    assert estimate_checkpoint_bytes(module) > 1.2 * estimate_checkpoint_bytes(without)


@pytest.mark.slow
def test_gradients_are_clipped_to_their_maximum_norm(music, tmp_path):
    found = {}
    for limit in (0.02, None):
        out = tmp_path / str(limit)
        pretrain_on(music / "my.csv", out, **SMALL | {"steps": 1}, optimizer=OptimizerOptions(max_grad_norm=limit))
        (state,) = torch.load(out / "last.ckpt", weights_only=True)["optimizer_states"]
        moments = [moment["exp_avg"].flatten() for moment in state["state"].values()]
        found[limit] = float(torch.cat(moments).norm()) / 0.1  # Adam's first moment is a tenth of the gradient
    assert found[0.02] == pytest.approx(0.02, rel=1e-3)
    assert found[None] > 0.04


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, np.nan])
def test_decays_out_of_range_are_errors(decay):
    with pytest.raises(InputError, match=r"optimizer\.ema_decay: expected a number above 0 and below 1"):
        OptimizerOptions(ema_decay=decay).check()
    with pytest.raises(ValueError, match="decay: expected a number above 0 and below 1"):
        WeightAverage(decay)


def test_combinations_that_cannot_work_are_errors(music, tmp_path):
    options = {"tracks": str(music / "my.csv"), "out": str(tmp_path)}
    with pytest.raises(InputError, match=r"trainer\.strategy: expected one with all weights"):
        PretrainOptions(**options, trainer=TrainerOptions(strategy="fsdp")).check()
    with pytest.raises(InputError, match="learning_rate: expected a number with 2 processes, got auto"):
        PretrainOptions(**options, learning_rate="auto", trainer=TrainerOptions(devices=2)).check()
    with pytest.raises(InputError, match=r"optimizer\.max_grad_norm: expected a positive number"):
        PretrainOptions(**options, optimizer=OptimizerOptions(max_grad_norm=0)).check()
    with pytest.raises(InputError, match="keep_checkpoints_every: expected an integer of at least 0"):
        PretrainOptions(**options, keep_checkpoints_every=-1).check()
