"""SampleCNN, SampleCNN-XL and TUNe+ against an independent statement of their layer lists."""

from __future__ import annotations

import itertools

import pytest
import torch
from encoder_kinds import lived_in, parameters
from seeded import noise
from torch.nn import functional as F

from ssc_toolkit.encoders import SampleCNN, SampleCNNXL, ShortChunkCNN, TUNePlus


@pytest.mark.parametrize(("make", "count"), [(SampleCNN, 2_368_512), (SampleCNNXL, 25_190_400), (TUNePlus, 2_220_390)])
def test_the_published_number_of_parameters(make, count):
    assert parameters(make()) == count


def test_parameters_of_the_short_chunk_cnn():
    widths = [1, 128, 128, 256, 256, 256, 256, 512]
    convolutions = sum(9 * a * b + b + 2 * b for a, b in itertools.pairwise(widths))
    assert parameters(ShortChunkCNN()) == 2 + convolutions
    doubled = sum(2 * (9 * a * b + 3 * b) + 9 * b * b + 3 * b for a, b in itertools.pairwise(widths))
    assert parameters(ShortChunkCNN(residual=True)) == 2 + doubled


def layer(weights, name, signal, stride=1, padding=1):
    """Convolution, batch norm by the running statistics, ReLU."""
    signal = F.conv1d(signal, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"], stride, padding)
    mean, variance = weights[f"{name}.1.running_mean"][:, None], weights[f"{name}.1.running_var"][:, None]
    scale, shift = weights[f"{name}.1.weight"][:, None], weights[f"{name}.1.bias"][:, None]
    return ((signal - mean) / (variance + 1e-5).sqrt() * scale + shift).clamp(min=0)


def pool(signal):
    frames = signal.shape[-1] // 3
    return signal[..., : 3 * frames].unflatten(-1, (frames, 3)).amax(-1)


@pytest.mark.parametrize(
    ("make", "widths"),
    [
        (SampleCNN, [128, 128, 128, 256, 256, 256, 256, 256, 256, 512]),
        (SampleCNNXL, [128, 128, 128, 256, 256, 512, 512, 1024, 1024, 2048]),
    ],
)
def test_sample_cnn_equals_its_layer_list(make, widths):
    """conv3/3; nine times conv3, norm, ReLU, max-pool 3; conv3; per CLMR and SemiSupCon."""
    encoder = lived_in(make())
    weights = encoder.state_dict()
    waveforms = noise(1, 59535)
    signal = layer(weights, "sequential.0", waveforms[:, None], stride=3, padding=0)
    found = [signal.shape[1]]
    for number in range(1, 10):
        signal = pool(layer(weights, f"sequential.{number}", signal))
        found.append(signal.shape[1])
    signal = layer(weights, "sequential.10", signal)
    assert found == widths
    assert signal.shape == (1, widths[-1], 1)
    with torch.no_grad():
        torch.testing.assert_close(encoder(waveforms), signal[..., 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [59049, 59535])
def test_tune_plus_equals_its_layer_list(samples):
    encoder = lived_in(TUNePlus())
    w = encoder.state_dict()
    c = 11

    def raised(number, signal, width):
        signal = F.conv_transpose1d(signal, w[f"upsample.{number}.weight"], w[f"upsample.{number}.bias"], stride=3)
        assert signal.shape[1] == width
        return signal

    waveforms = noise(2, samples)
    d1 = layer(w, "down.0", waveforms[:, None])
    d2 = layer(w, "down.1", pool(d1))
    d3 = layer(w, "down.2", pool(d2))
    d4 = layer(w, "down.3", pool(d3))
    d5 = layer(w, "down.4", pool(d4))
    u4 = layer(w, "up.0", torch.cat([raised(0, d5, 8 * c), d4], 1))
    u3 = layer(w, "up.1", torch.cat([raised(1, u4, 4 * c), d3], 1))
    u2 = layer(w, "up.2", torch.cat([raised(2, u3, 2 * c), d2], 1))
    u1 = layer(w, "up.3", torch.cat([raised(3, u2, c), d1], 1))
    assert [part.shape[1] for part in (d1, d2, d3, d4, d5)] == [c, 2 * c, 4 * c, 8 * c, 16 * c]
    assert [part.shape[1] for part in (u4, u3, u2, u1)] == [8 * c, 4 * c, 2 * c, c]
    t2 = layer(w, "tail.0", torch.cat([pool(u1), u2], 1))
    t3 = layer(w, "tail.1", torch.cat([pool(t2), u3], 1))
    t4 = layer(w, "tail.2", torch.cat([pool(t3), u4], 1))
    t5 = layer(w, "tail.3", torch.cat([pool(t4), d5], 1))
    signal = layer(w, "extra.0", pool(t5))
    assert signal.shape[1] == 32 * c
    for number in (1, 2, 3):
        signal = layer(w, f"extra.{number}", pool(signal))
    signal = layer(w, "last", pool(signal))
    assert signal.shape == (2, 512, 3)
    with torch.no_grad():
        torch.testing.assert_close(encoder(waveforms), signal.mean(-1), rtol=1e-4, atol=1e-5)


def test_tune_plus_leaves_out_what_fills_no_window():
    encoder = lived_in(TUNePlus())
    waveforms = noise(1, 59049 + 80)
    with torch.no_grad():
        assert torch.equal(encoder(waveforms), encoder(waveforms[:, :59049]))


def test_tune_plus_is_drawn_kaiming_uniform():
    torch.manual_seed(0)
    for name, parameter in TUNePlus().named_parameters():
        if parameter.dim() == 3 and "upsample" not in name:
            fan_in = parameter[0].numel()
            bound = (6 / fan_in) ** 0.5
            assert parameter.abs().max() <= bound
            assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.3)


def test_the_short_chunk_cnn_equals_its_layer_list():
    encoder = lived_in(ShortChunkCNN(channels=8))
    w = encoder.state_dict()
    waveforms = noise(2, 70000)
    with torch.no_grad():
        image = encoder.log_mel(waveforms)[:, None]
        assert image.shape == (2, 1, 128, 70000 // 256 + 1)

        def norm(name, image):
            statistics = w[f"{name}.running_mean"], w[f"{name}.running_var"]
            return F.batch_norm(image, *statistics, w[f"{name}.weight"], w[f"{name}.bias"])

        image = norm("scale", image)
        for number in range(7):
            name = f"layers.{number}"
            image = F.conv2d(image, w[f"{name}.0.weight"], w[f"{name}.0.bias"], padding=1)
            image = F.max_pool2d(norm(f"{name}.1", image).relu(), 2)
        assert image.shape == (2, 32, 1, 2)
        torch.testing.assert_close(encoder(waveforms), image.amax(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_bad_strides_are_named():
    with pytest.raises(ValueError, match="strides: expected 10"):
        SampleCNN(strides=(3, 3))
    with pytest.raises(ValueError, match="strides"):
        SampleCNN(strides=(3,) * 9 + (0,))
    with pytest.raises(ValueError, match="channels"):
        TUNePlus(channels=0)


@pytest.mark.parametrize(("rate", "n_fft"), [(8000, 512), (16000, 512), (22050, 512), (44100, 1024), (48000, 2048)])
def test_short_chunk_windows_keep_their_duration_at_other_rates(rate, n_fft):
    encoder = ShortChunkCNN(rate, channels=1)
    assert (encoder.log_mel.n_fft, encoder.min_samples) == (n_fft, 127 * n_fft // 2)
    assert (~encoder.log_mel.bands.any(dim=0)).sum() <= 3
    with torch.no_grad():
        assert encoder(noise(1, encoder.min_samples)).shape == (1, 4)
