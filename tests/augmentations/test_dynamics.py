"""Level curves, resolution and the codec."""

from __future__ import annotations

import math

import pytest
import torch
from signals import RATE, chorale, log_spectral_distance, plucked, tone

from ssc_toolkit.augmentations import (
    MP3,
    BitCrush,
    Clipping,
    Compression,
    Distortion,
)
from ssc_toolkit.augmentations.mp3 import BIT_RATES_KBPS


def test_distortion_is_the_hyperbolic_tangent():
    waveforms = torch.linspace(-1, 1, 101)[None, None]
    torch.testing.assert_close(Distortion(20.0)(waveforms), torch.tanh(10 * waveforms))


def test_clipping_flattens_what_exceeds_the_threshold():
    result = Clipping(-6.0206)(tone(440.0))
    assert result.abs().max().item() == pytest.approx(0.5, abs=1e-3)
    quiet = tone(440.0).abs() < 0.49
    assert torch.equal(result[quiet], tone(440.0)[quiet])


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
def test_bitcrush_leaves_so_many_levels(bits):
    waveforms = torch.linspace(-1, 1, 2**18)[None, None]
    result = BitCrush(bits)(waveforms)
    assert len(result.unique()) == 2**bits + 1  # both ends of the range are reached
    assert (result - waveforms).abs().max() <= 2.0**-bits * 1.001


def test_rounding_and_codec_pass_gradients_straight_through():
    for transform in (BitCrush(3), MP3(32, implementation="codec", sample_rate=RATE)):
        waveforms = (0.1 * torch.randn(2, 1, 2000)).requires_grad_()
        weight = torch.randn(2, 1, 2000)
        (transform(waveforms) * weight).sum().backward()
        torch.testing.assert_close(waveforms.grad, weight)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 4.0, 20.0])
@pytest.mark.parametrize("level", [-40.0, -25.0, -15.0, -3.0])
def test_compression_follows_its_static_curve(level, ratio):
    threshold = -20.0
    steady = 10 ** (level / 20) * tone(1000.0)
    compressed = Compression(threshold, ratio, 1.0, 200.0, 6.0, sample_rate=RATE)(steady)[0, 0, RATE:]
    expected = level - max(0, level - threshold) * (1 - 1 / ratio) + 6.0
    assert 20 * math.log10(compressed.abs().max()) == pytest.approx(expected, abs=0.3)


def test_compression_attacks_and_releases_in_its_time():
    # A step up by 40 dB at 0.5 s, and down again at 1 s; constants, so that the level is that of each sample.
    waveforms = torch.full((1, 1, 2 * RATE), 0.01)
    waveforms[..., RATE // 2 : RATE] = 1.0
    attack, release, full_db = 0.02, 0.1, 20 * (1 - 1 / 4)
    gain = Compression(-20.0, 4.0, 1000 * attack, 1000 * release, sample_rate=RATE)(waveforms) / waveforms
    reduction = -20 * torch.log10(gain[0, 0])
    time = torch.arange(1, RATE // 2 + 1) / RATE
    assert reduction[: RATE // 2].abs().max() < 1e-3
    attacking = reduction[RATE // 2 : RATE]
    assert (attacking - full_db * (1 - torch.exp(-time / attack))).abs().max() < 0.05
    after = reduction[RATE + round(8 * attack * RATE) : RATE + round(8 * attack * RATE) + 2000]
    assert (after[0] / after[-1]).log().item() == pytest.approx(1999 / RATE / release, rel=0.02)


def naive_compression(samples, threshold, ratio, attack, release):
    """The recursion, sample by sample."""
    held = smooth = 0.0
    out = []
    for x in samples:
        excess = max(0.0, 20 * math.log10(max(abs(x), 1e-6)) - threshold) * (1 - 1 / ratio)
        held = max(excess, math.exp(-1 / release) * held)
        smooth += (1 - math.exp(-1 / attack)) * (held - smooth)
        out.append(x * 10 ** (-smooth / 20))
    return torch.tensor(out)


def test_compression_without_a_loop_equals_the_recursion():
    samples = (0.5 * torch.randn(3000)) * torch.linspace(0, 1, 3000).mul(9).sin()
    compress = Compression(-30.0, 6.0, 2.0, 20.0, sample_rate=RATE)
    expected = naive_compression(samples.tolist(), -30.0, 6.0, 0.002 * RATE, 0.02 * RATE)
    torch.testing.assert_close(compress(samples[None, None])[0, 0], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100])
def test_mp3_neither_shifts_nor_changes_the_length(rate):
    time = torch.arange(rate) / rate
    sweep = 0.3 * torch.sin(2 * math.pi * (200 * time + 400 * time**2))[None, None]
    for bitrate in BIT_RATES_KBPS[rate]:
        coded = MP3(bitrate, implementation="codec", sample_rate=rate)(sweep)
        gain = (coded * sweep).sum() / coded.square().sum()
        error = (gain * coded - sweep).square().sum() / sweep.square().sum()
        assert -10 * math.log10(error) > (3 if bitrate == 8 else 15)


@pytest.mark.parametrize("bitrate", [16, 24, 32, 64, 128])
def test_mp3_approximation_has_about_the_error_of_the_codec(bitrate):
    music = chorale(0)
    errors, distances = [], []
    for implementation in ("codec", "approximation"):
        coded = MP3(bitrate, implementation=implementation, sample_rate=RATE)(music)
        gain = (coded * music).sum() / coded.square().sum()
        errors.append(-10 * math.log10((gain * coded - music).square().sum() / music.square().sum()))
        distances.append(log_spectral_distance(coded[0, 0], music[0, 0]))
    assert errors[1] == pytest.approx(errors[0], abs=6)
    assert distances[1] == pytest.approx(distances[0], rel=0.3)


def test_a_lower_bit_rate_loses_more():
    music = plucked(196.0, 293.66, 392.0, 246.94)
    for implementation in ("codec", "approximation"):
        losses = [
            (MP3(bitrate, implementation=implementation, sample_rate=RATE)(music) / 0.95 - music).square().mean()
            for bitrate in (8, 16, 32, 64, 128)
        ]
        assert losses == sorted(losses, reverse=True)
