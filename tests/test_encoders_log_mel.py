"""The mel front end: its values, its normalisations, its precision."""

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
    front_end = LogMel(16000, n_fft=2048, n_mels=96, highest_hz=5000)
    time = torch.arange(16000) / 16000
    loudest = [
        front_end(torch.sin(2 * torch.pi * f * time)[None])[0].mean(-1).argmax().item() for f in (220, 440, 880, 1760)
    ]
    assert loudest == sorted(set(loudest))


@pytest.mark.parametrize("center", [False, True])
def test_decibels_agree_with_torchaudio(center):
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    front_end = LogMel(16000, 512, 256, 40, lowest_hz=0.0, scale="decibels", mel_scale="htk", center=center)
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


def test_standardized_bands_have_mean_zero_and_deviation_one_and_ignore_the_gain():
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


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="scale"):
        LogMel(16000, scale="sone")
    with pytest.raises(ValueError, match="reference_power"):
        LogMel(16000, scale="decibels", reference_power=0.0)
    with pytest.raises(ValueError, match="top_db"):
        LogMel(16000, scale="decibels", top_db=-80.0)
