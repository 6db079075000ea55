"""Music of the gallery, recordings for the transforms that take files, and encoding of sounds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ssc_toolkit.audio import resample

RATE = 22050


def record(folder: Path) -> None:
    """Write synthetic recordings for the transforms that take files."""
    made = np.random.default_rng(0)
    time = np.arange(RATE // 2) / RATE
    hiss = made.standard_normal(5 * RATE)
    rain = np.convolve(hiss * (made.random(5 * RATE) < 0.02), np.exp(-np.arange(200) / 20))[: 5 * RATE]
    band = np.sinc(6000 * (time - 0.01)) * 6000 - np.sinc(800 * (time - 0.01)) * 800
    files = {
        "rain": 0.3 * rain / np.abs(rain).max() + 0.01 * hiss,
        "telephone": band * np.hanning(len(time)) / RATE,
        "box": np.exp(-time / 0.02) * made.standard_normal(len(time)),
        "spring": np.exp(-time / 0.15) * np.sin(2 * np.pi * (3000 * np.sqrt(time) + 200) * time),
    }
    for name, samples in files.items():
        soundfile.write(folder / f"{name}.wav", 0.9 * samples / np.abs(samples).max(), RATE)


def music() -> tuple[str, np.ndarray]:
    """Return the title and five seconds, (samples,), of a chorale."""
    import midirenderer
    import music21
    import pretty_midi

    from ssc_toolkit.data.corpus.synthesis import read_sound_font

    score = music21.corpus.parse("bach/bwv66.6")
    piano = pretty_midi.Instrument(0)
    for note in score.flatten().notes:
        begin, end = 0.6 * float(note.offset), 0.6 * float(note.offset + note.quarterLength)
        piano.notes.append(pretty_midi.Note(90, note.pitch.midi, begin, end))
    midi = pretty_midi.PrettyMIDI()
    midi.instruments.append(piano)
    file = io.BytesIO()
    midi.write(file)
    samples, rate = soundfile.read(
        io.BytesIO(bytes(midirenderer.render_wave_from(read_sound_font(), file.getvalue()))), dtype="float32"
    )
    mono = resample(samples.mean(axis=1), rate, RATE)[: 5 * RATE]
    return score.metadata.title or "BWV 66.6", 0.5 * mono / np.abs(mono).max()


def sound(samples: np.ndarray) -> bytes:
    """Encode samples as MP3 at 128 kb/s. Samples beyond full scale are clipped."""
    file = io.BytesIO()
    options: dict[str, Any] = {"bitrate_mode": "CONSTANT", "compression_level": (160 - 128) / (160 - 8)}
    soundfile.write(file, samples.clip(-1, 1), RATE, format="MP3", subtype="MPEG_LAYER_III", **options)
    return file.getvalue()
