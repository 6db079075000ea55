"""Modules of others as encoders."""

from __future__ import annotations

import pytest
import torch
from seeded import noise
from torch import nn

from ssc_toolkit.encoders import ContrastiveModel, EncoderAdapter, LogMel

SAMPLES = 4000


class Backbone(nn.Module):
    """An image backbone in small."""

    def __init__(self, channels: int = 3, flat: bool = True) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(channels, 24, 3, stride=2), nn.BatchNorm2d(24), nn.ReLU())
        self.flat = flat

    def forward(self, image):
        features = self.features(image)
        return features.mean((2, 3)) if self.flat else features


def transformer() -> nn.Module:
    from torchaudio.models import wav2vec2_model

    return wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=[(16, 10, 5), (16, 8, 4)],
        extractor_conv_bias=False,
        encoder_embed_dim=20,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=4,
        encoder_pos_conv_groups=2,
        encoder_num_layers=3,
        encoder_num_heads=2,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=32,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_backbone_over_a_mel_spectrogram(channels):
    backbone, log_mel = Backbone(channels).eval(), LogMel(8000, 512, 256, 40)
    encoder = EncoderAdapter(backbone, 8000, log_mel=log_mel, image_channels=channels).eval()
    waveforms = noise(2, 2, 1, 9000)
    image = log_mel(waveforms.flatten(0, 2))[:, None].repeat(1, channels, 1, 1)
    assert encoder.embedding_dim == 24
    torch.testing.assert_close(encoder(waveforms), backbone(image).view(2, 2, 24))
    assert encoder(waveforms, frames=True).shape == (2, 2, 1, 24)


def test_a_feature_map_gives_frames():
    encoder = EncoderAdapter(Backbone(flat=False), 8000, log_mel=LogMel(8000), image_channels=3).eval()
    waveforms = noise(2, 20000)
    features = encoder(waveforms, frames=True)
    assert features.shape[1] > 2
    torch.testing.assert_close(features.mean(1), encoder(waveforms))


def test_a_torchaudio_model_and_its_layers():
    model = transformer().eval()
    waveforms = noise(2, 1, 6000)
    last = EncoderAdapter(model, 16000, minimum_samples=SAMPLES)
    assert last.embedding_dim == 20
    torch.testing.assert_close(last(waveforms), model(waveforms[:, 0])[0].mean(1))
    torch.testing.assert_close(last(waveforms, frames=True), model(waveforms[:, 0])[0])
    first = EncoderAdapter(model, 16000, method="extract_features", layer=0, minimum_samples=SAMPLES)
    torch.testing.assert_close(first(waveforms), model.extract_features(waveforms[:, 0])[0][0].mean(1))


def test_looking_for_the_width_changes_nothing():
    backbone = Backbone().train()
    backbone.features[1].eval()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    encoder = EncoderAdapter(backbone, 8000, log_mel=LogMel(8000), image_channels=3)
    assert encoder.training
    assert backbone.features[0].training
    assert not backbone.features[1].training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())


def test_it_trains_in_a_model_and_fuses():
    encoder = EncoderAdapter(Backbone(), 8000, log_mel=LogMel(8000), image_channels=3)
    model = ContrastiveModel(encoder)
    for _ in range(3):
        model(noise(4, 1, 9000)).projection.square().mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    encoder.eval()
    fused = encoder.fuse()
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fused.modules())
    torch.testing.assert_close(fused(noise(3, 9000)), encoder(noise(3, 9000)), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_is_said(tmp_path):
    encoder = EncoderAdapter(Backbone(), 8000, log_mel=LogMel(8000), image_channels=3)
    with pytest.raises(ValueError, match="cannot be saved"):
        encoder.save_pretrained(tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()
    with pytest.raises(ValueError, match="its own switch"):
        encoder.gradient_checkpointing_()
    with pytest.raises(ValueError, match="image_channels"):
        EncoderAdapter(Backbone(), 8000, log_mel=LogMel(8000), image_channels=2)
    with pytest.raises(ValueError, match="expected 25, the module gives 24"):
        EncoderAdapter(Backbone(), 8000, log_mel=LogMel(8000), image_channels=3, embedding_dim=25)(noise(2, 9000))
    with pytest.raises(TypeError, match="expected it to give"):
        EncoderAdapter(nn.Flatten(0), 8000)
