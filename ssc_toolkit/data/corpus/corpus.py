"""Default corpus, which contains labeled six-second clips of compositions."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ssc_toolkit.audio import resample
from ssc_toolkit.checks import check_integer
from ssc_toolkit.data.corpus.build import (
    SAMPLE_RATE,
    claim_corpus_folder,
    clip_path,
    finish_folder,
    run_in_parallel,
    write_clip,
)
from ssc_toolkit.data.corpus.pieces import Piece, load_pieces
from ssc_toolkit.data.corpus.synthesis import FAMILIES, RENDER_RATE, read_sound_font, render_notes
from ssc_toolkit.data.key_names import KEYS, MODES, TONICS
from ssc_toolkit.options.corpus import MIN_CLIPS, corpus_settings

CORPUS_CLIP_SECONDS = 6.0
SPLIT_FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
TEMPO_BPM = (60.0, 144.0)
NEW_TIMBRES = 0.5
"""Fraction of the test clips whose instrument (General MIDI program) occurs in the test set only."""

_MIN_PIECES = 600  # small corpora then also have pieces in minor keys in every split
_MIN_PITCH, _MAX_PITCH = 43, 91
_CENTER_PITCH = (57.0, 77.0)
_HELD_SECONDS, _NOTE_SECONDS = 2.0, 2.2
_VELOCITY = 90
_MIN_GAIN = 0.7  # minimum gain of a note, relative to the loudest possible note
_RELEASE_SECONDS = 0.04


@dataclass(frozen=True)
class Clip:
    """Description of a clip, which is a transposed passage of a piece, played by one instrument.

    Attributes:
        number: number of the clip in the corpus.
        split: "train", "valid" or "test".
        piece: piece that the passage is from.
        tonic: pitch class of the tonic after transposition, from 0 (C) to 11.
        tempo_bpm: tempo in beats per minute. The beat is that of the meter.
        center: desired mean MIDI pitch. The piece is transposed to the octave whose mean pitch is closest to it.
        passage: relative position in the piece where the clip begins, from 0 (start) to 1 (last possible position).
        family: instrument family.
        program: General MIDI program (instrument), 0-based.
        timbre: "new" if the program occurs in the test set only, otherwise "known".
        seed: seed of the gains of the notes.
    """

    number: int
    split: str
    piece: Piece
    tonic: int
    tempo_bpm: float
    center: float
    passage: float
    family: str
    program: int
    timbre: str
    seed: int


def build_corpus(
    clips: int = 4000,
    seed: int = 0,
    folder: Path | str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render the default corpus, or resume an interrupted rendering.

    The compositions come from the music21 package, and the instrument sounds from the SoundFont in the pretty_midi
    package. The output folder contains the track table `tracks.csv` and one mono WAV file (16 kHz, 16 bits) for each
    clip. The same seed gives identical files if the package versions are the same, even after an interruption.

    - Only pieces whose key is certain are used (see `ssc_toolkit.data.corpus.keys.find_sure_key`). Each piece is
      transposed to a random tonic. Half of the clips are in a minor key.
    - The instrument (General MIDI program) is drawn independently of the piece. Half of the test clips have instruments
      that do not occur in the other splits. The column `timbre` is "new" for these clips and "known" for all others.
    - Pieces with the same first 16 melodic intervals are variants of one tune. All variants are in the same split.

    Args:
        clips: number of clips, at least 40.
        seed: seed of the random choices.
        folder: output folder. By default, a folder in the user's cache.
        workers: number of processes. None starts one process for each CPU core.
        progress: whether to show progress bars.

    Returns:
        The output folder.

    Raises:
        InputError: if `clips` is too small, if a package of the extra `corpus` is not installed, or if the folder
            cannot be written or contains other files.
    """
    check_integer("clips", clips, MIN_CLIPS)
    settings = corpus_settings("scores", clips, seed)
    with claim_corpus_folder(folder, settings) as (folder, is_whole):
        if is_whole:
            return folder
        plan = plan_clips(load_pieces(max(2 * clips, _MIN_PIECES), workers, progress), clips, seed)
        by_program = defaultdict(list)
        for clip in plan:
            by_program[clip.program].append(clip)
        tasks = [
            (folder, program, group)
            for program, group in by_program.items()
            if not all((folder / clip_path(clip.number)).exists() for clip in group)
        ]
        run_in_parallel(render_clips, tasks, workers, "rendering, by instrument", progress)
        return finish_folder(folder, make_track_table(plan))


