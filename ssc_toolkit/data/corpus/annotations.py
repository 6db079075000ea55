"""Beats and chord roots of the clips of the default corpus, which are derived from their scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ssc_toolkit.csv_files import format_csv
from ssc_toolkit.data.corpus.build import clip_path, run_in_parallel
from ssc_toolkit.data.corpus.corpus import CORPUS_CLIP_SECONDS, Clip, plan_clips, select_passage
from ssc_toolkit.data.corpus.pieces import CHORALES, count_needed_pieces, load_pieces
from ssc_toolkit.errors import InputError
from ssc_toolkit.files import read_checked_json, write_text
from ssc_toolkit.options.corpus import CORPUS_NOTE, corpus_settings
from ssc_toolkit.options.output_folder import check_note
from ssc_toolkit.paths import user_path

BEATS_FILE, CHORD_ROOTS_FILE = "beats.csv", "chord_roots.csv"
_MIN_PITCH_CLASSES = 3


def annotate_corpus(folder: str | Path, workers: int | None = None, progress: bool = True) -> tuple[Path, Path]:
    """Write the beats and chord roots of a corpus of scores to files next to its track table, unless they exist.

    `beats.csv` has a row for each beat, with the columns `path` and `seconds`, of the clips whose meter is known.
    `chord_roots.csv` has a row for each chord of the Bach chorales, with the columns `path`, `begin_seconds`,
    `end_seconds` and `root` (pitch class, 0 for C). See `find_chord_roots`.

    Args:
        folder: folder of a corpus from `build_corpus`.
        workers: number of processes. None starts one process for each CPU core.
        progress: whether to show progress bars.

    Returns:
        The paths of the two files.

    Raises:
        InputError: if the folder contains no corpus of scores, or one that other versions of packages rendered.
    """
    folder = user_path(folder, "folder")
    note = folder / CORPUS_NOTE
    stated = read_checked_json(note, "folder", "render the corpus again")
    if stated.get("kind") != "scores":
        raise InputError(f"folder: expected a corpus of scores, got the kind {stated.get('kind')!r} in {folder}")
    files = folder / BEATS_FILE, folder / CHORD_ROOTS_FILE
    if all(file.is_file() for file in files):
        return files
    clips, seed = int(stated["clips"]), int(stated["seed"])
    check_note(note, corpus_settings("scores", clips, seed), "folder", "corpus")
    plan = plan_clips(load_pieces(count_needed_pieces(clips), workers, progress), clips, seed)
    beats = [(clip_path(clip.number), f"{beat:.4f}") for clip in plan if clip.piece.meter for beat in find_beats(clip)]
    chorales = [clip for clip in plan if clip.piece.collection == CHORALES]
    tasks = [(select_passage(clip), 60 / clip.tempo_bpm / clip.piece.beat) for clip in chorales]
    found = run_in_parallel(find_chord_roots, tasks, workers, "chord roots", progress)
    roots = [
        (clip_path(clip.number), f"{begin:.4f}", f"{end:.4f}", root)
        for clip, chords in zip(chorales, found, strict=True)
        for begin, end, root in chords
    ]
    write_text(files[0], format_csv(["path", "seconds"], beats))
    write_text(files[1], format_csv(["path", "begin_seconds", "end_seconds", "root"], roots))
    return files


def find_beats(clip: Clip) -> np.ndarray:
    """Return the times of the beats of a clip in seconds, (beats,). A clip begins on a beat of its piece."""
    return np.arange(0.0, CORPUS_CLIP_SECONDS, 60 / clip.tempo_bpm)


def find_chord_roots(notes: np.ndarray, seconds_per_quarter: float = 1.0) -> list[tuple[float, float, int]]:
    """Derive the chord roots of notes with `chordify` and `root` of music21.

    Sounds with fewer than three pitch classes have no root, because their chord is ambiguous. Equal roots in succession
    are joined.

    Args:
        notes: (notes, 3) onset and duration in seconds, and MIDI pitch.
        seconds_per_quarter: length of a quarter note in seconds.

    Returns:
        Begin and end in seconds, at most the length of a clip, and root from 0 (C) to 11, of each chord.
    """
    from music21 import chord, note, stream

    score = stream.Stream()
    for onset, duration, pitch in notes:
        quarters = round(duration / seconds_per_quarter * 96) / 96
        if quarters > 0:
            score.insert(round(onset / seconds_per_quarter * 96) / 96, note.Note(int(pitch), quarterLength=quarters))
    found: list[tuple[float, float, int]] = []
    for element in score.chordify().flatten().getElementsByClass(chord.Chord):
        begin = float(element.offset) * seconds_per_quarter
        end = min(begin + float(element.quarterLength) * seconds_per_quarter, CORPUS_CLIP_SECONDS)
        if len(set(element.pitchClasses)) < _MIN_PITCH_CLASSES or end <= begin:
            continue
        root = int(element.root().pitchClass)
        if found and found[-1][2] == root and abs(found[-1][1] - begin) < 1e-3:
            begin, _, _ = found.pop()
        found.append((begin, end, root))
    return found
