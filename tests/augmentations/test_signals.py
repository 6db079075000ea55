"""What the transforms do to signals: levels, spectra, echoes, time."""

from __future__ import annotations

import math

import julius
import numpy as np
import pytest
import scipy.signal
import torch
from signals import RATE, db, frequency_response, tone

from ssc_toolkit.augmentations import (
    BandPass,
    BandStop,
    Chorus,
    ColoredNoise,
    Delay,
    Equalizer,
    Gain,
    HighPass,
    LowPass,
    PeakNormalization,
    Reverse,
    SpliceOut,
    TimeShift,
)
from ssc_toolkit.augmentations.spectrum import find_fast_length


def test_gain_in_decibels():
    gains = torch.tensor([-15.0, -6.0, 0.0, 5.0])
    transform = Gain((-15, 5))
    draw = transform.draw(4)
    draw.values["gain_db"].copy_(gains)
    torch.testing.assert_close(db(transform.apply_draw(torch.ones(4, 1, 10), draw)[:, 0, 0]), gains)


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


@pytest.mark.parametrize("fraction", [0.03, 0.1, 0.3, 1.0])
def test_narrow_bands_are_passed_and_stopped_whole(fraction):
    frequencies, passed = frequency_response(BandPass(2000.0, fraction, sample_rate=RATE))
    _, stopped = frequency_response(BandStop(2000.0, fraction, sample_rate=RATE))
    center = (frequencies - 2000).abs().argmin()
    assert passed[center].item() == pytest.approx(0, abs=0.1)
    assert stopped[center].item() < -40
    for edge in (2000 * (1 - fraction / 2), 2000 * (1 + fraction / 2)):
        at = (frequencies - edge).abs().argmin()
        assert passed[at].item() == pytest.approx(-6.02, abs=0.5)


@pytest.mark.parametrize("snr", [-40.0, 0.0, 20.0])
@pytest.mark.parametrize("samples", [1, 2, 3])
def test_noise_on_very_short_clips(samples, snr):
    waveforms = torch.full((3, 1, samples), 0.5)
    noise = ColoredNoise(snr, 0.0, sample_rate=RATE)(waveforms).double() - 0.5
    measured = 10 * torch.log10(waveforms.double().square().sum(-1) / noise.square().sum(-1))
    torch.testing.assert_close(measured.float(), torch.full((3, 1), snr), atol=0.01, rtol=0)


def test_each_example_has_its_own_cutoff():
    clips = tone(300.0, 300.0, 3000.0, 3000.0)
    transform = LowPass((1000, 6000), sample_rate=RATE)
    draw = transform.draw(4)
    draw.values["cutoff_hz"].copy_(torch.tensor([1000.0, 6000.0, 1000.0, 6000.0]))
    kept = transform.apply_draw(clips, draw)[..., 4000:-4000].square().mean(-1).sqrt() * math.sqrt(2)
    torch.testing.assert_close(kept[:, 0], torch.tensor([1.0, 1.0, 0.0, 1.0]), atol=2e-3, rtol=0)


def test_a_cutoff_at_nyquist_passes_everything():
    waveforms = torch.randn(1, 1, 8000)
    passed = LowPass(RATE / 2, sample_rate=RATE)(waveforms)
    assert (passed - waveforms).abs().max() < 1e-4


def test_filters_have_no_circular_aliasing():
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


def test_noise_is_gaussian_and_does_not_repeat():
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


def test_peaks_are_normalized_over_all_channels():
    waveforms = torch.tensor([[[0.1, -0.4], [0.2, 0.0]], [[0.0, 0.0], [0.0, 0.0]]])
    result = PeakNormalization(-6.0206)(waveforms)
    torch.testing.assert_close(result[0], waveforms[0] * 1.25, atol=1e-5, rtol=0)
    assert (result[1] == 0).all()


def test_the_bands_of_the_equalizer_have_their_gains():
    centers = (100.0, 400.0, 1600.0, 6400.0)
    gains = torch.tensor([[6.0, -12.0, 0.0, 3.0]])
    transform = Equalizer((-12, 12), center_hz=centers, sample_rate=RATE)
    draw = transform.draw(1)
    draw.values["gain_db"].copy_(gains)
    impulse = torch.zeros(1, 1, 2 * RATE)
    impulse[..., RATE] = 1
    response = db(torch.fft.rfft(transform.apply_draw(impulse, draw)[0, 0]).abs())
    for center, gain in zip((20.0, *centers, 10000.0), (6.0, *gains[0].tolist(), 3.0), strict=True):
        assert response[round(2 * center)].item() == pytest.approx(gain, abs=0.1)
    assert response[round(2 * 200.0)].item() == pytest.approx(-3.0, abs=0.1)  # half way between two bands


