"""Default corpus: six-second clips of real compositions, with labels."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ssc_toolkit.audio import resample
from ssc_toolkit.data.corpus.build import (
    SAMPLE_RATE,
    VERSION,
    check_clips,
    claim_folder,
    clip_path,
    finish_folder,
    read_package_versions,
    run_in_parallel,
    write_clip,
)
from ssc_toolkit.data.corpus.pieces import Piece, load_pieces
from ssc_toolkit.data.corpus.synthesis import FAMILIES, RENDER_RATE, read_sound_font, render_notes
from ssc_toolkit.data.key_names import KEYS, MODES, TONICS

CORPUS_CLIP_SECONDS = 6.0
SPLIT_FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
TEMPO_BPM = (60.0, 144.0)
NEW_TIMBRES = 0.5
"""Fraction of the test clips that are played by programs of the test split only."""

_MIN_PIECES = 600  # enough that even a small corpus has minor pieces in every split
_MIN_PITCH, _MAX_PITCH = 43, 91
_CENTER_PITCH = (57.0, 77.0)
_HELD_SECONDS, _NOTE_SECONDS = 2.0, 2.2
_VELOCITY = 90
_MIN_GAIN = 0.7  # smallest gain of a note, relative to the loudest notes of a clip
_RELEASE_SECONDS = 0.04


@dataclass(frozen=True)
class Clip:
    """Content of one clip: a passage of a piece, transposed, at a tempo, played by one program.

    Attributes:
        number: number of the clip in the corpus.
        split: train, valid or test.
        piece: piece that the clip plays.
        tonic: pitch class of the tonic after transposition.
        tempo_bpm: tempo in beats per minute, with the beat of the meter.
        center: MIDI pitch around which the notes lie, to the nearest octave.
        passage: position in the piece where the clip begins, 0 to 1.
        family: instrument family.
        program: General MIDI program, 0-based.
        timbre: "known", or "new" for programs of the test split only.
        seed: seed of the loudness of the notes.
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

    Pieces come from the installed music21 package, sounds from the SoundFont in pretty_midi. The folder then has
    `tracks.csv` and one 16 kHz, 16-bit mono WAV file for each clip. With the same package versions, the same seed gives
    the same bytes, even if the rendering was interrupted.

    - Only pieces whose key is certain are used (`ssc_toolkit.data.corpus.keys.find_sure_key`). Each is transposed to a
      tonic drawn uniformly. Minor pieces are drawn as often as major ones.
    - The program is drawn independently of the piece. Half of the test clips are played by programs that no other split
      has: their `timbre` is "new", otherwise it is "known".
    - The split is by tune: pieces with the same first 16 intervals count as one tune and are in the same split.

    Args:
        clips: number of clips, at least 40.
        seed: seed of the random draws.
        folder: output folder; a folder in the user's cache by default.
        workers: number of processes; None for one for each core.
        progress: whether to show progress bars.

    Returns:
        The folder.

    Raises:
        InputError: if `clips` is too small, a package of the `corpus` extra is missing, or the folder cannot be written
            or has other content.
    """
    check_clips(clips)
    settings = {"kind": "scores", "version": VERSION, "clips": clips, "seed": seed, "packages": read_package_versions()}
    with claim_folder(folder, settings) as (folder, is_whole):
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
    """Draw the content of every clip; the result depends only on the arguments."""
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
    """Draw pieces, half of them minor; pieces of the same mode are drawn equally often."""
    drawn: list[Piece] = []
    for mode, quota in enumerate((count - count // 2, count // 2)):
        pool = [piece for piece in pieces if piece.key // 12 == mode] or pieces
        rounds = [random.permutation(len(pool)) for _ in range(-(-quota // len(pool)))]
        drawn += [pool[i] for i in np.concatenate(rounds)[:quota]]
    return drawn


def render_clips(folder: Path, program: int, clips: list[Clip]) -> None:
    """Render each note that the clips of one program need once, and mix the missing clips from these notes.

    All notes are rendered even if some clips exist, because the bytes of a note depend on the notes before it.
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
    """Return the notes that begin within the clip: (notes, 3) onset and duration in seconds, and MIDI pitch.

    A piece that is shorter than the clip is repeated from its beginning.
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
    """Mix the sounds of single notes, each with a short release at its end.

    Args:
        notes: (notes, 3) onset and duration in seconds, and MIDI pitch.
        sounds: waveform of each pitch.
        seed: seed of the loudness of the notes.

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
    """Return a table with one row for each clip, with the labels that are certain."""
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
                # Without a meter, the length of a beat is unknown.
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
