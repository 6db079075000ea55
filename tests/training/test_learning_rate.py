"""The learning rate that a range test chooses: it is recorded, and the run is that of the same number."""

from __future__ import annotations

import json

import numpy as np
import pytest
from training_runs import SMALL, history, losses, pretrain_on

from ssc_toolkit.errors import InputError
from ssc_toolkit.options import LogOptions, OptimizerOptions
from ssc_toolkit.training import learning_rate
from ssc_toolkit.training.learning_rate import RangeTest

LOGS = LogOptions(tensorboard=False)
RATES = np.geomspace(1e-6, 1, 60).tolist()


def falling(center: float, rises_at: float, noise: float = 0.0) -> RangeTest:
    """Losses that fall most at a rate and rise at another, with noise that each batch has with any weights."""
    rates = np.array(RATES)
    of_batches = 4 + noise * np.random.default_rng(0).normal(size=60)
    change = -2 / (1 + (center / rates) ** 2) + 20 * np.clip(np.log(rates / rises_at), 0, None)
    return RangeTest(RATES, (of_batches + change).tolist(), of_batches.tolist())


@pytest.mark.parametrize("center", [3e-5, 1e-3, 1e-2])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_the_rate_of_the_steepest_fall_is_chosen(center, noise):
    assert falling(center, 20 * center, noise).choose() == pytest.approx(center, rel=0.6)


def test_a_loss_that_only_rises_is_an_error():
    with pytest.raises(InputError, match="learning_rate: expected a loss that falls"):
        RangeTest(RATES, np.linspace(1, 3, 60).tolist(), [1.0] * 60).choose()
    with pytest.raises(InputError, match="learning_rate: expected a loss that falls"):
        RangeTest(RATES[:3], [1.0, 2.0, 3.0], [1.0] * 60).choose()


@pytest.mark.slow
def test_a_chosen_rate_leaves_no_other_trace(music, tmp_path, monkeypatch):
    monkeypatch.setattr(learning_rate, "STEPS", 24)
    constant = OptimizerOptions(schedule="constant")
    options = {**SMALL, "steps": 4, "labels": "note", "optimizer": constant, "memory": 20, "logs": LOGS}
    pretrain_on(music / "my.csv", tmp_path / "auto", learning_rate="auto", **options)
    record = json.loads((tmp_path / "auto" / "learning_rate.json").read_text())
    rate = record["learning_rate"]
    assert 1e-6 <= rate <= 1
    assert len(record["losses"]) == len(record["rates"]) <= 24
    assert record["rates"][0] == 1e-6
    assert {float(row["learning_rate"]) for row in history(tmp_path / "auto")} == {rate}
    pretrain_on(music / "my.csv", tmp_path / "number", learning_rate=rate, **options)
    assert history(tmp_path / "auto") == history(tmp_path / "number")
    names = [{path.name for path in (tmp_path / name).iterdir()} for name in ("auto", "number")]
    assert names[0] - names[1] == {"learning_rate.json"}
    # A longer run keeps the rate, and does not test again.
    (tmp_path / "auto" / "learning_rate.json").unlink()
    pretrain_on(music / "my.csv", tmp_path / "auto", learning_rate="auto", **options | {"steps": 6})
    pretrain_on(music / "my.csv", tmp_path / "number", learning_rate=rate, **options | {"steps": 6})
    assert losses(tmp_path / "auto") == losses(tmp_path / "number")
    assert not (tmp_path / "auto" / "learning_rate.json").exists()
