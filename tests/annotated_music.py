"""Tracks of clicks on beats over triads, and the files of their annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from audio_files import write_audio

ANNOTATED_RATE = 16000
SPLITS = ["train"] * 8 + ["valid"] * 3 + ["test"] * 4


def write_annotated_music(folder: Path) -> Path:
    """Write fifteen tracks whose triads change every second, `tracks.csv`, `beats.csv` and `chord_roots.csv`."""
    rows, beats, chords = [], [], []
    for number, split in enumerate(SPLITS):
        random = np.random.default_rng(number)
        path, seconds = f"{number:02d}.wav", 6.0
        time = np.arange(round(seconds * ANNOTATED_RATE)) / ANNOTATED_RATE
        samples = 0.001 * random.normal(size=len(time))
        onsets = np.arange(random.uniform(0.1, 0.3), seconds, random.uniform(0.4, 0.7))
        for onset in onsets:
            decay = np.exp(-np.clip(time - onset, 0, None) * 60) * (time >= onset)
            samples += 0.5 * decay * random.normal(size=len(time))
            beats.append([path, onset])
        for begin in range(6):
            root = int(random.integers(12))
            inside = (time >= begin) & (time < begin + 1)
            for interval in (0, 4, 7):
                hertz = 220 * 2 ** ((root - 9 + interval) / 12)
                samples += 0.1 * inside * np.sin(2 * np.pi * hertz * time)
            chords.append([path, begin, begin + 1, root])
        write_audio(folder / path, samples, ANNOTATED_RATE)
        rows.append([str(folder / path), seconds, split, number // 2])
    pd.DataFrame(rows, columns=["path", "seconds", "split", "group"]).to_csv(folder / "tracks.csv", index=False)
    pd.DataFrame(beats, columns=["path", "seconds"]).to_csv(folder / "beats.csv", index=False)
    columns = ["path", "begin_seconds", "end_seconds", "root"]
    pd.DataFrame(chords, columns=columns).to_csv(folder / "chord_roots.csv", index=False)
    return folder
