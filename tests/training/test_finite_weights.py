"""Losses and weights that become NaN or infinite."""

from __future__ import annotations

import gc
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from training_runs import SMALL, pretrain_on

from ssc_toolkit.errors import InputError
from ssc_toolkit.training import FiniteWeights
from ssc_toolkit.training.pretrain import OPTIMIZERS

pytestmark = pytest.mark.slow


def test_a_nan_loss_stops_the_run_and_names_its_batch(music, tmp_path, capsys):
    with pytest.raises(InputError, match=r"loss is .* at step .*learning_rate"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL, learning_rate=1e30, title="diverging")
    assert not (tmp_path / "encoder").exists()
    report = json.loads((tmp_path / "not_finite.json").read_text())
    assert len(report["items"]) == SMALL["batch_size"]
    assert all(Path(item["file"]).exists() for item in report["items"])
    if (tmp_path / "last.ckpt").exists():
        assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] < report["step"]
    # The line that counts the steps ends with the run, and is not drawn once more when it is collected.
    assert "diverging" in capsys.readouterr().err
    gc.collect()
    assert not capsys.readouterr().err


class Overflowing(torch.optim.Adam):
    """Adam whose third step goes to infinity."""

    def step(self, closure=None):
        loss = super().step(closure)
        if max(int(state["step"]) for state in self.state.values()) == 3:
            self.param_groups[0]["params"][0].data.fill_(math.inf)
        return loss


def test_nan_or_infinite_weights_are_not_saved(music, tmp_path, monkeypatch):
    # The loss of the last step is that before its update, and fine.
    monkeypatch.setitem(OPTIMIZERS, "Adam", Overflowing)
    with pytest.raises(InputError, match=r"after step 3; .*learning_rate"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL | {"steps": 3, "checkpoint_every": 1})
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 2
    assert not (tmp_path / "encoder").exists()
    masked = nn.ModuleList([nn.Linear(2, 2)])
    masked.register_buffer("mask", torch.tensor(-math.inf))
    FiniteWeights().on_save_checkpoint(None, masked, {})  # may be so
