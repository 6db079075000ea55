"""Training on a CPU in slices of the batch equals training layer by layer."""

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
from torch import nn

from ssc_toolkit.encoders import LogMel, MelCNN, SampleCNN, first_layer
from ssc_toolkit.encoders.first_layer import normalize_image
from ssc_toolkit.encoders.sliced_blocks import apply_layers


def layer_by_layer(encoder):
    """A copy in which each batch norm has a hook, so that all layers are called."""
    plain = copy.deepcopy(encoder)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.register_forward_hook(lambda *arguments: None)
    return plain


def assert_close(found, expected, tolerance, least=0.0):
    """Assert that differences are small relative to the largest value, and to a least value."""
    largest = max(expected.abs().max().item(), least)
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * largest)


def assert_same_step(found, expected, tolerance):
    assert_close(found[0], expected[0], tolerance)
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert one.keys() == other.keys()
        # The gradient of a bias before a batch norm is zero, but for rounding errors of the other gradients.
        least = 0.01 * max(value.abs().max().item() for value in other.values())
        for name in one:
            assert_close(one[name].double(), other[name].double(), tolerance, least)


@pytest.fixture(autouse=True)
def small_slices(monkeypatch):
    """Slices of a few examples, so that batches of tests have several."""
    monkeypatch.setattr(first_layer, "_SLICE_BYTES", 2**14)


@every_small_encoder
def test_a_step_equals_one_layer_by_layer(make):
    encoder = lived_in(make()).train().double()
    waveforms = noise(3, 2, encoder.min_samples + 81).double()
    expected = training_step(layer_by_layer(encoder), waveforms)
    assert_same_step(training_step(encoder, waveforms), expected, 1e-8)


@pytest.mark.slow
def test_a_compiled_step_equals_an_eager_one():
    encoder = MelCNN(n_mels=24, channels=4, embedding_dim=16).train().double()
    compiled = torch.compile(copy.deepcopy(encoder), backend="eager", fullgraph=True)
    waveforms = noise(6, 8000).double()
    output, *named = training_step(compiled, waveforms)
    found = [{name.removeprefix("_orig_mod."): value for name, value in part.items()} for part in named]
    assert_same_step((output, *found), training_step(encoder, waveforms), 1e-9)


@pytest.mark.parametrize("make", [MelCNN, small_sample_cnn])
def test_a_step_in_single_precision_is_as_exact_as_before(make):
    encoder = lived_in(make()).train()
    waveforms = 0.1 * noise(6, encoder.min_samples + 4000)
    exact = training_step(copy.deepcopy(encoder).double(), waveforms.double())
    plain, sliced = training_step(layer_by_layer(encoder), waveforms), training_step(encoder, waveforms)

    def error(found):
        return max((found[1][name] - value).norm() / value.norm().clamp(min=1e-6) for name, value in exact[1].items())

    assert (sliced[0] - exact[0]).norm() < 1e-5 * exact[0].norm()
    assert error(sliced) < max(2 * error(plain), 1e-3)


class Reference(nn.Module):
    """Convolution, batch norm, ReLU and max-pooling written out with means, in this order."""

    def __init__(self, layers, width):
        super().__init__()
        self.layers, self.width = layers, width

    def forward(self, input):
        conv, norm = self.layers[:2]
        kernel, stride, padding = conv.kernel_size[0], conv.stride[0], conv.padding[0]
        windows = nn.functional.pad(input, (padding, padding)).unfold(-1, kernel, stride)
        features = torch.einsum("nclk,ock->nol", windows, conv.weight)
        if conv.bias is not None:
            features = features + conv.bias[:, None]
        mean = features.mean((0, 2))
        variance = (features - mean[:, None]).square().mean((0, 2))
        count = features.shape[0] * features.shape[2]
        with torch.no_grad():
            norm.num_batches_tracked += 1
            factor = norm.momentum or 1 / norm.num_batches_tracked.item()
            norm.running_mean += factor * (mean - norm.running_mean)
            norm.running_var += factor * (variance * count / (count - 1) - norm.running_var)
        scale = norm.weight / (variance + norm.eps).sqrt()
        features = ((features - mean[:, None]) * scale[:, None] + norm.bias[:, None]).relu()
        ends = features.shape[-1] // self.width * self.width
        return features[..., :ends].unflatten(-1, (-1, self.width)).amax(-1)


def block(width, stride=1, padding=1, bias=True, momentum=0.1, channels=2):
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4, momentum=momentum)
    norm.weight.data = torch.tensor([-1.5, 0.5, 0.0, 2.0])
    norm.bias.data.normal_()
    conv = nn.Conv1d(channels, 4, 3, stride, padding, bias=bias)
    return nn.Sequential(conv, norm, nn.MaxPool1d(width), nn.ReLU()).double()


@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.parametrize("settings", [{}, {"stride": 2, "padding": 0}, {"bias": False, "momentum": None}])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_block_equals_its_equations(width, settings, is_first):
    layers = block(width, **settings)
    reference = Reference(copy.deepcopy(layers), width)
    found, expected = [], []
    for seed in range(2):
        inputs = [noise(300, 2, 32, seed=seed).double().requires_grad_(not is_first) for _ in range(2)]
        output, other = apply_layers(layers, inputs[0]), reference(inputs[1])
        (output * output.detach().cos()).sum().backward()
        (other * other.detach().cos()).sum().backward()
        found += [output, *(value.grad for value in layers.parameters())]
        expected += [other, *(value.grad for value in reference.parameters())]
        if not is_first:
            found.append(inputs[0].grad)
            expected.append(inputs[1].grad)
    found += layers.buffers()
    expected += reference.buffers()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_of_equal_maxima_the_first_has_the_gradient():
    layers = block(3)
    plain = copy.deepcopy(layers)
    plain[2].register_forward_hook(lambda *arguments: None)
    gradients = []
    for each in (layers, plain):
        input = torch.zeros(4, 2, 12).double()
        input[:2, :, 4:] = 1.0
        apply_layers(each, input.requires_grad_()).sum().backward()
        gradients.append(input.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-9)
    assert gradients[0].any()