def test_a_chorus_without_depth_is_a_mix_with_a_delayed_copy():
    waveforms = 0.1 * torch.randn(2, 1, 4000)
    result = Chorus(1.0, 0.0, delay_ms=1000 * 100 / RATE, mix=0.25, sample_rate=RATE)(waveforms)
    late = torch.nn.functional.pad(waveforms, (100, 0))[..., :4000]
    torch.testing.assert_close(result, 0.75 * waveforms + 0.25 * late, atol=1e-5, rtol=0)


def test_a_chorus_swings_the_pitch_of_the_copy():
    # Of the copy alone: a delay of D (1 + d sin 2 pi f t) seconds shifts the pitch by up to 2 pi f d D.
    wavering = Chorus(2.0, 0.5, delay_ms=7.0, mix=1.0, sample_rate=RATE)(tone(1000.0))[0, 0, 2000:].double()
    frequency = np.diff(np.unwrap(np.angle(scipy.signal.hilbert(wavering.numpy())))) * RATE / (2 * math.pi)
    swing = frequency[4000:-4000] - 1000
    expected = 1000 * 2 * math.pi * 2.0 * 0.5 * 0.007
    assert np.quantile(swing, 0.99) == pytest.approx(expected, rel=0.02)
    assert np.quantile(swing, 0.01) == pytest.approx(-expected, rel=0.02)
    assert np.abs(scipy.signal.hilbert(wavering.numpy()))[4000:-4000].std() < 0.02


def test_reversing_twice_is_the_identity():
    waveforms = torch.randn(3, 2, 1001)
    reverse = Reverse()
    assert torch.equal(reverse(waveforms)[..., 0], waveforms[..., -1])
    assert torch.equal(reverse(reverse(waveforms)), waveforms)


@pytest.mark.parametrize("shift", [-3000, -7, 0, 1, 999, 1000, 2500])
def test_time_shift_rolls_or_pads(shift):
    waveforms = torch.randn(2, 2, 1000)
    rolled = TimeShift(shift / RATE, sample_rate=RATE)(waveforms)
    assert torch.equal(rolled, waveforms.roll(shift, -1))
    padded = TimeShift(shift / RATE, mode="pad", sample_rate=RATE)(waveforms)
    expected = torch.zeros_like(waveforms)
    if 0 <= shift < 1000:
        expected[..., shift:] = waveforms[..., : 1000 - shift]
    elif -1000 < shift < 0:
        expected[..., :shift] = waveforms[..., -shift:]
    assert torch.equal(padded, expected)


def test_splice_out_removes_what_it_drew_and_joins_the_rest():
    # A ramp: what is kept goes up by one step, what is cut out shows as a jump.
    ramp = torch.arange(1.0, RATE + 1)[None, None].expand(5, 1, -1)
    transform = SpliceOut(6, (5, 40), crossfade_ms=0.0, sample_rate=RATE)
    result, draw = transform(ramp, return_draw=True)
    removed = (draw.values["cut_ms"].double() * RATE / 1000).long()
    for clip, cuts in zip(result[:, 0], removed, strict=True):
        kept = clip[clip > 0]
        assert len(kept) == RATE - cuts.sum()
        assert (clip[len(kept) :] == 0).all()
        jumps = kept.diff() - 1
        assert jumps.sum() + kept[0] - 1 + RATE - kept[-1] == cuts.sum()
        assert (jumps >= 0).all()


def test_splices_are_smooth():
    waveforms = tone(200.0).expand(8, 1, -1)
    hard = SpliceOut(8, (10, 100), crossfade_ms=0.0, sample_rate=RATE)
    soft = SpliceOut(8, (10, 100), crossfade_ms=10.0, sample_rate=RATE)
    draw = hard.draw(8, torch.Generator().manual_seed(0))
    steepest = tone(200.0).diff().abs().max()
    end = RATE  # well before the silence at the end
    assert hard.apply_draw(waveforms, draw)[..., :end].diff().abs().max() > 5 * steepest
    assert soft.apply_draw(waveforms, draw)[..., :end].diff().abs().max() < 2 * steepest


def test_cuts_that_are_too_long_leave_a_tenth():
    waveforms = torch.ones(4, 1, 1000)
    result = SpliceOut(8, 1000.0, sample_rate=RATE)(waveforms)
    assert ((result != 0).sum(-1) >= 99).all()


@pytest.mark.parametrize("n", [*range(1, 200), 59535, 48000, 65537])
def test_fast_length_is_the_least_product_of_small_primes(n):
    def smooth(m: int) -> bool:
        for prime in (2, 3, 5):
            while m % prime == 0:
                m //= prime
        return m == 1

    length = find_fast_length(n)
    assert smooth(length)
    assert not any(smooth(m) for m in range(n, length))
