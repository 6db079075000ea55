"""Fused encoders give what the encoders give."""

from __future__ import annotations

import pytest
import torch
from encoder_kinds import every_small_encoder, lived_in, small_sample_cnn
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded import noise
from torch import nn

from ssc_toolkit.encoders import ENCODERS, MelCNN, SampleCNN


def trained(encoder):
    """After two training steps: running statistics and weights are those of no fresh encoder."""
    lived_in(encoder).train()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=1e-3)
    for seed in range(2):
        optimizer.zero_grad()
        encoder(noise(2, encoder.min_samples + 27, seed=seed)).square().mean().backward()
        optimizer.step()
    return encoder.eval()


@every_small_encoder
def test_a_fused_encoder_equals_the_trained_one(make):
    encoder = trained(make())
    fused = encoder.fuse()
    for samples in (encoder.min_samples, 2 * encoder.min_samples + 100):
        waveforms = noise(9, samples, seed=samples) if samples < 10000 else noise(2, samples, seed=samples)
        with torch.no_grad():
            expected, features = encoder(waveforms), encoder(waveforms, frames=True)
            torch.testing.assert_close(fused(waveforms), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())
            torch.testing.assert_close(
                fused(waveforms, frames=True), features, rtol=1e-4, atol=1e-4 * features.abs().max().item()
            )


@settings(max_examples=10)
@given(strides=st.lists(st.integers(1, 3), min_size=10, max_size=10), extra=st.integers(0, 200))
def test_any_strides(strides, extra):
    encoder = lived_in(SampleCNN(strides=strides))
    encoder.sequential = encoder.sequential[:5]
    waveforms = noise(1, min(encoder.min_samples, 2000) + extra)
    with torch.no_grad():
        expected = encoder.encode_frames(waveforms)
        torch.testing.assert_close(encoder.fuse().encode_frames(waveforms), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", list(ENCODERS.values()), ids=list(ENCODERS))
def test_only_the_norm_of_the_spectrogram_is_left(make):
    left = [part for part in make().fuse().modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert all(part.num_features == 1 for part in left)


def test_the_encoder_is_left_as_it_was():
    encoder = small_sample_cnn().train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    fused = encoder.fuse()
    with torch.no_grad():
        fused(noise(2, encoder.min_samples))
    assert encoder.training
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert list(before) == list(encoder.state_dict())


def test_a_fused_encoder_stays_in_eval_mode():
    fused = MelCNN().fuse()
    assert not fused.train().training
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert torch.equal(fused.fuse()(noise(2, 4000)), fused(noise(2, 4000)))


def test_layers_with_hooks_are_kept():
    encoder = small_sample_cnn().eval()
    seen = []
    encoder.sequential[3][1].register_forward_hook(lambda *arguments: seen.append(arguments))
    waveforms = noise(2, encoder.min_samples)
    with torch.no_grad():
        torch.testing.assert_close(encoder.fuse()(waveforms), encoder(waveforms), rtol=1e-4, atol=1e-5)
    assert len(seen) == 2
