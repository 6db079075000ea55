"""Rendering of single notes with the SoundFont in the pretty_midi package."""

from __future__ import annotations

import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from ssc_toolkit.errors import InputError

SOUND_FONT = "TimGM6mb.sf2"
RENDER_RATE = 48000


@dataclass(frozen=True)
class Family:
    """Instrument family, with its General MIDI programs (0-based).

    Attributes:
        name: name of the family.
        known: programs that occur in all splits of the default corpus.
        new: programs that occur in the test set only.
    """

    name: str
    known: tuple[int, ...]
    new: tuple[int, ...]


FAMILIES = (
    Family("brass", known=(56, 57, 60), new=(59, 61)),
    Family("flute", known=(72, 73, 75), new=(74, 79)),
    Family("guitar", known=(24, 26, 27), new=(25, 28)),
    Family("keyboard", known=(0, 4, 6), new=(3, 7)),
    Family("mallet", known=(9, 11, 12), new=(10, 13)),
    Family("organ", known=(16, 18, 19), new=(17, 20)),
    Family("reed", known=(65, 68, 71), new=(66, 70)),
    Family("string", known=(40, 42, 48), new=(44, 49)),
)
FAMILY_OF = {program: family.name for family in FAMILIES for program in family.known + family.new}


def read_sound_font() -> bytes:
    """Return the content of the SoundFont file in the installed pretty_midi package.

    Raises:
        InputError: if pretty_midi is not installed.
    """
    spec = importlib.util.find_spec("pretty_midi")
    path = Path(spec.origin).parent / SOUND_FONT if spec and spec.origin else None
    if path is None or not path.is_file():
        raise InputError(
            f"the default corpus needs {SOUND_FONT} from pretty_midi; fix: pip install 'ssc-toolkit[corpus]'"
        )
    return path.read_bytes()


def render_notes(
    font: bytes, program: int, pitches: np.ndarray, velocities: np.ndarray, held_seconds: float, total_seconds: float
) -> np.ndarray:
    """Render single notes in one call of the renderer.

    Args:
        font: content of a SoundFont file. It is parsed in every call.
        program: General MIDI program (instrument), 0-based.
        pitches: (notes,) MIDI pitches.
        velocities: (notes,) MIDI velocities.
        held_seconds: time from note-on to note-off in seconds.
        total_seconds: length of each waveform in seconds, at least `held_seconds`. Longer sounds are truncated.

    Returns:
        (notes, samples) float32 mono waveforms at 48 kHz.
    """
    import midirenderer
    import pretty_midi

    instrument = pretty_midi.Instrument(program)
    rest = 0.3  # pause in seconds, so that a note fades out before the next note begins
    step = total_seconds + rest
    for index, (pitch, velocity) in enumerate(zip(pitches, velocities, strict=True)):
        start = index * step
        instrument.notes.append(pretty_midi.Note(int(velocity), int(pitch), start, start + held_seconds))
    midi = pretty_midi.PrettyMIDI(resolution=960, initial_tempo=120)
    midi.instruments.append(instrument)
    file = io.BytesIO()
    midi.write(file)
    wave = midirenderer.render_wave_from(font, file.getvalue())
    stereo, _ = soundfile.read(io.BytesIO(bytes(wave)), dtype="float32")
    row, length = round(step * RENDER_RATE), round(total_seconds * RENDER_RATE)
    mono = np.zeros(len(pitches) * row, dtype=np.float32)
    rendered = stereo.mean(axis=1)[: len(mono)]
    mono[: len(rendered)] = rendered
    return mono.reshape(len(pitches), row)[:, :length]
