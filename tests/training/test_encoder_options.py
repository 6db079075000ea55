"""Arguments of the encoder of a training."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from training_runs import TINY, pretrain_on

from ssc_toolkit.encoders import load_encoder, make_encoder
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.run_settings import read_settings
from ssc_toolkit.training import EncoderOptions
from ssc_toolkit.training.checkpoint_model import load_checkpoint_model

SMALL_ENCODER = EncoderOptions(n_mels=32, max_hz=8000.0, channels=4, embedding_dim=24)


@pytest.mark.slow
def test_a_run_has_the_encoder_of_its_arguments(music, tmp_path):
    pretrain_on(music / "my.csv", tmp_path, encoder=SMALL_ENCODER, **TINY)
    saved = load_encoder(tmp_path / "encoder")
    wanted = make_encoder("MelCNN", **SMALL_ENCODER.given)
    assert saved.embedding_dim == 24
    assert torch.equal(saved.log_mel.bands, wanted.log_mel.bands)
    config = json.loads((tmp_path / "encoder" / "config.json").read_text())
    assert config.items() >= SMALL_ENCODER.given.items()
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["encoder"]["max_hz"] == 8000
    exported, _ = load_checkpoint_model(tmp_path / "last.ckpt", read_settings(tmp_path))
    assert torch.equal(exported.encoder.state_dict()["scale.weight"], saved.state_dict()["scale.weight"])
    pretrain_on(music / "my.csv", tmp_path, encoder=SMALL_ENCODER, **TINY | {"steps": 3})
    with pytest.raises(InputError, match=r"encoder\.embedding_dim was 24, is None"):
        pretrain_on(music / "my.csv", tmp_path, **TINY)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (EncoderOptions(max_hz=9000.0), "encoder.max_hz: expected at most 8000, half the sample rate of the encoder"),
        (EncoderOptions(max_hz=1.0), "encoder.max_hz: expected more than min_hz"),
        (EncoderOptions(name="SampleCNN", strides=(3, 3)), "encoder.strides: expected 10 integers"),
        (EncoderOptions(n_fft=16000), "view_seconds: expected at least 1.00 s for MelCNN, got 0.5"),
    ],
)
def test_arguments_that_cannot_work_are_errors_before_work(music, tmp_path, encoder, words):
    with pytest.raises(InputError, match=words):
        pretrain_on(music / "my.csv", tmp_path / "run", encoder=encoder, **TINY)
    assert not list((tmp_path / "run").iterdir())
