"""Corpus of single notes, labeled by pitch and instrument, similar to NSynth."""

from __future__ import annotations

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
from ssc_toolkit.data.corpus.corpus import SPLIT_FRACTIONS
from ssc_toolkit.data.corpus.synthesis import FAMILIES, FAMILY_OF, RENDER_RATE, read_sound_font, render_notes
from ssc_toolkit.errors import InputError
from ssc_toolkit.options.corpus import MIN_CLIPS, corpus_settings

NOTE_SECONDS = 4.0
HELD_SECONDS = 3.0
PITCHES = range(36, 97)
VELOCITIES = (25, 50, 75, 100, 127)


def build_notes(
    clips: int = 4000,
    seed: int = 0,
    folder: Path | str | None = None,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Render a corpus of single notes, or resume an interrupted rendering.

    Each clip lasts four seconds and contains a note that is held for three seconds. The MIDI pitches are 36 to 96, at
    five velocities. The label columns are `pitch`, `velocity`, `program` (General MIDI instrument) and `family`
    (instrument family). The programs of the test set do not occur in the other splits.

    Args:
        clips: number of clips, at least 40. Every clip is a different note, so their number is limited.
        seed: seed of the random choices.
        folder: output folder. By default, a folder in the user's cache.
        workers: number of processes. None starts one process for each CPU core.
        progress: whether to show a progress bar.

    Returns:
        The output folder.

    Raises:
        InputError: if `clips` is too small or too large, if a package of the extra `corpus` is not installed, or if the
            folder cannot be written or contains other files.
    """
    check_integer("clips", clips, MIN_CLIPS)
    settings = corpus_settings("notes", clips, seed)
    notes = plan_notes(clips, seed)
    with claim_corpus_folder(folder, settings) as (folder, is_whole):
        if is_whole:
            return folder
        tasks = [
            (folder, program, group)
            for program, group in notes.groupby("program")
            if not all((folder / path).exists() for path in group["path"])
        ]
        run_in_parallel(render_single_notes, tasks, workers, "rendering, by instrument", progress)
        return finish_folder(folder, notes)


def plan_notes(clips: int, seed: int) -> pd.DataFrame:
    """Return the track table of a corpus of `clips` random notes. The result depends only on the arguments."""
    random = np.random.default_rng(seed)
    known = [program for family in FAMILIES for program in family.known]
    new = [program for family in FAMILIES for program in family.new]
    counts = {split: round(share * clips) for split, share in SPLIT_FRACTIONS.items()}
    seen = _draw(known, counts["train"] + counts["valid"], random)
    kept = _draw(new, counts["test"], random)
    sides = np.repeat(list(counts), list(counts.values()))
    notes = pd.DataFrame(np.concatenate([seen, kept]), columns=["program", "pitch", "velocity"])
    notes.insert(0, "path", [clip_path(number) for number in range(len(notes))])
    notes.insert(1, "seconds", NOTE_SECONDS)
    notes.insert(2, "split", sides)
    notes["family"] = notes["program"].map(FAMILY_OF)
    return notes


def _draw(programs: list[int], count: int, random: np.random.Generator) -> np.ndarray:
    """Draw `count` different notes at random, as an array (count, 3) of program, MIDI pitch and MIDI velocity."""
    most = len(programs) * len(PITCHES) * len(VELOCITIES)
    if count > most:
        raise InputError(f"clips: expected at most {most} notes of {len(programs)} programs, got {count}")
    number = random.choice(most, size=count, replace=False)
    rest, velocity = np.divmod(number, len(VELOCITIES))
    program, pitch = np.divmod(rest, len(PITCHES))
    return np.stack([np.array(programs)[program], np.array(PITCHES)[pitch], np.array(VELOCITIES)[velocity]], axis=1)


def render_single_notes(folder: Path, program: int, notes: pd.DataFrame) -> None:
    """Render the notes of one instrument (General MIDI program), and write the files that do not exist.

    `notes` are the rows of the track table with this program.

    Notes whose files exist are also rendered, because the samples of a note depend on the notes that are rendered
    before it.
    """
    pitches, velocities = notes["pitch"].to_numpy(), notes["velocity"].to_numpy()
    sounds = render_notes(read_sound_font(), program, pitches, velocities, HELD_SECONDS, NOTE_SECONDS)
    for path, velocity, samples in zip(
        notes["path"], velocities, resample(sounds, RENDER_RATE, SAMPLE_RATE), strict=True
    ):
        if not (folder / path).exists():
            write_clip(folder / path, samples, peak=0.7 * velocity / max(VELOCITIES))
