"""Signals whose transforms are known, and how they are measured."""

from __future__ import annotations

import io
import math
from functools import lru_cache

import pytest
import soundfile
import torch

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
    from ssc_toolkit.data.corpus.synthesis import read_sound_font

    midi = pretty_midi.PrettyMIDI()
    midi.instruments.append(pretty_midi.Instrument(48))  # strings
    for note in music21.corpus.parse("bach/bwv66.6").flatten().notes:
        begin, end = 0.6 * float(note.offset), 0.6 * float(note.offset + note.quarterLength)
        midi.instruments[0].notes.append(pretty_midi.Note(90, note.pitch.midi + transposed, begin, end))
    file = io.BytesIO()
    midi.write(file)
    wave = bytes(midirenderer.render_wave_from(read_sound_font(), file.getvalue()))
    samples, rate = soundfile.read(io.BytesIO(wave), dtype="float32")
    return torch.from_numpy(resample(samples.mean(1), rate, RATE)[RATE : 6 * RATE])[None, None]