def test_a_constant_offset_of_the_waveform_loses_no_precision():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv1d(1, 8, 3, 3), nn.BatchNorm1d(8), nn.ReLU())
    waveforms = 1e-3 * noise(8, 1, 3000) + 0.5
    exact = apply_layers(copy.deepcopy(layers).double(), waveforms.double())
    expected = copy.deepcopy(layers)(waveforms)
    found = apply_layers(layers, waveforms)
    assert (found - exact).abs().max() < 2 * (expected - exact).abs().max()


def test_weight_and_bias_of_the_norm_of_an_image_are_trained():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(1).double()
    norm.weight.data.fill_(1.7)
    norm.bias.data.fill_(-0.4)
    layers = nn.Sequential(nn.Conv2d(1, 3, 3, 2, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3)).double()
    image, modules = noise(50, 1, 12, 10).double(), nn.ModuleList([norm, layers])
    plain = copy.deepcopy(modules)
    found = apply_layers(layers, *normalize_image(norm, image))
    expected = plain[1](plain[0](image))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    (found * expected.detach().cos()).sum().backward()
    (expected * expected.detach().cos()).sum().backward()
    for one, other in zip(modules.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-8)
    for one, other in zip(modules.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_of_gradients():
    layers = block(2)
    plain = layer_by_layer(layers)
    found = []
    for each in (layers, plain):
        input = noise(30, 2, 16).double().requires_grad_()
        (gradient,) = torch.autograd.grad(apply_layers(each, input).square().sum(), input, create_graph=True)
        gradient.square().sum().backward()
        found.append([input.grad, *(value.grad for name, value in each.named_parameters() if name != "0.bias")])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("make", [MelCNN, small_sample_cnn, small_short_chunk])
def test_gradients_of_waveforms(make):
    encoder = lived_in(make()).train().double()
    gradients = []
    for each in (encoder, layer_by_layer(encoder)):
        waveforms = noise(3, encoder.min_samples + 500).double().requires_grad_()
        each(waveforms).square().sum().backward()
        gradients.append(waveforms.grad)
    assert_close(*gradients, 1e-8)


def test_sliced_and_plain_calls_share_a_graph():
    layers = nn.Sequential(nn.Conv1d(2, 4, 3, bias=False), nn.BatchNorm1d(4), nn.MaxPool1d(2), nn.ReLU())
    plain = copy.deepcopy(layers)
    first, second = noise(6, 2, 20), noise(6, 2, 20)
    for model, call in ((layers, apply_layers), (plain, lambda model, input: model(input))):
        (model(first).sum() + (call(model, second) ** 2).sum()).backward()
    for own, expected in zip(layers.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.grad, expected.grad, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layers[1].running_var, plain[1].running_var)


def test_frozen_weights_get_no_gradient():
    layers = block(2)
    layers[0].weight.requires_grad_(False)
    input = noise(30, 2, 16).double().requires_grad_()
    apply_layers(layers, input).sum().backward()
    assert layers[0].weight.grad is None
    assert input.grad.any()


def test_transforms_of_functions_use_the_layers():
    encoder = small_sample_cnn().train()
    waveforms = noise(4, encoder.min_samples + 81)
    weights, buffers = dict(encoder.named_parameters()), dict(encoder.named_buffers())

    def loss(weights):
        state = weights | {name: value.clone() for name, value in buffers.items()}
        return torch.func.functional_call(encoder, state, (waveforms,)).square().mean()

    found = torch.func.grad(loss)(weights)
    loss(weights).backward()
    for name, weight in weights.items():
        if not name.endswith("0.bias"):
            assert_close(found[name], weight.grad, 1e-3)


def test_a_layer_that_mixes_examples_is_called_once():
    class Center(nn.Module):
        def forward(self, features):
            return features - features.mean(0)

    layers = nn.Sequential(nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), Center(), nn.Conv1d(4, 2, 3)).double()
    input = noise(200, 1, 40).double()
    expected = copy.deepcopy(layers)(input)
    torch.testing.assert_close(apply_layers(layers, input), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_single_value_has_no_variance(channels):
    layers = block(1, padding=0, channels=channels)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        apply_layers(layers, torch.zeros(1, channels, 3).double())


def test_less_memory_is_kept_for_the_backward_pass():
    encoder = SampleCNN(strides=(3,) * 6 + (1,) * 4).train()
    waveforms = noise(8, 1, 5000)
    assert kept_for_backward(encoder, waveforms) < 0.8 * kept_for_backward(layer_by_layer(encoder), waveforms)


def test_the_log_mel_spectrogram_equals_its_equation():
    front_end = LogMel(16000, n_fft=400, hop_length=160, n_mels=20).double()
    waveforms = noise(3, 4000).double()
    frames = waveforms.unfold(-1, 400, 160) * torch.hann_window(400).double()
    angles = 2 * torch.pi * torch.outer(torch.arange(400), torch.arange(201)).double() / 400
    power = (frames @ angles.cos()).square() + (frames @ angles.sin()).square()
    expected = (1 + 1e3 * power[..., : len(front_end.bands)] @ front_end.bands).log().transpose(1, 2)
    torch.testing.assert_close(front_end(waveforms), expected, rtol=1e-6, atol=1e-6)
