"""The mel front end: its values, its normalizations, its precision."""

from __future__ import annotations

import pytest
import torch
from seeded import noise

from ssc_toolkit.encoders import LogMel


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
    front_end = LogMel(16000, n_fft=2048, n_mels=96, max_hz=5000)
    time = torch.arange(16000) / 16000
    loudest = [
        front_end(torch.sin(2 * torch.pi * f * time)[None])[0].mean(-1).argmax().item() for f in (220, 440, 880, 1760)
    ]
    assert loudest == sorted(set(loudest))


@pytest.mark.parametrize("center", [False, True])
def test_decibels_agree_with_torchaudio(center):
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    front_end = LogMel(16000, 512, 256, 40, min_hz=0.0, scale="decibels", mel_scale="htk", center=center)
    reference = MelSpectrogram(16000, n_fft=512, hop_length=256, n_mels=40, f_min=0.0, f_max=8000, center=center)
    waveforms = noise(3, 8000)
    expected = AmplitudeToDB("power")(reference(waveforms))
    torch.testing.assert_close(front_end(waveforms), expected, rtol=1e-4, atol=1e-3)


def test_reference_and_floor_of_decibels():
    waveforms = noise(2, 8000) * torch.tensor([[1.0], [1e-3]])
    plain = LogMel(16000, scale="decibels")(waveforms)
    louder = LogMel(16000, scale="decibels", reference_power=0.01)(waveforms)
    torch.testing.assert_close(louder, plain + 20)
    floored = LogMel(16000, scale="decibels", top_db=6.0)(waveforms)
    highest = plain.amax(dim=(1, 2), keepdim=True)
    torch.testing.assert_close(floored, plain.maximum(highest - 6))
    assert (floored > plain).any(dim=2).any(dim=1).all()


def test_standardized_bands_have_unit_variance_at_any_gain():
    front_end = LogMel(16000, scale="decibels", standardize=True)
    waveforms = noise(2, 32000)
    values = front_end(waveforms)
    torch.testing.assert_close(values.mean(-1), torch.zeros(2, 72), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(-1, correction=0), torch.ones(2, 72), atol=1e-4, rtol=0)
    torch.testing.assert_close(front_end(4 * waveforms), values, atol=1e-3, rtol=0)
    assert (front_end(torch.zeros(1, 8000)) == 0).all()


def test_half_precision_keeps_the_filterbank():
    front_end = LogMel(16000)
    waveforms = noise(2, 8000)
    expected = front_end(waveforms)
    assert torch.equal(front_end.bfloat16()(waveforms), expected)
    assert front_end.double()(waveforms.double()).dtype == torch.float64
    torch.testing.assert_close(front_end(waveforms.double()).float(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", ["log1p", "decibels"])
def test_a_silent_clip_has_a_gradient(scale):
    waveforms = torch.zeros(2, 8000).requires_grad_()
    LogMel(16000, scale=scale, standardize=True)(waveforms).sum().backward()
    assert waveforms.grad.isfinite().all()


@pytest.mark.parametrize("center", [False, True])
def test_no_clips_give_no_spectrograms(center):
    front_end = LogMel(16000, center=center)
    assert front_end(torch.zeros(0, 8000)).shape == (0, *front_end(torch.zeros(1, 8000)).shape[1:])


def test_bands_without_a_frequency_warn():
    with pytest.warns(UserWarning, match=r"n_mels: 10 of 128 bands .* n_fft = 512"):
        LogMel(44100, 512, 256, 128, min_hz=0, mel_scale="htk")
    with pytest.raises(ValueError, match="n_mels: 1 of 1 bands"):
        LogMel(16000, n_fft=16, n_mels=1, max_hz=100)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"scale": "sone"}, "scale"),
        ({"mel_scale": "bark"}, "mel_scale"),
        ({"reference_power": 0.0}, "reference_power: expected a positive number, got 0.0"),
        ({"top_db": -80.0}, "top_db: expected a positive number of decibels, got -80.0"),
        ({"compression": 0}, "compression: expected a positive number, got 0"),
        ({"compression": -5}, "compression"),
        ({"min_hz": float("nan")}, "min_hz"),
        ({"max_hz": 20}, r"max_hz: expected more than min_hz \(30\) .*, got 20"),
        ({"max_hz": 9000}, r"max_hz: .* at most half the sample rate \(8000\), got 9000"),
        ({"n_fft": 0}, "n_fft: expected an integer of at least 1, got 0"),
        ({"n_mels": 0}, "n_mels"),
        ({"hop_length": 2.5}, "hop_length"),
        ({"sample_rate": 0}, "sample_rate"),
    ],
)
def test_bad_settings_are_named(arguments, told):
    with pytest.raises(ValueError, match=f"^{told}"):
        LogMel(**{"sample_rate": 16000, **arguments})


def test_bad_signals_are_named():
    with pytest.raises(
        ValueError, match=r"signals: expected \(N, samples\) with at least 1024 samples, got \(2, 1000\)"
    ):
        LogMel(16000)(torch.zeros(2, 1000))
    with pytest.raises(ValueError, match="signals"):
        LogMel(16000)(torch.zeros(8000))
