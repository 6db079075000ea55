"""Reverberation, recorded rooms and recorded backgrounds."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from signals import RATE, db, peak_hz, tone

from ssc_toolkit.augmentations import (
    BackgroundNoise,
    ImpulseResponse,
    Reverb,
)


@pytest.mark.parametrize("rt60", [0.15, 0.5, 1.5])
def test_a_reverb_decays_by_sixty_decibels_in_its_time(rt60):
    click = torch.zeros(8, 1, 2 * RATE)
    click[..., 0] = 1
    heard = Reverb(rt60, 0.0, sample_rate=RATE)(click)[:, 0, 1:]
    # Schroeder's backward integration, from -5 to -25 dB.
    energy = heard.square().flip(-1).cumsum(-1).flip(-1).mean(0)
    level = 10 * torch.log10(energy / energy[0])
    begin, end = ((level < limit).float().argmax().item() for limit in (-5, -25))
    assert 3 * (end - begin) / RATE == pytest.approx(rt60, rel=0.1)


@pytest.mark.parametrize("ratio", [-6.0, 0.0, 12.0])
def test_reverb_has_the_drawn_direct_to_reverberant_ratio(ratio):
    click = torch.zeros(4, 1, 2 * RATE)
    click[..., 0] = 1
    heard = Reverb(0.4, ratio, sample_rate=RATE)(click)[:, 0]
    assert torch.equal(heard[:, 0], torch.ones(4)) or (heard[:, 0] - 1).abs().max() < 1e-4
    measured = -10 * torch.log10(heard[:, 1:].square().sum(-1))
    torch.testing.assert_close(measured, torch.full((4,), ratio), atol=0.1, rtol=0)


def test_damping_shortens_the_high_frequencies():
    click = torch.zeros(8, 1, 2 * RATE)
    click[..., 0] = 1
    heard = Reverb(1.0, 0.0, 0.75, sample_rate=RATE)(click)[:, 0, 1:]
    for band, rt60 in (((200, 1000), 1.0), ((4000, 9000), 0.25)):
        sos = scipy.signal.butter(4, band, "bandpass", fs=RATE, output="sos")
        energy = np.square(scipy.signal.sosfilt(sos, heard.numpy())).mean(0)[::-1].cumsum()[::-1]
        level = 10 * np.log10(energy / energy[0])
        begin, end = (np.argmax(level < limit) for limit in (-5, -25))
        assert 3 * (end - begin) / RATE == pytest.approx(rt60, rel=0.15)


def test_an_impulse_response_is_convolved_with(tmp_path):
    made = np.random.default_rng(0)
    response = made.standard_normal(3000) * np.exp(-np.arange(3000) / 500) * 0.3
    soundfile.write(tmp_path / "room.wav", response, RATE, subtype="FLOAT")
    waveforms = 0.1 * torch.randn(2, 2, 5000)
    expected = scipy.signal.fftconvolve(waveforms.numpy(), response[None, None] / np.sqrt((response**2).sum()), axes=-1)
    result = ImpulseResponse([tmp_path / "room.wav"], sample_rate=RATE)(waveforms)
    torch.testing.assert_close(result, torch.from_numpy(expected[..., :5000]).float(), atol=1e-5, rtol=0)


def test_an_impulse_response_is_resampled(tmp_path):
    click = np.zeros(44100)
    click[4410] = 0.9
    soundfile.write(tmp_path / "late.wav", click, 44100, subtype="FLOAT")
    result = ImpulseResponse(tmp_path, sample_rate=RATE)(tone(440.0))[0, 0]
    assert result[:2000].abs().max() < 1e-3
    assert (peak_hz(result[4000:]) - 440).abs() < 1
    torch.testing.assert_close(
        result[4000:40000],
        tone(440.0)[0, 0, 4000 - 2205 : 40000 - 2205] * result[4000:].std() / tone(440.0).std(),
        atol=0.01,
        rtol=0,
    )


def test_silent_and_broken_recordings_are_named(tmp_path):
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), RATE)
    with pytest.raises(ValueError, match=r"files: .*silent"):
        ImpulseResponse(tmp_path, sample_rate=RATE)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    with pytest.raises(ValueError, match=r"files: .*broken\.wav"):
        BackgroundNoise(tmp_path, sample_rate=RATE)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ValueError, match=r"files: expected audio files .* got none"):
        BackgroundNoise(tmp_path / "nothing", sample_rate=RATE)


@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_background_noise_is_an_excerpt_at_the_exact_ratio(seconds, tmp_path):
    made = np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)
    soundfile.write(tmp_path / "hiss.flac", made, RATE)
    waveforms = 0.1 * torch.randn(6, 1, RATE)
    added = (BackgroundNoise(tmp_path, 12.0, sample_rate=RATE)(waveforms) - waveforms)[:, 0]
    measured = db((waveforms[:, 0].square().sum(-1) / added.square().sum(-1)).sqrt())
    torch.testing.assert_close(measured, torch.full((6,), 12.0), atol=0.01, rtol=0)
    around = torch.from_numpy(np.tile(made, 6))
    places = []
    for piece in added:
        length = len(around) + len(piece)
        match = torch.fft.irfft(torch.fft.rfft(around, length) * torch.fft.rfft(piece, length).conj(), length)
        place = int(match[: len(around) - RATE].argmax())
        found = around[place : place + RATE]
        assert torch.corrcoef(torch.stack([found, piece]))[0, 1] > 0.999
        places.append(place)
    assert len(set(places)) == 6
