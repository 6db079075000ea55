"""Pitch shift and time stretch, against tones and played music."""

from __future__ import annotations

import math

import pytest
import torch
from seeded import generator
from signals import RATE, chorale, chords, db, log_spectral_distance, peak_hz, tone

from ssc_toolkit.augmentations import (
    PitchShift,
    TimeStretch,
)


def test_many_pitches_in_one_batch():
    semitones = torch.linspace(-12, 12, 33)
    tones = tone(440.0).expand(33, 1, -1)
    transform = PitchShift((-12, 12), sample_rate=RATE)
    draw = transform.draw(33)
    draw.values["shift_semitones"].copy_(semitones)
    shifted = transform.apply_draw(tones, draw)[:, 0, 8000:-8000]
    length = 2**17
    spectrum = torch.fft.rfft(shifted * torch.hann_window(shifted.shape[-1]), n=length).abs()
    peaks = spectrum.argmax(-1) * RATE / length
    assert (peaks - 440 * 2 ** (semitones / 12)).abs().max() < 1
    assert db(shifted.std(-1) / tones[0, 0].std()).abs().max() < 1.5


def test_a_shift_of_zero_semitones_changes_next_to_nothing():
    waveforms = 0.1 * torch.randn(3, 2, 10001)
    torch.testing.assert_close(PitchShift(0.0, sample_rate=RATE)(waveforms), waveforms, atol=1e-5, rtol=0)


@pytest.mark.parametrize("semitones", [-4.0, -1.0, 2.0, 4.0])
def test_onsets_after_silence_stay_in_place(semitones):
    bursts = torch.zeros(12, 1, 12000)
    begins = range(4000, 8000, 334)
    decay = torch.exp(-torch.arange(200) / 40)
    for burst, begin in zip(bursts, begins, strict=True):
        burst[0, begin : begin + 200] = torch.randn(200, generator=generator(begin)) * decay
    energy = PitchShift(semitones, sample_rate=RATE)(bursts)[:, 0].square()
    near = torch.stack([own[begin - 220 : begin + 440].sum() for own, begin in zip(energy, begins, strict=True)])
    assert (near / energy.sum(-1)).mean() > 0.9


def test_the_level_of_noise_is_kept():
    waveforms = 0.1 * torch.randn(4, 1, 2 * RATE, generator=generator())
    for semitones in (-4.0, 4.0):
        shifted = PitchShift(semitones, sample_rate=RATE)(waveforms)
        assert db(shifted.std() / waveforms.std()).abs() < 2.5


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


@pytest.mark.slow
@pytest.mark.parametrize("semitones", [-4.0, -1.5, 2.0, 4.0])
def test_shifted_chords_are_as_close_as_those_of_librosa(semitones):
    librosa = pytest.importorskip("librosa")
    original, played = chords(), chords(2 ** (semitones / 12))
    ours = PitchShift(semitones, sample_rate=RATE)(original)[0, 0]
    theirs = torch.from_numpy(librosa.effects.pitch_shift(original[0, 0].numpy(), sr=RATE, n_steps=semitones))
    assert log_spectral_distance(ours, played[0, 0]) <= log_spectral_distance(theirs, played[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("semitones", [-4, -2, 1, 3])
def test_shifted_music_is_as_close_as_that_of_librosa(semitones):
    librosa = pytest.importorskip("librosa")
    original, played = chorale(0), chorale(semitones)[0, 0]
    ours = PitchShift(float(semitones), sample_rate=RATE)(original)[0, 0]
    theirs = torch.from_numpy(librosa.effects.pitch_shift(original[0, 0].numpy(), sr=RATE, n_steps=semitones))
    assert log_spectral_distance(ours, played) <= log_spectral_distance(theirs, played)


@pytest.mark.parametrize("make", [lambda: PitchShift((-4, 4), sample_rate=RATE), lambda: TimeStretch(sample_rate=RATE)])
def test_signals_are_transformed_a_few_at_a_time(make):
    waveforms = tone(*torch.linspace(200, 2000, 9).tolist())
    transform = make()
    draw = transform.draw(9, generator())
    lengths = []
    real = torch.fft.rfft

    def counted(frames, *arguments, **options):
        lengths.append(len(frames))
        return real(frames, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.fft, "rfft", counted)
        result = transform.apply_draw(waveforms, draw)
    assert max(lengths) * waveforms.shape[-1] <= 2**16
    one_by_one = torch.cat([transform.apply_draw(waveforms[row : row + 1], draw[row]) for row in range(9)])
    torch.testing.assert_close(result, one_by_one, atol=1e-4, rtol=0)


def test_many_tempos_in_one_batch_keep_the_pitch():
    rates = torch.linspace(0.5, 2.0, 13)
    transform = TimeStretch((0.5, 2.0), sample_rate=RATE)
    draw = transform.draw(13)
    draw.values["rate"].copy_(rates)
    stretched = transform.apply_draw(tone(440.0).expand(13, 1, -1), draw)[:, 0, 4000:18000]
    assert (peak_hz(stretched) - 440).abs().max() < 1
    assert db(stretched.std(-1) * math.sqrt(2)).abs().max() < 1.5


def test_tempo_changes_the_duration_and_pads_with_silence():
    samples = 2 * RATE
    for rate in (0.6, 1.0, 1.4, 2.0):
        stretched = TimeStretch(rate, sample_rate=RATE)(tone(440.0))[0, 0]
        end = min(samples, round(samples / rate))
        assert stretched[: end - 4000].unfold(0, 500, 500).std(-1).min() > 0.5
        assert stretched[end + 2100 :].abs().max() < 1e-3 if end + 2100 < samples else True


def test_clicks_move_to_their_new_time():
    clicks = torch.zeros(1, 1, 2 * RATE)
    clicks[..., [8000, 16000, 24000]] = 1
    for rate in (0.8, 1.25):
        envelope = TimeStretch(rate, sample_rate=RATE, n_fft=512)(clicks)[0, 0].abs()
        for place in (8000, 16000, 24000):
            around = envelope[round(place / rate) - 1000 : round(place / rate) + 1000]
            assert abs(around.argmax().item() - 1000) < 150


def test_a_rate_of_one_changes_next_to_nothing():
    waveforms = 0.1 * torch.randn(3, 2, 10001)
    torch.testing.assert_close(TimeStretch(1.0, sample_rate=RATE)(waveforms), waveforms, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.75, 1.3])
def test_stretched_chords_are_as_close_as_those_of_librosa(rate):
    librosa = pytest.importorskip("librosa")
    original, played = chords(), chords(speed=rate)[0, 0]
    ours = TimeStretch(rate, sample_rate=RATE)(original)[0, 0]
    theirs = torch.from_numpy(librosa.effects.time_stretch(original[0, 0].numpy(), rate=rate))
    heard = slice(0, min(len(ours), len(theirs)))
    distances = [log_spectral_distance(made[heard], played[heard]) for made in (ours, theirs)]
    assert distances[0] <= distances[1]
