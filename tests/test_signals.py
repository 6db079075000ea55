"""What the transforms do to signals: levels, spectra, echoes, pitches."""

from __future__ import annotations

import math

import julius
import pytest
import torch

from ssc_toolkit.augmentations import BandPass, BandStop, ColoredNoise, Delay, Gain, HighPass, LowPass, PitchShift
from ssc_toolkit.augmentations.spectrum import fast_length

RATE = 22050


def db(ratio: torch.Tensor) -> torch.Tensor:
    return 20 * torch.log10(ratio.clamp(min=1e-10))


def tone(*frequencies: float, seconds: float = 2.0, rate: int = RATE) -> torch.Tensor:
    time = torch.arange(round(seconds * rate), dtype=torch.float64) / rate
    return torch.stack([torch.sin(2 * math.pi * f * time) for f in frequencies])[:, None].float()


def frequency_response(transform, rate: int = RATE) -> tuple[torch.Tensor, torch.Tensor]:
    impulse = torch.zeros(1, 1, 2 * rate)
    impulse[..., rate] = 1
    response = torch.fft.rfft(transform(impulse)[0, 0]).abs()
    return torch.fft.rfftfreq(2 * rate, 1 / rate), db(response)


def test_gain_in_decibels():
    gains = torch.tensor([-15.0, -6.0, 0.0, 5.0])
    transform = Gain((-15, 5))
    draw = transform.draw(4)
    draw.values["gain_db"].copy_(gains)
    torch.testing.assert_close(db(transform.apply(torch.ones(4, 1, 10), draw)[:, 0, 0]), gains)


@pytest.mark.parametrize("cutoff", [100.0, 500.0, 2000.0, 6000.0])
def test_low_and_high_pass_agree_with_julius_outside_the_edge(cutoff):
    impulse = torch.zeros(1, 1, 2 * RATE)
    impulse[..., RATE] = 1
    frequencies, low = frequency_response(LowPass(cutoff, sample_rate=RATE))
    _, high = frequency_response(HighPass(cutoff, sample_rate=RATE))
    julius_low = db(torch.fft.rfft(julius.lowpass_filter(impulse, cutoff / RATE)[0, 0]).abs())
    julius_high = db(torch.fft.rfft(julius.highpass_filter(impulse, cutoff / RATE)[0, 0]).abs())
    below, above = frequencies < 0.7 * cutoff, frequencies > 1.4 * cutoff
    assert (low - julius_low)[below].abs().max() < 0.1
    assert (high - julius_high)[above].abs().max() < 0.1
    # Beyond the edge both are silent, ours more so.
    assert low[above].max() < -60
    assert high[below & (frequencies > 0)].max() < -50
    at_cutoff = (frequencies - cutoff).abs().argmin()
    assert low[at_cutoff].item() == pytest.approx(-6.02, abs=0.1)


def test_band_pass_and_band_stop():
    frequencies, passed = frequency_response(BandPass(1000.0, 1.0, sample_rate=RATE))
    _, stopped = frequency_response(BandStop(1000.0, 1.0, sample_rate=RATE))
    inside = (frequencies > 500 * 1.4) & (frequencies < 1500 * 0.75)
    outside = (frequencies < 500 * 0.6) | (frequencies > 1500 * 1.4)
    assert passed[inside].abs().max() < 0.1
    assert passed[outside].max() < -50
    assert stopped[outside].abs().max() < 0.1
    assert stopped[inside].max() < -50


def test_each_example_has_its_own_cutoff():
    clips = tone(300.0, 300.0, 3000.0, 3000.0)
    transform = LowPass((1000, 6000), sample_rate=RATE)
    draw = transform.draw(4)
    draw.values["cutoff_hz"].copy_(torch.tensor([1000.0, 6000.0, 1000.0, 6000.0]))
    kept = transform.apply(clips, draw)[..., 4000:-4000].square().mean(-1).sqrt() * math.sqrt(2)
    torch.testing.assert_close(kept[:, 0], torch.tensor([1.0, 1.0, 0.0, 1.0]), atol=2e-3, rtol=0)


def test_a_cutoff_at_nyquist_passes_everything():
    waveforms = torch.randn(1, 1, 8000)
    passed = LowPass(RATE / 2, sample_rate=RATE)(waveforms)
    assert (passed - waveforms).abs().max() < 1e-4


def test_filters_do_not_wrap_round():
    waveforms = torch.zeros(1, 1, 4000)
    waveforms[..., -1] = 1
    assert LowPass(100.0, sample_rate=RATE)(waveforms)[..., :1000].abs().max() < 1e-6


@pytest.mark.parametrize("snr", [3.0, 15.0, 30.0])
def test_noise_has_the_exact_ratio(snr):
    waveforms = 0.1 * torch.randn(4, 2, RATE)
    noise = ColoredNoise(snr, (-2, 2), sample_rate=RATE)(waveforms) - waveforms
    measured = db((waveforms.square().mean((1, 2)) / noise.square().mean((1, 2))).sqrt())
    torch.testing.assert_close(measured, torch.full((4,), snr), atol=0.01, rtol=0)


