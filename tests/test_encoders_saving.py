"""Encoders written to a folder and read back."""

from __future__ import annotations

import json

import pytest
import torch
from encoder_kinds import every_encoder

from ssc_toolkit.encoders import MelCNN, SampleCNN, ShortChunkCNN, load_encoder, make_encoder
from ssc_toolkit.errors import InputError


@every_encoder
def test_saving_and_loading(make, tmp_path, capsys):
    torch.manual_seed(1)
    encoder = make().eval()
    encoder.save_pretrained(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    waveforms = torch.randn(1, encoder.minimum_samples)
    with torch.no_grad():
        assert torch.equal(loaded(waveforms), encoder(waveforms))
    assert not loaded.training
    assert capsys.readouterr().out == ""


def test_loading_what_is_no_encoder_is_an_error_with_a_cure(tmp_path):
    with pytest.raises(InputError, match="no saved encoder"):
        load_encoder(tmp_path)
    folder = tmp_path / "encoder"
    MelCNN(n_mels=48).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"n_mels": 64}))
    with pytest.raises(InputError, match="not those of this MelCNN"):
        load_encoder(folder)
    (folder / "config.json").write_text(json.dumps(config | {"encoder_class": "Perceptron"}))
    with pytest.raises(InputError, match="Perceptron"):
        load_encoder(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="does not name"):
        load_encoder(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="not those"):
        load_encoder(folder)
    with pytest.raises(InputError, match="MelCNN, SampleCNN"):
        make_encoder("Perceptron")


@pytest.mark.parametrize(
    "encoder",
    [SampleCNN(strides=[3] * 5 + [1] * 5), ShortChunkCNN(channels=4, residual=True), MelCNN(n_mels=40)],
    ids=lambda encoder: type(encoder).__name__,
)
def test_arguments_are_saved(encoder, tmp_path):
    encoder.eval().save_pretrained(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    assert loaded.minimum_samples == encoder.minimum_samples
    waveforms = torch.randn(2, encoder.minimum_samples + 100)
    assert torch.equal(loaded(waveforms), encoder(waveforms))


def test_a_fused_encoder_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="fused encoder cannot be saved"):
        MelCNN().fuse().save_pretrained(tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
