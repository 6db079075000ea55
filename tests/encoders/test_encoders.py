"""What every encoder promises: shapes, frames, errors, precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from encoder_kinds import every_encoder, every_small_encoder, lived_in, parameters, small_sample_cnn
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded import noise

from ssc_toolkit.encoders import ContrastiveModel, MelCNN, Projector, SampleCNN, ShortChunkCNN


@every_small_encoder
def test_every_input_form_gives_the_same_embeddings(make):
    encoder = lived_in(make())
    waveforms = noise(2, 2, 1, encoder.min_samples + 100)
    with torch.no_grad():
        expected = encoder(waveforms)
        assert expected.shape == (2, 2, encoder.embedding_dim)
        torch.testing.assert_close(encoder(waveforms.flatten(0, 1)), expected.flatten(0, 1))
        torch.testing.assert_close(encoder(waveforms[:, :, 0].flatten(0, 1)), expected.flatten(0, 1))
        stereo = waveforms.expand(-1, -1, 2, -1)
        torch.testing.assert_close(encoder(stereo), expected)


@every_encoder
def test_eval_mode_is_deterministic_and_does_not_mix_examples(make):
    encoder = lived_in(make())
    waveforms = noise(2, encoder.min_samples)
    with torch.no_grad():
        together = encoder(waveforms)
        assert torch.equal(encoder(waveforms), together)
        torch.testing.assert_close(encoder(waveforms[1:2]), together[1:2])


@every_small_encoder
@settings(max_examples=4)
@given(extra=st.integers(0, 5000), batch=st.integers(1, 3), channels=st.integers(1, 3))
def test_any_length_from_the_minimum_on(make, extra, batch, channels):
    encoder = lived_in(make())
    waveforms = noise(batch, channels, encoder.min_samples + extra, seed=extra)
    with torch.no_grad():
        embeddings, features = encoder(waveforms), encoder(waveforms, frames=True)
    assert embeddings.shape == (batch, encoder.embedding_dim)
    assert embeddings.isfinite().all()
    assert features.shape[::2] == (batch, encoder.embedding_dim)
    pooled = features.amax(1) if isinstance(encoder, ShortChunkCNN) else features.mean(1)
    torch.testing.assert_close(pooled, embeddings)


@every_small_encoder
def test_frames_of_views(make):
    encoder = lived_in(make())
    waveforms = noise(2, 2, 1, max(2 * encoder.min_samples, 40000) + 3000)
    with torch.no_grad():
        features = encoder(waveforms, frames=True)
        assert features.dim() == 4
        assert features.shape[2] > 1
        torch.testing.assert_close(features[1, 0], encoder(waveforms[1, 0], frames=True)[0])


def averaging(encoder):
    """The encoder with every layer an average of what it sees, so that nothing in reach goes without a gradient."""
    for module in list(encoder.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, torch.nn.ReLU):
                setattr(module, name, torch.nn.Identity())
            elif isinstance(layer, torch.nn.MaxPool1d | torch.nn.MaxPool2d):
                average = torch.nn.AvgPool1d if isinstance(layer, torch.nn.MaxPool1d) else torch.nn.AvgPool2d
                setattr(module, name, average(layer.kernel_size))
    for parameter in encoder.parameters():
        torch.nn.init.constant_(parameter, 1 / max(1, parameter[0].numel()))
    return encoder.eval().double()


def center(encoder, frame):
    """The middle sample of a frame, as the documentation has it."""
    if isinstance(encoder, MelCNN):
        return 2560 * frame + 1024
    if isinstance(encoder, ShortChunkCNN):
        return 32768 * frame + (16256 if isinstance(encoder.layers[0], torch.nn.Sequential) else 0)
    return encoder.min_samples * frame + (encoder.min_samples - 1) // 2


@every_small_encoder
def test_a_frame_sees_its_receptive_field_and_no_more(make):
    encoder = averaging(make())
    field = encoder.receptive_field_samples
    waveforms = noise(1, 2 * field + 2 * encoder.min_samples).double().requires_grad_()
    features = encoder(waveforms, frames=True)[0]
    frame = features[features.shape[0] // 2]
    seen = torch.autograd.grad(frame.sum(), waveforms)[0][0].nonzero()
    window_begins_with_zero = hasattr(encoder, "log_mel")
    assert (seen.max() - seen.min() + 1).item() == field - window_begins_with_zero
    assert (seen.max() + seen.min()).item() / 2 == center(encoder, features.shape[0] // 2)


@every_small_encoder
def test_bad_waveforms_are_named(make):
    encoder = make()
    with pytest.raises(ValueError, match=f"waveforms: expected at least {encoder.min_samples} samples"):
        encoder(torch.zeros(2, 1, encoder.min_samples - 1))
    with pytest.raises(ValueError, match="waveforms"):
        encoder(torch.zeros(encoder.min_samples))
    with pytest.raises(TypeError, match="floating point"):
        encoder(torch.zeros(2, encoder.min_samples, dtype=torch.int16))
    with pytest.raises(ValueError, match="at least one channel"):
        encoder(torch.zeros(2, 0, encoder.min_samples))
    for other in (np.zeros((2, encoder.min_samples), np.float32), [[0.0]], None):
        with pytest.raises(TypeError, match="waveforms: expected a tensor"):
            encoder(other)


def test_the_least_length_is_rounded_up():
    with pytest.raises(ValueError, match=r"32512 samples .*\(2\.04 s at 16000 Hz\)"):
        ShortChunkCNN(channels=2)(torch.zeros(1, 100))
    with pytest.raises(ValueError, match=r"3 samples .*\(3\.00 s at 1 Hz\)"):
        SampleCNN(1, (3, *[1] * 9))(torch.zeros(1, 1))


@every_small_encoder
def test_no_clips_give_no_embeddings(make):
    encoder = make().train()
    empty = torch.zeros(0, 2, 1, encoder.min_samples)
    statistics = {name: value.clone() for name, value in encoder.named_buffers() if value.is_floating_point()}
    assert encoder(empty).shape == (0, 2, encoder.embedding_dim)
    assert encoder(empty, frames=True).shape[::3] == (0, encoder.embedding_dim)
    assert encoder.fuse()(empty).shape == (0, 2, encoder.embedding_dim)
    assert all(torch.equal(value, dict(encoder.named_buffers())[name]) for name, value in statistics.items())


@every_small_encoder
def test_waveforms_are_cast_to_the_dtype_of_the_weights(make):
    encoder = lived_in(make())
    waveforms = noise(2, encoder.min_samples).bfloat16()
    with torch.no_grad():
        expected = encoder(waveforms.float())
        for dtype in (torch.float64, torch.bfloat16):
            assert torch.equal(encoder(waveforms.to(dtype)), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(encoder(waveforms.double()), encoder(waveforms.float()))


@every_small_encoder
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-3), (torch.bfloat16, 0.1)])
def test_other_precisions_agree(make, dtype, tolerance):
    encoder = lived_in(make())
    waveforms = noise(2, encoder.min_samples)
    with torch.no_grad():
        expected = encoder(waveforms)
        embeddings = encoder.to(dtype)(waveforms.to(dtype))
    assert embeddings.dtype == dtype
    assert (embeddings.double() - expected.double()).norm() < tolerance * expected.norm()


def test_a_compiled_encoder_agrees():
    encoder = lived_in(small_sample_cnn())
    waveforms = noise(2, 1, encoder.min_samples)
    compiled = torch.compile(encoder, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(waveforms), encoder(waveforms))


def test_projector_and_model():
    projector = Projector(512)
    assert parameters(projector) == 512 * 512 + 512 * 128
    assert all(getattr(layer, "bias", None) is None for layer in projector)
    output = ContrastiveModel(MelCNN())(torch.randn(2, 2, 1, 8000))
    assert output.representation.shape == (2, 2, 256)
    assert output.projection.shape == (2, 2, 128)


@pytest.mark.parametrize("make", [MelCNN, small_sample_cnn])
def test_an_exported_encoder_agrees(make):
    encoder = lived_in(make())
    exported = torch.export.export(encoder, (noise(2, encoder.min_samples),)).module()
    waveforms = noise(2, encoder.min_samples, seed=2)
    torch.testing.assert_close(exported(waveforms), encoder(waveforms))