@pytest.mark.parametrize("decay", [-2.0, -1.0, 0.0, 1.0, 2.0])
def test_noise_slope_in_decibels_per_octave(decay):
    waveforms = torch.randn(64, 1, 2 * RATE)
    noise = ColoredNoise(0.0, decay, sample_rate=RATE)(waveforms) - waveforms
    power = torch.fft.rfft(noise * torch.hann_window(2 * RATE)).abs().square().mean((0, 1))
    frequencies = torch.fft.rfftfreq(2 * RATE, 1 / RATE)
    edges = 100 * 2.0 ** torch.arange(6)
    levels = torch.stack(
        [10 * torch.log10(power[(frequencies >= low) & (frequencies < 2 * low)].mean()) for low in edges]
    )
    slopes = levels.diff()
    assert (slopes + decay * 10 * math.log10(2)).abs().max() < 0.3


def test_noise_is_gaussian_and_differs_between_examples_and_does_not_repeat():
    waveforms = torch.ones(8, 1, 2 * RATE)
    noise = (ColoredNoise(0.0, 0.0, sample_rate=RATE)(waveforms) - waveforms)[:, 0]
    assert torch.corrcoef(noise).fill_diagonal_(0).abs().max() < 0.03
    assert noise.mean().abs() < 0.02
    kurtosis = (noise**4).mean() / noise.square().mean() ** 2
    assert kurtosis.item() == pytest.approx(3, abs=0.1)
    assert torch.corrcoef(torch.stack([noise[0, :RATE], noise[0, RATE:]]))[0, 1].abs() < 0.03


def test_echoes_come_at_the_drawn_delay():
    clicks = torch.zeros(3, 1, RATE)
    clicks[..., 0] = 1
    transform = Delay((100, 400), volume=0.5, repeats=2, attenuation=0.5, sample_rate=RATE)
    result, draw = transform(clicks, return_draw=True)
    for clip, delay_ms in zip(result[:, 0], draw.values["delay_ms"], strict=True):
        late = round(delay_ms.item() * RATE / 1000)
        expected = torch.zeros(RATE)
        expected[[0, late, 2 * late]] = torch.tensor([1.0, 0.5, 0.25])
        torch.testing.assert_close(clip, expected)


def test_echoes_after_the_end_are_dropped():
    waveforms = torch.randn(2, 1, 500)
    assert torch.equal(Delay(400.0, sample_rate=RATE)(waveforms), waveforms)


def test_many_pitches_in_one_batch():
    semitones = torch.linspace(-12, 12, 33)
    tones = tone(440.0).expand(33, 1, -1)
    transform = PitchShift((-12, 12), sample_rate=RATE)
    draw = transform.draw(33)
    draw.values["shift_semitones"].copy_(semitones)
    shifted = transform.apply(tones, draw)[:, 0, 8000:-8000]
    length = 2**21
    spectrum = torch.fft.rfft(shifted * torch.hann_window(shifted.shape[-1]), n=length).abs()
    peaks = spectrum.argmax(-1) * RATE / length
    assert (peaks - 440 * 2 ** (semitones / 12)).abs().max() < 1
    assert db(shifted.std(-1) / tones[0, 0].std()).abs().max() < 1.5


def test_a_shift_of_zero_semitones_changes_next_to_nothing():
    waveforms = 0.1 * torch.randn(3, 2, 10001)
    torch.testing.assert_close(PitchShift(0.0, sample_rate=RATE)(waveforms), waveforms, atol=1e-5, rtol=0)


def test_every_note_of_a_chord_moves():
    chord = tone(220.0, 277.18, 329.63).sum(0, keepdim=True) / 3
    shifted = PitchShift(3.0, sample_rate=RATE)(chord)[0, 0, 8000:-8000]
    length = 2**19
    spectrum = torch.fft.rfft(shifted * torch.hann_window(len(shifted)), n=length).abs()
    for note in (220.0, 277.18, 329.63):
        expected = note * 2 ** (3 / 12)
        around = range(round((expected - 15) * length / RATE), round((expected + 15) * length / RATE))
        peak = max(around, key=lambda k: spectrum[k].item()) * RATE / length
        assert peak == pytest.approx(expected, abs=1.0)


@pytest.mark.parametrize("n", [*range(1, 200), 59535, 48000, 65537])
def test_fast_length_is_the_least_product_of_small_primes(n):
    def smooth(m: int) -> bool:
        for prime in (2, 3, 5):
            while m % prime == 0:
                m //= prime
        return m == 1

    length = fast_length(n)
    assert smooth(length)
    assert not any(smooth(m) for m in range(n, length))
