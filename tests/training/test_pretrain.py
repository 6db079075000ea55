"""Pretraining on a user's own files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from training_runs import SMALL, history, losses, pretrain_on

from ssc_toolkit.data import ContrastiveDataset, check_audio, load_tracks
from ssc_toolkit.encoders import ContrastiveModel, MelCNN, load_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.training import SemiSupConDataModule, SemiSupConModule, ValidationOptions


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"labels": "note"},
        {"labels": "note", "labeled_fraction": 1.0},
        {"labels": "tags", "label_budget": 0.5, "min_shared": 2},
        {"validation": ValidationOptions(labels="note"), "views": 3, "omit": ("pitch_shift",), "severity": 0.5},
    ],
    ids=["self-supervised", "semi-supervised", "supervised", "tags", "three views"],
)
def test_pretraining_on_own_files(music, tmp_path, arguments):
    encoder_folder = pretrain_on(music / "my.csv", tmp_path / "run", **SMALL, **arguments)
    rows = history(tmp_path / "run")
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert all(np.isfinite(float(row["loss"])) for row in rows)
    if arguments:
        assert 0 <= float(rows[-1]["val_neighbor_agreement"]) <= 1
    encoder = load_encoder(encoder_folder)
    assert encoder(torch.zeros(1, 16000)).shape == (1, 256)
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["batch_size"] == 6


@pytest.mark.slow
def test_each_label_column_is_encoded_once(music, tmp_path, encoded):
    table = pd.read_csv(music / "my.csv")
    gone = table.iloc[[3]].assign(path="gone.wav", note="of no other track", range="of no other track")
    table = pd.concat([table.iloc[:5], gone, table.iloc[5:]])
    table.to_csv(tmp_path / "my.csv", index=False)
    out = tmp_path / "run"
    columns = {"labels": "note", "validation": ValidationOptions(labels="range")}
    pretrain_on(tmp_path / "my.csv", out, root=str(music), **columns, **SMALL)
    assert sorted(encoded) == ["note", "range"]
    whole = pretrain_on(music / "my.csv", tmp_path / "whole", **columns, **SMALL).parent
    assert losses(out) == losses(whole)  # rows and labels still belong together
    assert history(out) == history(whole)


@pytest.mark.slow
def test_training_lowers_the_loss(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, labels="note", view_seconds=0.5, batch_size=12, steps=80)
    found = losses(tmp_path)
    assert np.mean(found[-10:]) < np.mean(found[:10]) - 0.3


def test_a_minimum_above_all_label_counts_is_refused(music, tmp_path):
    with pytest.raises(InputError, match="min_shared: expected at most"):
        pretrain_on(music / "my.csv", tmp_path, **SMALL, labels="tags", min_shared=50)


class Forgetful(MelCNN):
    """An encoder with dropout, whose random numbers are torch's own."""

    def encode_frames(self, signals):
        return torch.nn.functional.dropout(super().encode_frames(signals), 0.5, self.training)


def trained(music: Path, folder: Path, steps: int, stop_at: int | None = None) -> list[float]:
    """Losses of a training, perhaps interrupted and resumed with another state of torch's random numbers."""
    tracks = check_audio(load_tracks(music / "my.csv"), progress=False)
    found: list[float] = []

    class Record(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            found.append(float(outputs["loss"]))
            if trainer.global_step == stop_at:
                trainer.save_checkpoint(folder / "stopped.ckpt")
                raise KeyboardInterrupt

    def fit(checkpoint: Path | None) -> None:
        torch.manual_seed(0 if checkpoint is None else 99)
        module = SemiSupConModule(ContrastiveModel(Forgetful()))
        data = SemiSupConDataModule(ContrastiveDataset(tracks, 16000, 0.5), batch_size=4)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = pl.Trainer(max_steps=steps, accelerator="cpu", callbacks=[Record()], **quiet)
        trainer.fit(module, data, ckpt_path=checkpoint, weights_only=True)

    if stop_at is not None:
        with pytest.raises(SystemExit):
            fit(None)
        stop_at = None
        fit(folder / "stopped.ckpt")
    else:
        fit(None)
    return found


@pytest.mark.slow
def test_dropout_resumes_from_the_checkpoint(music, tmp_path):
    assert trained(music, tmp_path, 6, stop_at=3) == trained(music, tmp_path, 6)
