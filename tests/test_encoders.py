"""Contracts of the encoders, and SampleCNN against an independent statement of its layers."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ssc_toolkit.encoders import ContrastiveModel, LogMel, MelCNN, Projector, SampleCNN, load_encoder, make_encoder
from ssc_toolkit.errors import InputError

every_encoder = pytest.mark.parametrize("make", [MelCNN, SampleCNN])


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@every_encoder
def test_every_input_form_gives_the_same_embeddings(make):
    encoder = make().eval()
    waveforms = 0.1 * torch.randn(2, 3, 1, encoder.minimum_samples + 100)
    with torch.no_grad():
        expected = encoder(waveforms)
        assert expected.shape == (2, 3, encoder.embedding_dim)
        torch.testing.assert_close(encoder(waveforms.flatten(0, 1)), expected.flatten(0, 1))
        torch.testing.assert_close(encoder(waveforms[:, :, 0].flatten(0, 1)), expected.flatten(0, 1))
        stereo = waveforms.expand(-1, -1, 2, -1)
        torch.testing.assert_close(encoder(stereo), expected)


@every_encoder
def test_eval_mode_is_deterministic_and_does_not_mix_examples(make):
    encoder = make().eval()
    waveforms = 0.1 * torch.randn(3, encoder.minimum_samples)
    with torch.no_grad():
        together = encoder(waveforms)
        assert torch.equal(encoder(waveforms), together)
        torch.testing.assert_close(encoder(waveforms[1:2]), together[1:2])


@every_encoder
@settings(max_examples=8)
@given(extra=st.integers(0, 5000), batch=st.integers(1, 3))
def test_any_length_from_the_minimum_on(make, extra, batch):
    encoder = make().eval()
    with torch.no_grad():
        assert encoder(torch.zeros(batch, encoder.minimum_samples + extra)).isfinite().all()


@every_encoder
def test_bad_waveforms_are_named(make):
    encoder = make()
    with pytest.raises(ValueError, match="needs at least"):
        encoder(torch.zeros(2, 1, encoder.minimum_samples - 1))
    with pytest.raises(ValueError, match="waveforms"):
        encoder(torch.zeros(encoder.minimum_samples))
    with pytest.raises(TypeError, match="floating point"):
        encoder(torch.zeros(2, encoder.minimum_samples, dtype=torch.int16))


def test_sample_cnn_has_the_published_number_of_parameters():
    assert parameters(SampleCNN()) == 2_368_512


def test_sample_cnn_equals_its_layer_list():
    """conv3/3 to 128; nine times conv3, norm, ReLU, max-pool 3; conv3; per CLMR and SemiSupCon."""
    torch.manual_seed(0)
    encoder = SampleCNN().eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    weights = encoder.state_dict()

    def layer(signal, prefix, stride, padding):
        signal = F.conv1d(signal, weights[f"{prefix}.0.weight"], weights[f"{prefix}.0.bias"], stride, padding)
        mean, variance = weights[f"{prefix}.1.running_mean"], weights[f"{prefix}.1.running_var"]
        scale, shift = weights[f"{prefix}.1.weight"], weights[f"{prefix}.1.bias"]
        signal = (signal - mean[:, None]) / (variance[:, None] + 1e-5).sqrt() * scale[:, None] + shift[:, None]
        return signal.clamp(min=0)

    waveforms = torch.randn(2, 59535)
    signal = layer(waveforms[:, None], "sequential.0", stride=3, padding=0)
    widths = [signal.shape[1]]
    for number in range(1, 10):
        signal = layer(signal, f"sequential.{number}", stride=1, padding=1)
        frames = signal.shape[-1] // 3
        signal = signal[..., : 3 * frames].unflatten(-1, (frames, 3)).amax(-1)
        widths.append(signal.shape[1])
    signal = layer(signal, "sequential.10", stride=1, padding=1)
    assert widths == [128, 128, 128, 256, 256, 256, 256, 256, 256, 512]
    assert signal.shape == (2, 512, 1)
    with torch.no_grad():
        torch.testing.assert_close(encoder(waveforms), signal[..., 0], rtol=1e-4, atol=1e-5)


def test_log_mel_agrees_with_torchaudio():
    from torchaudio.transforms import MelSpectrogram

    front_end = LogMel(16000, n_fft=1024, hop_length=320, n_mels=40, compression=10.0)
    reference = MelSpectrogram(
        16000, n_fft=1024, hop_length=320, n_mels=40, f_min=30, f_max=8000, center=False, mel_scale="slaney"
    )
    waveforms = torch.randn(11, 8000)
    torch.testing.assert_close(front_end(waveforms), torch.log1p(10 * reference(waveforms)), rtol=1e-4, atol=1e-4)


def test_log_mel_stays_in_float32_under_autocast():
    front_end = LogMel(16000)
    waveforms = torch.randn(2, 8000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(front_end(waveforms), front_end(waveforms.clone()))
        assert front_end(waveforms).dtype == torch.float32


def test_a_tone_keeps_its_place_in_the_bands():
    front_end = LogMel(16000, n_fft=2048, n_mels=96, highest_hz=5000)
    time = torch.arange(16000) / 16000
    loudest = [
        front_end(torch.sin(2 * torch.pi * f * time)[None])[0].mean(-1).argmax().item() for f in (220, 440, 880, 1760)
    ]
    assert loudest == sorted(set(loudest))


def test_projector_and_model():
    projector = Projector(512)
    assert parameters(projector) == 512 * 512 + 512 * 128
    assert all(getattr(layer, "bias", None) is None for layer in projector)
    output = ContrastiveModel(MelCNN())(torch.randn(2, 2, 1, 8000))
    assert output.representation.shape == (2, 2, 256)
    assert output.projection.shape == (2, 2, 128)


@every_encoder
def test_saving_and_loading(make, tmp_path, capsys):
    torch.manual_seed(1)
    encoder = make().eval()
    encoder.save_pretrained(tmp_path / "encoder")
    loaded = load_encoder(tmp_path / "encoder")
    waveforms = torch.randn(2, encoder.minimum_samples)
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