def plan_clips(pieces: list[Piece], clips: int, seed: int) -> list[Clip]:
    """Draw the piece, instrument, tempo and other settings of each of `clips` clips, as a list of `Clip`.

    The result depends only on the arguments.
    """
    random = np.random.default_rng(seed)
    sides = _split_by_tune(pieces, random)
    plan: list[Clip] = []
    for split, share in SPLIT_FRACTIONS.items():
        own = [piece for piece, side in zip(pieces, sides, strict=True) if side == split]
        for piece in _half_minor(own, round(share * clips), random):
            family = FAMILIES[random.integers(len(FAMILIES))]
            timbre = "new" if split == "test" and random.random() < NEW_TIMBRES else "known"
            low, high = np.log(TEMPO_BPM)
            plan.append(
                Clip(
                    number=len(plan),
                    split=split,
                    piece=piece,
                    tonic=int(random.integers(12)),
                    tempo_bpm=round(math.exp(random.uniform(low, high)), 1),
                    center=random.uniform(*_CENTER_PITCH),
                    passage=random.random(),
                    family=family.name,
                    program=int(random.choice(family.new if timbre == "new" else family.known)),
                    timbre=timbre,
                    seed=int(random.integers(2**31)),
                )
            )
    return plan


def _split_by_tune(pieces: list[Piece], random: np.random.Generator) -> list[str]:
    tunes = sorted({piece.opening for piece in pieces})
    places = dict(zip(tunes, random.permutation(len(tunes)) / len(tunes), strict=True))
    bounds = np.cumsum(list(SPLIT_FRACTIONS.values()))[:-1]
    names = list(SPLIT_FRACTIONS)
    return [names[int(np.searchsorted(bounds, places[piece.opening], side="right"))] for piece in pieces]


