"""What the transforms do to signals: levels, spectra, echoes, pitches."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import julius
import numpy as np
import pytest
import scipy.signal
import soundfile
import torch

from ssc_toolkit.augmentations import (
    MP3,
    BackgroundNoise,
    BandPass,
    BandStop,
    BitCrush,
    Chorus,
    Clipping,
    ColoredNoise,
    Compression,
    Delay,
    Distortion,
    Equalizer,
    Gain,
    HighPass,
    ImpulseResponse,
    LowPass,
    PeakNormalization,
    PitchShift,
    Reverb,
    Reverse,
    SpliceOut,
    TimeShift,
    TimeStretch,
)
from ssc_toolkit.augmentations.mp3 import BIT_RATES_KBPS
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


def peak_hz(signal: torch.Tensor, length: int = 2**20) -> torch.Tensor:
    """Frequency of the strongest partial of (..., samples)."""
    spectrum = torch.fft.rfft(signal * torch.hann_window(signal.shape[-1]), n=length).abs()
    return spectrum.argmax(-1) * RATE / length


def plucked(*frequencies: float, seconds: float = 2.7, every: float = 0.45) -> torch.Tensor:
    """Notes of eight decaying partials, one after the other: (1, 1, samples)."""
    samples = round(seconds * RATE)
    total = torch.zeros(samples)
    for number in range(int(seconds / every)):
        begin = round(number * every * RATE)
        time = torch.arange(samples - begin) / RATE
        f = frequencies[number % len(frequencies)]
        for partial in range(1, 9):
            decay = torch.exp(-time * (2 + partial))
            total[begin:] += 0.2 / partial * decay * torch.sin(2 * math.pi * f * partial * time)
    return total[None, None]


def log_spectral_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Root mean square difference of log spectra in dB, floored 60 dB below the peak."""
    window = torch.hann_window(2048)
    levels = []
    for signal in (one, other):
        power = torch.stft(signal, 2048, 512, window=window, return_complex=True).abs().square()
        levels.append(10 * torch.log10(power.clamp(min=1e-6 * power.max())))
    return (levels[0] - levels[1]).square().mean().sqrt().item()


def chords(ratio: float = 1.0, speed: float = 1.0) -> torch.Tensor:
    """Six triads, one after the other: (1, 1, samples)."""
    roots = (220.0, 277.18, 329.63, 440.0)
    return sum(plucked(*(f * third * ratio for f in roots), every=0.45 / speed) for third in (1, 1.26, 1.5))


@lru_cache
def chorale(transposed: int) -> torch.Tensor:
    """Five seconds of a chorale by Bach, rendered from its score with a SoundFont: (1, 1, samples)."""
    music21 = pytest.importorskip("music21")
    midirenderer = pytest.importorskip("midirenderer")
    pretty_midi = pytest.importorskip("pretty_midi")
    from ssc_toolkit.audio import resample
    from ssc_toolkit.data.scores.sounds import sound_font

    midi = pretty_midi.PrettyMIDI()
    midi.instruments.append(pretty_midi.Instrument(48))  # strings
    for note in music21.corpus.parse("bach/bwv66.6").flatten().notes:
        begin, end = 0.6 * float(note.offset), 0.6 * float(note.offset + note.quarterLength)
        midi.instruments[0].notes.append(pretty_midi.Note(90, note.pitch.midi + transposed, begin, end))
    file = io.BytesIO()
    midi.write(file)
    wave = bytes(midirenderer.render_wave_from(sound_font(), file.getvalue()))
    samples, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    return torch.from_numpy(resample(samples.mean(1), rate, RATE)[RATE : 6 * RATE])[None, None]


@pytest.mark.parametrize("semitones", [-4.0, -1.5, 2.0, 4.0])
def test_shifted_chords_are_no_further_from_played_ones_than_those_of_librosa(semitones):
    librosa = pytest.importorskip("librosa")
    original, played = chords(), chords(2 ** (semitones / 12))
    ours = PitchShift(semitones, sample_rate=RATE)(original)[0, 0]
    theirs = torch.from_numpy(librosa.effects.pitch_shift(original[0, 0].numpy(), sr=RATE, n_steps=semitones))
    assert log_spectral_distance(ours, played[0, 0]) <= log_spectral_distance(theirs, played[0, 0])


@pytest.mark.parametrize("semitones", [-4, -2, 1, 3])
def test_shifted_music_is_no_further_from_played_music_than_that_of_librosa(semitones):
    librosa = pytest.importorskip("librosa")
    original, played = chorale(0), chorale(semitones)[0, 0]
    ours = PitchShift(float(semitones), sample_rate=RATE)(original)[0, 0]
    theirs = torch.from_numpy(librosa.effects.pitch_shift(original[0, 0].numpy(), sr=RATE, n_steps=semitones))
    assert log_spectral_distance(ours, played) <= log_spectral_distance(theirs, played)


def test_many_tempos_in_one_batch_keep_the_pitch():
    rates = torch.linspace(0.5, 2.0, 13)
    transform = TimeStretch((0.5, 2.0), sample_rate=RATE)
    draw = transform.draw(13)
    draw.values["rate"].copy_(rates)
    stretched = transform.apply(tone(440.0).expand(13, 1, -1), draw)[:, 0, 4000:18000]
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


@pytest.mark.parametrize("rate", [0.75, 1.3])
def test_stretched_chords_are_no_further_from_played_ones_than_those_of_librosa(rate):
    librosa = pytest.importorskip("librosa")
    original, played = chords(), chords(speed=rate)[0, 0]
    ours = TimeStretch(rate, sample_rate=RATE)(original)[0, 0]
    theirs = torch.from_numpy(librosa.effects.time_stretch(original[0, 0].numpy(), rate=rate))
    heard = slice(0, min(len(ours), len(theirs)))
    distances = [log_spectral_distance(made[heard], played[heard]) for made in (ours, theirs)]
    assert distances[0] <= distances[1]


def test_peaks_are_normalised_over_all_channels():
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
    response = db(torch.fft.rfft(transform.apply(impulse, draw)[0, 0]).abs())
    for center, gain in zip((20.0, *centers, 10000.0), (6.0, *gains[0].tolist(), 3.0), strict=True):
        assert response[round(2 * center)].item() == pytest.approx(gain, abs=0.1)
    assert response[round(2 * 200.0)].item() == pytest.approx(-3.0, abs=0.1)  # half way between two bands


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
def test_a_reverb_has_the_drawn_ratio_of_direct_to_reverberant_energy(ratio):
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
    with pytest.raises(ValueError, match=r"files: .*found none"):
        BackgroundNoise(tmp_path / "nothing", sample_rate=RATE)


@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_background_noise_is_a_stretch_of_the_file_at_the_exact_ratio(seconds, tmp_path):
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
    assert hard.apply(waveforms, draw)[..., :end].diff().abs().max() > 5 * steepest
    assert soft.apply(waveforms, draw)[..., :end].diff().abs().max() < 2 * steepest


def test_cuts_that_are_too_long_leave_a_tenth():
    waveforms = torch.ones(4, 1, 1000)
    result = SpliceOut(8, 1000.0, sample_rate=RATE)(waveforms)
    assert ((result != 0).sum(-1) >= 99).all()


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
def test_the_approximation_of_mp3_loses_about_as_much_as_the_codec(bitrate):
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
