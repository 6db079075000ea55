"""Gradient checkpointing changes nothing but memory."""

from __future__ import annotations

import copy

import pytest
import torch
from encoder_kinds import (
    every_small_encoder,
    kept_for_backward,
    lived_in,
    small_sample_cnn,
    small_short_chunk,
    training_step,
)
from seeded import noise


@every_small_encoder
def test_output_gradients_and_running_statistics_are_the_same(make):
    plain = lived_in(make()).train()
    sparing = copy.deepcopy(plain).gradient_checkpointing_()
    waveforms = noise(2, plain.min_samples + 81)
    expected, found = training_step(plain, waveforms), training_step(sparing, waveforms)
    assert torch.equal(found[0], expected[0])
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("momentum", [0.1, None])
def test_momentum_is_restored(momentum):
    encoder = small_sample_cnn().train()
    norms = [part for part in encoder.modules() if isinstance(part, torch.nn.BatchNorm1d)]
    for norm in norms:
        norm.momentum = momentum
    plain = copy.deepcopy(encoder)
    waveforms = noise(2, encoder.min_samples)
    state, expected = (training_step(model, waveforms)[2] for model in (encoder.gradient_checkpointing_(), plain))
    assert all(norm.momentum == momentum for norm in norms)
    assert all(torch.equal(state[name], expected[name]) for name in state)


def test_less_is_kept_for_the_backward_pass():
    encoder = small_sample_cnn().train()
    waveforms = noise(2, 20 * encoder.min_samples)
    whole = kept_for_backward(encoder, waveforms)
    assert kept_for_backward(encoder.gradient_checkpointing_(), waveforms) < 0.5 * whole
    assert kept_for_backward(encoder.gradient_checkpointing_(False), waveforms) == whole


def short_sample_cnn():
    """The first layers of one, in training mode."""
    encoder = lived_in(small_sample_cnn()).train()
    encoder.sequential = encoder.sequential[:3]
    return encoder


def test_several_backward_passes_through_one_forward_pass():
    plain = short_sample_cnn().double()
    found = []
    for encoder in (plain, copy.deepcopy(plain).gradient_checkpointing_()):
        weights = list(encoder.parameters())
        loss = encoder(noise(2, encoder.min_samples + 81).double()).square().sum()
        once = torch.autograd.grad(loss, weights, retain_graph=True)
        twice = torch.autograd.grad(loss, weights, create_graph=True)
        second = torch.autograd.grad(sum(gradient.square().sum() for gradient in twice), weights)
        found.append([*once, *twice, *second, *encoder.state_dict().values()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9 * one.abs().max().item())


@pytest.mark.slow
def test_a_compiled_encoder_trains_as_the_plain_one():
    plain = short_sample_cnn()
    sparing = copy.deepcopy(plain).gradient_checkpointing_()
    waveforms = noise(2, plain.min_samples + 81)
    expected = training_step(plain, waveforms)
    compiled = torch.compile(sparing, backend="aot_eager", fullgraph=True)
    (compiled(waveforms) * noise(*expected[0].shape)).sum().backward()
    for name, parameter in sparing.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[1][name])
    for name, value in sparing.named_buffers():
        torch.testing.assert_close(value, expected[2][name])


def test_nothing_is_run_twice_without_gradients():
    encoder = small_short_chunk().train().gradient_checkpointing_()
    with torch.no_grad():
        encoder(noise(2, encoder.min_samples))
    assert encoder.scale.num_batches_tracked == 1
    assert encoder.layers[0][1].num_batches_tracked == 1
