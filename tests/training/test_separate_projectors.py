"""Trainings with separate projectors for views and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import SMALL, history, losses, pretrain_on

from ssc_toolkit.encoders import load_projector
from ssc_toolkit.options.run_settings import read_settings
from ssc_toolkit.training import (
    LogOptions,
    LossOptions,
    OptimizerOptions,
    ProjectorOptions,
    TrainerOptions,
    ValidationOptions,
)
from ssc_toolkit.training.checkpoint_model import load_checkpoint_model

SEPARATE = ProjectorOptions(heads="separate", output_dim=16)


def train(music: Path, folder: Path, **options: object) -> list[float]:
    options = {"labels": "note", "projector": SEPARATE, **SMALL, "steps": 4, **options}
    pretrain_on(music / "my.csv", folder, **options)  # type: ignore[arg-type]
    return losses(folder)


@pytest.mark.slow
def test_labels_change_the_loss_by_their_weight(music, tmp_path):
    found = {
        weight: train(music, tmp_path / str(weight), steps=1, loss=LossOptions(label_weight=weight))[0]
        for weight in (0, 1, 2)
    }
    assert found[1] > found[0]
    assert found[2] - found[1] == pytest.approx(found[1] - found[0], rel=1e-4)
    logs, validation = LogOptions(every=1, pictures_every=1), ValidationOptions(every=1)
    train(
        music, tmp_path / "logged", steps=1, logs=logs, validation=validation, optimizer=OptimizerOptions(ema_decay=0.9)
    )
    (row,) = history(tmp_path / "logged")
    assert float(row["loss"]) == found[1]
    assert 1 < float(row["effective_rank"]) <= 12  # of the projections of views, of twelve views
    assert np.isfinite(float(row["val_loss"]))
    assert (tmp_path / "logged" / "pictures" / "matrices-000001.svg").exists()


@pytest.mark.slow
def test_both_projectors_are_saved_and_exported(music, tmp_path):
    train(music, tmp_path)
    model, _ = load_checkpoint_model(tmp_path / "last.ckpt", read_settings(tmp_path))
    for head in ("views", "labels"):
        saved = load_projector(tmp_path / "encoder", head).state_dict()
        trained = getattr(model.projector, head).state_dict()
        assert all(torch.equal(saved[name], trained[name]) for name in trained)
    assert saved["2.weight"].shape == (16, 256)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{"trainer": TrainerOptions(chunk_size=4)}, {"memory": 24}, {"trainer": TrainerOptions(precision="bf16")}],
    ids=["chunk_size", "memory", "bf16"],
)
def test_separate_heads_train_with_other_options(music, tmp_path, options):
    found = train(music, tmp_path, **options)
    assert len(found) == 4
    assert np.isfinite(found).all()
