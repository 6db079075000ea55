"""Trainings that start from the weights of a saved encoder."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from huggingface_hub import constants
from training_runs import TINY, losses, pretrain_on

from ssc_toolkit.encoders import MelCNN, SampleCNN, load_encoder
from ssc_toolkit.encoders.pretrained import load_by_source
from ssc_toolkit.errors import InputError
from ssc_toolkit.evaluation.leaks import TRAINING_TRACKS, load_record
from ssc_toolkit.options.run_settings import read_settings
from ssc_toolkit.training import EncoderOptions
from ssc_toolkit.training.checkpoint_model import load_checkpoint_model, make_run_encoder

SMALL = EncoderOptions(channels=4, embedding_dim=24)


@pytest.fixture
def saved(tmp_path):
    """The folder of a small untrained encoder, whose weights are known."""
    torch.manual_seed(5)
    MelCNN(channels=4, embedding_dim=24).save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.slow
def test_a_run_starts_from_a_saved_encoder(music, saved, tmp_path):
    own = {"encoder": str(saved), "learning_rate": 1e-12, **TINY}
    pretrain_on(music / "my.csv", tmp_path / "run", **own)
    start, trained = load_encoder(saved), load_encoder(tmp_path / "run" / "encoder")
    torch.testing.assert_close(trained.temporal[0].weight, start.temporal[0].weight, rtol=0, atol=1e-9)
    pretrain_on(music / "my.csv", tmp_path / "new", **own | {"encoder": SMALL})
    assert losses(tmp_path / "run") != losses(tmp_path / "new")
    shutil.rmtree(saved)  # the checkpoint is exported without it
    exported, _ = load_checkpoint_model(tmp_path / "run" / "last.ckpt", read_settings(tmp_path / "run"))
    assert torch.equal(exported.encoder.temporal[0].weight, trained.temporal[0].weight)
    MelCNN(channels=4, embedding_dim=24).save_pretrained(saved)
    with pytest.raises(InputError, match="the saved encoder that the run started from has changed"):
        pretrain_on(music / "my.csv", tmp_path / "run", **own | {"steps": 3})


@pytest.mark.slow
def test_the_tracks_of_the_first_training_are_recorded(music, tmp_path):
    table = (music / "my.csv").read_text().splitlines()
    for name, rows in (("first", table[1:13]), ("second", table[13:])):
        (tmp_path / f"{name}.csv").write_text("\n".join([table[0], *rows]))
    common = {"root": str(music), **TINY}
    pretrain_on(tmp_path / "first.csv", tmp_path / "first", encoder=SMALL, **common)
    pretrain_on(tmp_path / "second.csv", tmp_path / "second", encoder=str(tmp_path / "first" / "encoder"), **common)
    record = load_record(tmp_path / "second" / TRAINING_TRACKS)
    assert record is not None
    assert len(record) == 18


def test_an_encoder_of_the_hub_is_read_from_its_cache(saved, tmp_path, monkeypatch):
    model = tmp_path / "cache" / "models--someone--mel"
    shutil.copytree(saved, model / "snapshots" / "0123")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for name in ("hf:someone/mel", "hf:someone/mel@main"):
        options = EncoderOptions(name=name)
        options.check()
        found = make_run_encoder(options)
        assert found.training
        assert torch.equal(found.temporal[0].weight, load_encoder(saved).temporal[0].weight)
    with pytest.raises(InputError, match=r"expected a folder or a model on the Hugging Face Hub, got someone/else"):
        load_by_source("hf:someone/else")


def test_a_published_checkpoint_is_a_start(tmp_path):
    trained = SampleCNN()
    path = tmp_path / "clmr.pt"
    torch.save({f"encoder.{name}": weight for name, weight in trained.state_dict().items()}, path)
    options = EncoderOptions(name=str(path))
    options.check()
    assert torch.equal(make_run_encoder(options).sequential[0][0].weight, trained.sequential[0][0].weight)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        ("MelCN", "encoder: expected MelCNN, .* got 'MelCN'; did you mean MelCNN?"),
        ("nowhere/encoder", "encoder: expected MelCNN, .*a saved encoder .*, got 'nowhere/encoder'"),
        ("os:getcwd", "encoder: expected MelCNN, .* got 'os:getcwd'"),
        ("hf:mel", "encoder: expected MelCNN, .* got 'hf:mel'"),
        (EncoderOptions(name="hf:a/b", max_hz=8000.0), "encoder.max_hz: expected no value with a saved encoder, hf:a"),
    ],
    ids=str,
)
def test_unknown_encoders_stop_before_work(music, tmp_path, encoder, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", encoder=encoder, **TINY)
    assert not (tmp_path / "run").exists()


def test_damaged_saved_encoders_stop_before_work(music, saved, tmp_path):
    def refused(words: str) -> None:
        with pytest.raises(InputError, match=words):
            pretrain_on(music / "my.csv", tmp_path / "run", encoder=str(saved), **TINY)
        assert not list(tmp_path.glob("run/*"))

    (saved / "checksums.json").unlink()
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"encoder_class": "os.system"}))
    refused("encoder: expected one of MelCNN")
    (saved / "config.json").unlink()
    refused("encoder: expected the folder of a saved encoder, with config.json and model.safetensors")
