"""Launchers that started another number of processes than the options say, or the same."""

from __future__ import annotations

import os

import pytest
from training_runs import SMALL, TINY, pretrain_on

from ssc_toolkit.errors import InputError
from ssc_toolkit.training import TrainerOptions
from ssc_toolkit.training.launching import check_launcher


@pytest.mark.parametrize(
    "variables",
    [
        {"WORLD_SIZE": "3"},
        {"WORLD_SIZE": "3", "RANK": "1", "LOCAL_RANK": "1"},
        {"SLURM_NTASKS": "3", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"},
        {"OMPI_COMM_WORLD_SIZE": "3"},
        {"WORLD_SIZE": "three"},
        {"WORLD_SIZE": ""},
    ],
)
def test_a_launcher_of_another_number_is_refused(music, tmp_path, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=r"trainer\.devices: .*set --trainer\.devices .* or unset"):
        pretrain_on(music / "my.csv", tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, {}),
        ({"WORLD_SIZE": "1"}, {}),
        ({"WORLD_SIZE": "1"}, {"devices": 2}),  # one process, which starts the other
        ({"WORLD_SIZE": "6", "LOCAL_RANK": "0"}, {"devices": 3, "num_nodes": 2}),
        ({"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "interactive"}, {}),
    ],
)
def test_a_launcher_that_agrees_is_taken(monkeypatch, variables, options):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert check_launcher(TrainerOptions(**options)) is None


@pytest.mark.slow
def test_ddp_in_this_process_leaves_its_environment(music, tmp_path):
    before = dict(os.environ)
    trainer = TrainerOptions(accelerator="cpu", strategy="ddp")
    pretrain_on(music / "my.csv", tmp_path, **TINY, trainer=trainer)
    assert dict(os.environ) == before