def _half_minor(pieces: list[Piece], count: int, random: np.random.Generator) -> list[Piece]:
    """Draw `count` pieces, half of them in minor keys. Pieces of the same mode are drawn equally often."""
    drawn: list[Piece] = []
    for mode, quota in enumerate((count - count // 2, count // 2)):
        pool = [piece for piece in pieces if piece.key // 12 == mode] or pieces
        rounds = [random.permutation(len(pool)) for _ in range(-(-quota // len(pool)))]
        drawn += [pool[i] for i in np.concatenate(rounds)[:quota]]
    return drawn


def render_clips(folder: Path, program: int, clips: list[Clip]) -> None:
    """Render and write the missing clips of one General MIDI program.

    Each pitch is rendered once, and clips are mixed from these notes. The notes of existing clips are rendered again,
    because the samples of a note depend on the notes that are rendered before it.
    """
    scores = [select_passage(clip) for clip in clips]
    pitches = np.unique(np.concatenate([notes[:, 2] for notes in scores])).astype(int)
    velocities = np.full(len(pitches), _VELOCITY)
    bank = render_notes(read_sound_font(), program, pitches, velocities, _HELD_SECONDS, _NOTE_SECONDS)
    sounds = dict(zip(pitches.tolist(), resample(bank, RENDER_RATE, SAMPLE_RATE), strict=True))
    for clip, notes in zip(clips, scores, strict=True):
        if (folder / clip_path(clip.number)).exists():
            continue
        write_clip(folder / clip_path(clip.number), mix(notes, sounds, clip.seed))


def select_passage(clip: Clip) -> np.ndarray:
    """Return the notes of a piece that begin within a clip, as an array (notes, 3).

    The columns are onset and duration in seconds, and MIDI pitch. A piece that is shorter than the clip is repeated.
    """
    piece = clip.piece
    onsets, durations, pitches = piece.notes.T
    seconds_per_quarter = 60 / clip.tempo_bpm / piece.beat
    needed = CORPUS_CLIP_SECONDS / seconds_per_quarter
    length = math.ceil((onsets + durations).max() / piece.beat) * piece.beat
    last_start = max(0, math.floor((length - needed) / piece.beat))
    start = math.floor(clip.passage * (last_start + 1)) * piece.beat
    rounds = math.ceil((start + needed) / length)
    onsets = np.concatenate([onsets + length * i for i in range(rounds)]) - start
    inside = (onsets >= -1e-6) & (onsets < needed)
    shift = (clip.tonic - piece.key) % 12
    shift += 12 * round((clip.center - pitches.mean() - shift) / 12)
    pitches = np.tile(pitches, rounds) + shift
    pitches += 12 * np.ceil(np.maximum(0, _MIN_PITCH - pitches) / 12)
    pitches -= 12 * np.ceil(np.maximum(0, pitches - _MAX_PITCH) / 12)
    seconds = np.stack([onsets * seconds_per_quarter, np.tile(durations, rounds) * seconds_per_quarter, pitches], 1)
    return seconds[inside]


def mix(notes: np.ndarray, sounds: dict[int, np.ndarray], seed: int) -> np.ndarray:
    """Mix the waveforms of single notes to a clip. Each note ends with a short fade-out.

    Args:
        notes: (notes, 3) onset and duration in seconds, and MIDI pitch.
        sounds: dictionary from MIDI pitch to the waveform of the note.
        seed: seed of the gains of the notes.

    Returns:
        (samples,) float32.
    """
    random = np.random.default_rng(seed)
    clip = np.zeros(round((CORPUS_CLIP_SECONDS + _NOTE_SECONDS) * SAMPLE_RATE) + 1, dtype=np.float32)
    release = np.exp(-np.arange(round(5 * _RELEASE_SECONDS * SAMPLE_RATE)) / (_RELEASE_SECONDS * SAMPLE_RATE))
    for onset, duration, pitch in notes:
        sound = sounds[int(pitch)]
        if duration < _HELD_SECONDS:
            held = round(duration * SAMPLE_RATE)
            sound = sound[: held + len(release)].copy()
            sound[held:] *= release[: len(sound) - held]
        first = round(max(onset, 0) * SAMPLE_RATE)
        clip[first : first + len(sound)] += sound * random.uniform(_MIN_GAIN, 1)
    return clip[: round(CORPUS_CLIP_SECONDS * SAMPLE_RATE)]


def make_track_table(plan: list[Clip]) -> pd.DataFrame:
    """Return the track table of the corpus, with one row for each clip. Labels that are not certain are missing."""
    tunes = {opening: number for number, opening in enumerate(sorted({clip.piece.opening for clip in plan}))}
    rows = []
    for clip in plan:
        mode = clip.piece.key // 12
        rows.append(
            {
                "path": clip_path(clip.number),
                "seconds": CORPUS_CLIP_SECONDS,
                "split": clip.split,
                "group": tunes[clip.piece.opening],
                "key": KEYS[clip.tonic + 12 * mode],
                "tonic": TONICS[clip.tonic],
                "mode": MODES[mode],
                "meter": clip.piece.meter,
                # If the meter is unknown, so are the length of a beat and the tempo.
                "tempo_bpm": clip.tempo_bpm if clip.piece.meter else None,
                "collection": clip.piece.collection,
                "family": clip.family,
                "program": clip.program,
                "timbre": clip.timbre,
                "piece": clip.piece.piece_id,
                "title": clip.piece.title,
            }
        )
    return pd.DataFrame(rows)
